"""The embedded server goes away under a run, killed or stopped: the run starts it again and goes on (G17)."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_core.embedded import EmbeddedServer

from .conftest import wait_gone

FLOW = """
import os
from brain_core import FunctionStep, Workflow

def wait(name):
    # Opening a FIFO waits for the test, which opens its other end.
    with open(f"{GATES!r}/reached-{name}", "w") as reached:
        reached.write("here")
    with open(f"{GATES!r}/go-{name}") as gate:
        return gate.read()

steps = [FunctionStep(name=name, function=wait, args=[name]) for name in ("one", "two")]
workflow = Workflow(name="gated", steps=steps)
"""


def kill(server: EmbeddedServer) -> None:
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)


def stop(server: EmbeddedServer) -> None:
    assert server.stop()


def brain(home: Path, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("THE_BRAIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "brain_core", *arguments],
        env={**kept, "THE_BRAIN_HOME": str(home)},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(fifo: Path, run: subprocess.Popen[str]) -> None:
    """Wait until something is written there; fail when the process ends before."""
    # Opened for both directions an end of it is always there, so that nobody waits in open().
    reader, ended = os.open(fifo, os.O_RDWR), os.pidfd_open(run.pid)
    try:
        ready, _, _ = select.select([reader, ended], [], [], 90)
        assert ready == [reader], f"the run is not where it should be: {run.poll()}"
    finally:
        os.close(reader)
        os.close(ended)


@pytest.mark.parametrize("lose", [kill, stop])
def test_a_run_goes_on_and_keeps_what_finished_meanwhile(
    lose: Callable[[EmbeddedServer], None], server: EmbeddedServer, shared_home: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        os.mkfifo(tmp_path / f"reached-{name}")
        os.mkfifo(tmp_path / f"go-{name}")
    flow = tmp_path / "gated.py"
    flow.write_text(FLOW.replace("{GATES!r}", str(tmp_path)))
    run = brain(shared_home, "run", str(flow), "--json")
    for name in ("one", "two"):
        wait_for(tmp_path / f"reached-{name}", run)
        lose(server)
        with (tmp_path / f"go-{name}").open("w") as gate:
            gate.write(f"result of {name}")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "Traceback" not in err
    shown, _ = brain(shared_home, "show", json.loads(out)["id"], "--json").communicate(timeout=180)
    found = json.loads(shown)
    assert found["status"] == "success"
    attempts = [(step["attempt"], step["output"]) for step in found["steps"]]
    assert attempts == [(1, "result of one"), (1, "result of two")]
