"""`Delivery` in this process: one bad delivery stays one, and a hook that takes too long is ended."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from brain_core.engine.deliver import Delivery
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.sweep import worker_identity
from brain_core.engine.thread_runner import ThreadRunner
from brain_core.run import Run
from brain_core.store import deliveries, runs, workers
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunEnd, RunStart, StepEnd


class Unreadable(Exception):
    """A stranger's exception at its worst."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Receivers:
    """What serves plugins, out of order for some of them."""

    receivers: Sequence[str] = ("bytes", "files", "mute", "good")

    def __init__(self) -> None:
        self.told: list[str] = []

    async def deliver(self, receiver: str, run: Run) -> None:
        if receiver == "bytes":
            b"\xff".decode()
        if receiver == "files":
            raise OSError(24, "Too many open files")
        if receiver == "mute":
            raise Unreadable
        self.told.append(f"{receiver} {run.workflow}")


def no_runner() -> Any:
    raise MemoryError("no room for a runner")


async def ended(db: Database, name: str, receivers: Sequence[str], file: str = "/flow.py") -> UUID:
    """A run that has ended, whose worker is gone before it told anybody."""
    me, run_id = worker_identity("run", 15.0), uuid4()
    recorder = Recorder(db, me)
    recorder.add_version("digest", {"flow.py": "workflow = ..."})
    planned = json.dumps([{"name": "one", "type": "noop"}])
    await recorder.start_run(RunStart(run_id, name, file, "digest", "{}", planned))
    step = StepEnd(run_id, 1, 0, "one", "noop", 1, "success", '"x"', None, "", "{}", 0.0, 0.0)
    await recorder.finish_run(RunEnd(run_id, 1, "success", None, step, receivers))
    await workers.stop(db, me.id)
    return run_id


async def left(db: Database) -> dict[tuple[str, str], tuple[str, str | None]]:
    return {(row.workflow, row.receiver): (row.status, row.error) for row in await deliveries.list_deliveries(db)}


async def test_whatever_is_raised_is_one_failed_delivery(db: Database) -> None:
    run_id = await ended(db, "flow", ("bytes", "files", "mute", "workflow", "good"))
    hooks = Receivers()
    delivery = Delivery(db, hooks, new_runner=no_runner, time_limit=9.0)
    run = await runs.get(db, run_id)
    problems = await delivery.deliver(run, ["bytes", "files", "mute", "workflow", "good"])
    assert hooks.told == ["good flow"]
    assert await left(db) == {
        ("flow", "bytes"): ("failed", problems[0].partition("bytes: ")[2]),
        ("flow", "files"): ("failed", "OSError: [Errno 24] Too many open files"),
        ("flow", "mute"): ("failed", "Unreadable: (its message cannot be read)"),
        ("flow", "workflow"): ("failed", "MemoryError: no room for a runner"),
    }
    assert problems[0].startswith(f"delivery of run {run.short_id} to bytes: UnicodeDecodeError: 'utf-8' codec")
    assert len(problems) == 4


async def test_a_run_that_cannot_be_read_back_leaves_the_other_deliveries(db: Database) -> None:
    for name in ("first", "bad", "last"):
        await ended(db, name, ("good",))
    async with db.session() as session:
        # More digits than Python reads.
        huge = '{"n": ' + "9" * 5_000 + "}"
        await session.connection.execute("ALTER TABLE brain.runs DISABLE TRIGGER USER")
        await session.connection.execute("UPDATE brain.runs SET inputs = $1 WHERE workflow_name = 'bad'", huge)
        await session.connection.execute("ALTER TABLE brain.runs ENABLE TRIGGER USER")
    hooks = Receivers()
    delivery = Delivery(db, hooks, new_runner=no_runner, time_limit=9.0)
    problems = await delivery.deliver_left_behind(worker_identity("daemon", 15.0))
    assert hooks.told == ["good first", "good last"]
    [(key, (status, error))] = (await left(db)).items()
    assert (key, status) == (("bad", "good"), "failed")
    assert (error or "").startswith("ValueError: Exceeds the limit")
    assert len(problems) == 1


SLOW = """
import asyncio
from pathlib import Path
from brain_core import FunctionStep, Workflow

async def told(run):
    try:
        await asyncio.Event().wait()
    finally:
        Path({told!r}).write_text("cancelled")

workflow = Workflow(name="flow", steps=[FunctionStep(name="one", function=str)], on_finished=told)
"""


async def test_an_on_finished_is_cancelled_at_its_time_limit(db: Database, tmp_path: Path) -> None:
    file, told, cancelled = tmp_path / "flow.py", tmp_path / "told", asyncio.Event()
    file.write_text(SLOW.format(told=str(told)))
    os.mkfifo(told)
    reader = os.open(told, os.O_RDWR | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(reader, cancelled.set)
    run_id = await ended(db, "flow", ("workflow",), str(file))
    runner = ThreadRunner(LocalRunner(), import_timeout=60)
    await runner.load(file)
    try:
        delivery = Delivery(db, Receivers(), new_runner=no_runner, time_limit=2)
        # The runner is somebody else's, and lives on: nothing but the limit ends the hook.
        [problem] = await delivery.deliver(await runs.get(db, run_id), ["workflow"], runner)
        assert problem.endswith("on_finished took longer than 2 s (setting hook_timeout)")
        await asyncio.wait_for(cancelled.wait(), 30)
    finally:
        await runner.close()
        asyncio.get_running_loop().remove_reader(reader)
        os.close(reader)
