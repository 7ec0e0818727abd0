"""Whether a process still lives, asked without trusting its pid alone."""

from __future__ import annotations

import os
import subprocess
import sys

from brain_core.engine.identity import boot_seconds, is_dead, this_process

WHO = "from brain_core.engine.identity import this_process as t; p = t(); print(p.pid, p.started, flush=True); input()"


def test_this_process_lives() -> None:
    assert is_dead(this_process()) is False


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_first() -> None:
    assert is_dead(this_process()._replace(started="1")) is True


def test_a_process_of_another_boot_or_namespace_cannot_be_judged_from_here() -> None:
    assert is_dead(this_process()._replace(boot_id="another")) is None
    assert is_dead(this_process()._replace(pid_namespace="4")) is None


def test_a_child_is_alive_until_it_is_killed_and_reaped_or_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        pid, started = child.stdout.readline().split()
        process = this_process()._replace(pid=int(pid), started=started)
        assert is_dead(process) is False
        child.kill()
        # Not reaped yet: a zombie holds no run.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(process) is True
    assert is_dead(process) is True


def test_the_boot_clock_goes_forward() -> None:
    before = boot_seconds()
    assert boot_seconds() >= before > 0
