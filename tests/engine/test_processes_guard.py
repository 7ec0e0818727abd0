"""Whoever dies or falls silent, nothing that a step has started goes on (G11, G12)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.runner import StepRequest
from brain_core.errors import RunnerDied

RUN = "00000000-0000-0000-0000-000000000000"

DAEMON = """
import asyncio, json, sys
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Preparation, Spawner
from brain_core.engine.runner import StepRequest
from brain_core.errors import BrainError

spawner = Spawner.forked(Preparation())

async def main():
    pool = RunnerPool(spawner, RunnerSettings(silence=float(sys.argv[2])))
    runner = await pool.runner_for(sys.argv[1])
    print(json.dumps([spawner.pid, *pool.pids]), flush=True)
    try:
        print(await runner.run_step(StepRequest("00000000-0000-0000-0000-000000000000", 0, 1), print), flush=True)
    except BrainError as error:
        print(error, flush=True)
    await pool.close()
    await spawner.close()

asyncio.run(main())
"""


class Daemon:
    """A process with a pool and one step that goes on in it."""

    def __init__(self, file: Path, silence: float) -> None:
        command = [sys.executable, "-c", DAEMON, str(file), str(silence)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.zygote, self.runner = json.loads(self.process.stdout.readline())

    async def said(self) -> str:
        return await asyncio.to_thread(lambda: self.process.communicate(timeout=180)[0])


@pytest.fixture
async def daemon(gone: Any) -> AsyncIterator[Any]:
    made: list[Daemon] = []

    def start(file: Path, silence: float = 0.0) -> Daemon:
        made.append(Daemon(file, silence))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()
        await gone(one.runner)
        await gone(one.zygote)


SILENCE = 4.0
"""Longer than a busy machine keeps a daemon that lives from its beat."""

WAYS = {
    "a shell step": "ShellStep",
    "a plain step": "Plain",
    "a step that blocks its loop": "Blocks",
    "a step whose process ignores TERM": "Stubborn",
}

STEPS = """
from brain_shell import ShellStep as _ShellStep

class ShellStep(_ShellStep):
    command: str = "sleep 1000 & echo $! > {path}; wait"

class Plain(Step):
    def run(self, ctx):
        while True:
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            try:
                Path({path!r}).write_text(str(child.pid))
            except BaseException:
                pass
            child.wait()

class Blocks(Step):
    async def run(self, ctx):
        child = subprocess.Popen(["sleep", "1000"])
        Path({path!r}).write_text(str(child.pid))
        threading.Event().wait()

class Stubborn(_ShellStep):
    command: str = 'sh -c "trap : TERM; echo \\\\$\\\\$ > {path}; while :; do sleep 1; done"'
