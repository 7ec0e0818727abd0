"""Live output: before the end of its step, and while the database does not take it."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest

from brain_core.engine import live as written
from brain_core.engine.events import Live
from brain_core.engine.live import LiveFirst, LiveWriter
from brain_core.engine.sweep import worker_identity
from brain_core.store import live
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunStart, StepEnd


async def test_output_that_cannot_be_written_is_said_once_until_it_can(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    worker, run_id = worker_identity("run", 15.0), uuid4()
    plan = '[{"name": "one", "type": "noop"}]'
    await Recorder(db, worker).start_run(RunStart(run_id, "flow", "/flow.py", None, "{}", plan))
    writer = LiveWriter(db, worker.id)
    hear = writer.watch(run_id, 1)
    caplog.set_level(logging.INFO, "brain.live")

    async def say(text: str) -> list[str]:
        caplog.clear()
        hear(Live("one", text))
        await writer.flush(run_id)
        return [record.levelname for record in caplog.records]

    async def rename(before: str, after: str) -> None:
        async with db.session() as session:
            await session.connection.execute(f"ALTER TABLE brain.{before} RENAME TO {after}")

    for _ in range(2):
        await rename("run_events", "away")
        assert [await say("lost") for _ in range(3)] == [["WARNING"], [], []]
        await rename("away", "run_events")
        assert [await say("kept") for _ in range(2)] == [["INFO"], []]
    assert [event.text for event in await live.read(db, run_id)] == ["kept"] * 4
    await writer.close()


async def test_what_a_step_has_said_is_there_before_its_end(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "EVERY", 3_600.0)
    worker, run_id = worker_identity("run", 15.0), uuid4()
    plan = '[{"name": "one", "type": "noop"}, {"name": "two", "type": "noop"}]'
    writer = LiveWriter(db, worker.id)
    recorder = LiveFirst(db, worker, writer)
    await recorder.start_run(RunStart(run_id, "flow", "/flow.py", None, "{}", plan))
    writer.watch(run_id, 1)(Live("one", "last words"))
    await recorder.finish_step(StepEnd(run_id, 1, 0, "one", "noop", 1, "success", "1", None, "", "{}", 0.1, 0.0))
    assert [event.text for event in await live.read(db, run_id)] == ["last words"]
    await writer.close()
