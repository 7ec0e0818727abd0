"""A tick beside others: what changes under its hands, what the database refuses, a loop that has to answer (G18)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from brain_core import Trigger
from brain_core.engine import tick
from brain_core.engine.sweep import worker_identity
from brain_core.engine.tick import daemon_tick
from brain_core.store import triggers
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunStart
from brain_core.store.triggers import NewTrigger
from brain_core.store.workers import WorkerIdentity

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = [{"name": "one", "type": "noop"}]

# Of this database: other tests may use the same server.
WAITS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

turns: list[int] = []


class Minutely(Trigger):
    """Due every minute; notes how often the loop has turned whenever it is asked."""

    type_name: ClassVar[str] = "minutely"
    minutely: int = 1
    turn: ClassVar[int] = 0

    def next_after(self, instant: datetime) -> datetime:
        turns.append(Minutely.turn)
        return START + ((instant - START) // MINUTE + 1) * MINUTE


@dataclass
class Ticked:
    """What a tick needs of the brain."""

    db: Database

    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]:
        return {"minutely": Minutely}

    @property
    def receivers(self) -> Sequence[str]:
        return ()

    async def add(self, name: str) -> UUID:
        new = NewTrigger(name, "minutely", {}, name, f"/{name}.py", "", {}, PLAN, next_due_at=START + MINUTE)
        return (await triggers.register(self.db, new, START)).id

    async def sql(self, text: str, *args: Any) -> list[Any]:
        async with self.db.session() as session:
            rows: list[Any] = await session.connection.fetch(text, *args)
            return rows


@pytest.fixture
def brain(db: Database) -> Ticked:
    return Ticked(db)


async def test_a_pause_that_is_prolonged_while_a_tick_ends_it_goes_on(brain: Ticked) -> None:
    one, later = await brain.add("flow"), START + 60 * MINUTE
    await triggers.pause(brain.db, "flow", START, START + MINUTE, START + 2 * MINUTE)
    async with brain.db.transaction() as session:
        await session.connection.execute("SELECT FROM brain.triggers WHERE id = $1 FOR UPDATE", one)
        ticking = asyncio.ensure_future(daemon_tick(brain, START + 3 * MINUTE, me=uuid4()))
        while not await brain.sql(WAITS):
            assert not ticking.done(), "the tick did not wait for the trigger"
        await session.connection.execute("UPDATE brain.triggers SET resume_at = $2 WHERE id = $1", one, later)
    report = await ticking
    assert (report.resumed, report.problems) == ([], {})
    row = await triggers.get(brain.db, "flow")
    assert (row.state, row.resume_at) == ("paused", later)


async def test_pauses_that_cannot_be_ended_here_hold_up_no_other(
    brain: Ticked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "BATCH", 1)
    for name, kind, config in (("a", "missing", "{}"), ("b", "minutely", '{"minutely": "x"}'), ("c", "minutely", "{}")):
        one = await brain.add(name)
        await brain.sql("UPDATE brain.triggers SET type = $2, config = $3::text::json WHERE id = $1", one, kind, config)
        await triggers.pause(brain.db, name, START, START + MINUTE, START + 2 * MINUTE)
    report = await daemon_tick(brain, START + 3 * MINUTE, me=uuid4())
    assert report.resumed == ["c"]
    assert [text[:21] for text in report.problems.values()] == ["b: cannot be resumed:"]


async def _left_behind(db: Database, workflow: str) -> WorkerIdentity:
    """Leave a running run of a process that is gone."""
    worker = worker_identity("run", 15.0)._replace(process_started="0")
    await Recorder(db, worker).start_run(
        RunStart(uuid4(), workflow, f"/{workflow}.py", None, "{}", '[{"name": "one", "type": "noop"}]')
    )
    return worker


async def test_a_take_over_that_the_database_refuses_holds_up_nobody(brain: Ticked) -> None:
    one = await brain.add("flow")
    bad = await _left_behind(brain.db, "bad")
    await _left_behind(brain.db, "good")
    await brain.sql("ALTER TABLE brain.runs ADD CONSTRAINT no_end CHECK (workflow_name <> 'bad' OR status = 'running')")
    report = await daemon_tick(brain, START + MINUTE, me=uuid4())
    assert [(run.workflow, run.status) for run in report.taken_over] == [("good", "failed")]
    assert [fired.trigger_id for fired in report.fired] == [one]
    assert report.problems[bad.id].startswith(f"worker {bad.id}: its runs cannot be taken over: ")
    await brain.sql("ALTER TABLE brain.runs DROP CONSTRAINT no_end")
    report = await daemon_tick(brain, START + MINUTE, me=uuid4())
    assert [(run.workflow, run.status) for run in report.taken_over] == [("bad", "failed")]


async def test_others_get_their_turn_between_the_decisions(brain: Ticked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "SLICE", 0.0)
    for number in range(5):
        await brain.add(f"flow{number}")

    async def turn() -> None:
        while True:
            Minutely.turn += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    turns.clear()
    try:
        assert len((await daemon_tick(brain, START + MINUTE, me=uuid4())).fired) == 5
    finally:
        turning.cancel()
    assert len(set(turns)) == 5