"""


@pytest.mark.parametrize("kind", WAYS.values(), ids=WAYS)
async def test_a_killed_daemon_leaves_nothing_behind(daemon, flow, fifo, gone, kind):
    path = fifo("told")
    one = daemon(flow(STEPS.format(path=str(path)), kind))
    pid = int(await asyncio.to_thread(path.read_text))
    one.process.kill()
    await gone(pid)
    await gone(one.runner)
    await gone(one.zygote)


@pytest.mark.parametrize("kind", WAYS.values(), ids=WAYS)
async def test_a_stopped_daemons_steps_end_and_it_hears_of_it_when_it_wakes(daemon, flow, fifo, gone, kind):
    path = fifo("told")
    one = daemon(flow(STEPS.format(path=str(path)), kind), SILENCE)
    pid = int(await asyncio.to_thread(path.read_text))
    one.process.send_signal(signal.SIGSTOP)
    await gone(pid)
    await gone(one.runner)
    one.process.send_signal(signal.SIGCONT)
    assert "the daemon had been silent for too long" in await one.said()
    assert one.process.returncode == 0


async def test_a_runner_that_holds_the_interpreter_ends_with_its_daemon(daemon, flow, fifo, gone):
    path = fifo("told")
    body = f"""
    import re

    class Holds(Step):
        def run(self, ctx):
            Path({str(path)!r}).write_text("now")
            re.match("(a+)+$", "a" * 60 + "b")
    """
    one = daemon(flow(body, "Holds"), SILENCE)
    await asyncio.to_thread(path.read_text)
    one.process.kill()
    await gone(one.runner)


async def test_a_daemon_that_beats_keeps_its_runner(daemon, flow):
    body = """
    class Waits(Step):
        async def run(self, ctx):
            for _ in range(60):
                await asyncio.sleep(0.1)
            return "done"
    """
    assert "output='\"done\"'" in await daemon(flow(body, "Waits"), SILENCE).said()


def test_the_silence_ends_children_before_the_lease_does():
    assert RunnerSettings.silence_for(15, 5) == 8
    # A short lease leaves no room for the grace; too short a silence would end what a busy moment only delays.
    assert RunnerSettings.silence_for(3, 1) == 1


async def test_a_runner_that_crashes_leaves_no_process_of_its_steps_behind(pool, flow, fifo, told, gone):
    path = fifo("told")
    body = (
        STEPS.format(path=str(path)) + "\nclass Crashes(Step):\n    def run(self, ctx):\n        ctypes.string_at(0)\n"
    )
    runner = await pool.runner_for(flow(body, "ShellStep", "Crashes"))
    shell = asyncio.ensure_future(runner.run_step(StepRequest(RUN, 0, 1), print))
    pid = int(await told(path, shell))
    with pytest.raises(RunnerDied, match="SIGSEGV"):
        await runner.run_step(StepRequest(RUN, 1, 1), print)
    with pytest.raises(RunnerDied, match="SIGSEGV"):
        await shell
    await gone(pid)


async def test_what_a_step_left_running_on_purpose_goes_on(pools, flow, gone):
    body = """
    class Leaves(Step):
        def run(self, ctx):
            line = subprocess.run("sleep 1000 > /dev/null 2>&1 & echo $!", shell=True, stdout=subprocess.PIPE).stdout
            return int(line)

    class Crashes(Step):
        def run(self, ctx):
            ctypes.string_at(0)
    """
    pool = pools(idle=0)
    runner = await pool.runner_for(flow(body, "Leaves"))
    pid = int((await runner.run_step(StepRequest(RUN, 0, 1), print)).output or "")
    try:
        [process] = pool.pids
        await runner.close()
        await gone(process)
        crashing = await pool.runner_for(flow(body, "Crashes", name="other"))
        with pytest.raises(RunnerDied):
            await crashing.run_step(StepRequest(RUN, 0, 1), print)
        await pool.close()
        os.kill(pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await gone(pid)


async def test_a_killed_zygote_is_replaced_and_the_runners_go_on(pool, spawner, flow, gone):
    body = "class Exits(Step):\n    async def run(self, ctx):\n        os._exit(3)\n"
    runner = await pool.runner_for(flow(body, "Ok", "Exits"))
    first = spawner.pid
    os.kill(first, signal.SIGKILL)
    await gone(first)
    pid = int((await runner.run_step(StepRequest(RUN, 0, 1), print)).output or "")
    other = await pool.runner_for(flow("", name="other"))
    assert (await other.run_step(StepRequest(RUN, 0, 1), print)).status == "success"
    assert spawner.pid != first
    with pytest.raises(RunnerDied, match="how it ended is not known"):
        await runner.run_step(StepRequest(RUN, 1, 1), print)
    await gone(pid)
    assert (await runner.run_step(StepRequest(RUN, 0, 1), print)).status == "success"


async def test_a_plain_step_can_be_ended_when_the_zygote_is_gone(pool, spawner, flow, gone):
    body = """
    class Plain(Step):
        def run(self, ctx):
            ctx.live(str(os.getpid()))
            threading.Event().wait()
    """
    runner = await pool.runner_for(flow(body, "Plain"))
    os.kill(spawner.pid, signal.SIGKILL)
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN, 0, 1), lambda text: pid.set_result(int(text))))
    number = await pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(number)


async def test_a_zygote_that_is_slow_to_read_is_waited_for_and_not_taken_for_dead(spawner):
    first = await spawner.spawn(silence=0, limit=1_000_000)
    control = spawner._control
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    zygote = spawner.pid
    os.kill(zygote, signal.SIGSTOP)
    try:
        asked = [asyncio.ensure_future(spawner.spawn(silence=0, limit=1_000_000)) for _ in range(12)]
        for _ in range(20):
            await asyncio.sleep(0)
    finally:
        os.kill(zygote, signal.SIGCONT)
    children = [first, *await asyncio.gather(*asked)]
    assert spawner.pid == zygote
    assert not first.exited.done()
    for child in children:
        child.link.close()
        child.close()
        os.close(child.output)
