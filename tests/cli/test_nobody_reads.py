"""Nobody reads what `brain run -v` says: the run goes on, can be cancelled, and tells all its steps later."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
import asyncio, os
from brain_core import Step, StepContext, Workflow

class Flood(Step):
    async def run(self, ctx: StepContext) -> str:
        for _ in range(160):
            ctx.log("x" * 65535 + "\\n")
        return "10 MB"

class Stay(Step):
    async def run(self, ctx: StepContext) -> None:
        os.write({signals}, b"in the second step")
        if {stays}:
            await asyncio.Event().wait()

def told(run):
    os.write({signals}, run.status.encode())

workflow = Workflow(name="flooding", steps=[Flood(name="flood"), Stay(name="stay")], on_finished=told)
"""


class Unread:
    """`brain run -v` whose stdout and stderr are a pipe that nobody reads yet, and a pipe on which its steps report."""

    def __init__(self, folder: Path, environment: dict[str, str], *, stays: bool) -> None:
        self.output, writing = os.pipe()
        self._reports, reporting = os.pipe()
        flow = folder / "flooding.py"
        flow.write_text(FLOW.format(signals=reporting, stays=stays))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "brain_core", "run", "-v", str(flow)],
            env=environment,
            stdout=writing,
            stderr=writing,
            pass_fds=(reporting,),
        )
        os.close(writing)
        os.close(reporting)

    def report(self) -> str:
        assert select.select([self._reports], [], [], 50)[0], "the run stands still"
        return os.read(self._reports, 100).decode()

    def rest(self) -> str:
        """Read at last, until the process has ended."""
        with open(self.output, encoding="utf-8", closefd=False) as reader:
            text = reader.read()
        self.process.wait(timeout=180)
        return text

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.output)
        os.close(self._reports)


@pytest.fixture
def database(environment, database_url):
    environment["THE_BRAIN_DATABASE_URL"] = database_url
    return environment


def test_a_run_ends_though_nobody_reads_and_tells_its_steps_when_somebody_does(database, brain, tmp_path):
    run = Unread(tmp_path, database, stays=False)
    try:
        assert [run.report(), run.report()] == ["in the second step", "success"]
        assert json.loads(brain("history", "--json").stdout)[0]["status"] == "success"
        told = run.rest()
    finally:
        run.end()
    assert run.process.returncode == 0
    for line in ("[1/2] flood (Flood) ...", "[1/2] flood: success", "[2/2] stay: success", "success  flooding"):
        assert f"\n{line}" in told
    assert "characters of live output left out" in told
    assert len(told) < 6_000_000


def test_ctrl_c_ends_a_run_that_nobody_reads(database, brain, tmp_path):
    run = Unread(tmp_path, database, stays=True)
    try:
        assert run.report() == "in the second step"
        run.process.send_signal(signal.SIGINT)
        assert run.report() == "cancelled"
        assert json.loads(brain("history", "--json").stdout)[0]["status"] == "cancelled"
        told = run.rest()
    finally:
        run.end()
    assert run.process.returncode == 130
    assert "[2/2] stay: cancelled" in told


def test_another_ctrl_c_ends_a_command_that_only_waits_for_its_reader(database, brain, tmp_path):
    run = Unread(tmp_path, database, stays=True)
    try:
        assert run.report() == "in the second step"
        run.process.send_signal(signal.SIGINT)
        assert run.report() == "cancelled"
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(timeout=180) == 130
        assert json.loads(brain("history", "--json").stdout)[0]["status"] == "cancelled"
    finally:
        run.end()
