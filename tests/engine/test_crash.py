"""A process is killed before and after each commit of a run: what do the rows say, and what does the next sweep do?

The child runs a real workflow with the real Recorder and kills itself (SIGKILL) at the given boundary: `before` has
sent nothing of the commit, `after` has had the server's answer.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from brain_core.engine.sweep import sweep
from brain_core.run import Run
from brain_core.store import deliveries, runs
from brain_core.store.database import Database

CHILD = """
import asyncio, os, signal, sys
from brain_core import FunctionStep, Workflow
from brain_core.store.recorder import Recorder
from brain_core.testing import NoHooks, run_workflow

url, boundary, commit, journal = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
commits = 0

def die(where, number):
    if (where, number) == (boundary, commit):
        os.kill(os.getpid(), signal.SIGKILL)

def guarded(method):
    async def call(self, write):
        global commits
        commits += 1
        number = commits
        die("before", number)
        answer = await method(self, write)
        die("after", number)
        return answer
    return call

for name in ("start_run", "finish_step", "finish_run"):
    setattr(Recorder, name, guarded(getattr(Recorder, name)))

class OneReceiver(NoHooks):
    receivers = ("listener",)

def note(name):
    # Truth from outside the database: one O_APPEND write a step that has really run.
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (name + "\\n").encode())
    os.close(descriptor)
    return name

steps = [FunctionStep(name=name, function=note, args=[name]) for name in ("one", "two", "three")]
asyncio.run(run_workflow(Workflow(name="crashing", steps=steps), url, hooks=OneReceiver()))
"""

# What the rows say after the kill and the sweep, by boundary and commit (1 start, 2 and 3 steps, 4 the end):
# the run's status, its finished steps, the interrupted step, what had really run, and the deliveries.
CASES = {
    ("before", 1): None,
    ("after", 1): ("failed", [], "one", [], ["listener"]),
    ("before", 2): ("failed", [], "one", ["one"], ["listener"]),
    ("after", 2): ("failed", ["one"], "two", ["one"], ["listener"]),
    ("before", 3): ("failed", ["one"], "two", ["one", "two"], ["listener"]),
    ("after", 3): ("failed", ["one", "two"], "three", ["one", "two"], ["listener"]),
    ("before", 4): ("failed", ["one", "two"], "three", ["one", "two", "three"], ["listener"]),
    ("after", 4): ("success", ["one", "two", "three"], None, ["one", "two", "three"], ["listener"]),
}


async def the_run(db: Database) -> Run | None:
    found = await runs.history(db, runs.RunFilter(workflow="crashing"))
    assert len(found) <= 1
    return await runs.find(db, found[0].id) if found else None


@pytest.mark.parametrize(("boundary", "commit"), list(CASES))
async def test_a_kill_at_each_boundary_of_each_commit(
    boundary: str, commit: int, database_url: str, db: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    child = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CHILD, database_url, boundary, str(commit), str(journal)],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr

    expected = CASES[boundary, commit]
    before = await the_run(db)
    if expected is None:
        assert before is None
        return
    status, finished, interrupted, really_ran, receivers = expected
    assert before is not None
    assert before.status == ("success" if status == "success" else "running")

    ended = await sweep(db, uuid4(), receivers)
    assert [str(run_id) for run_id in ended] == ([] if status == "success" else [before.id])
    assert await sweep(db, uuid4(), receivers) == []

    after = await the_run(db)
    assert after is not None
    assert after.status == status
    assert [step.name for step in after.steps if step.status == "success"] == finished
    assert [step.name for step in after.steps if step.status == "interrupted"] == ([interrupted] if interrupted else [])
    assert journal.read_text().split() == really_ran
    if interrupted:
        assert f"step '{interrupted}'" in (after.error or "")
        assert "is gone" in (after.error or "")
    assert [(each.receiver, each.status) for each in await deliveries.list_deliveries(db)] == [("listener", "open")]


async def test_a_living_worker_is_left_alone(database_url: str, db: Database, tmp_path: Path) -> None:
    held = CHILD.replace('die("after", number)', 'number == 2 and (print("held", flush=True), input())')
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", held, database_url, "never", "0", str(tmp_path / "journal")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"held\n"
    assert await sweep(db, uuid4(), []) == []
    run = await the_run(db)
    assert run is not None
    assert run.status == "running"
    await child.communicate(b"\n")
    assert child.returncode == 0
    run = await the_run(db)
    assert run is not None
    assert run.status == "success"
