"""What is decided before it is due: fired at its instant by the database's clock, while nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from brain_core import Trigger
from brain_core.engine import ahead as ahead_room
from brain_core.engine.ahead import Ahead
from brain_core.store import fires, triggers
from brain_core.store.database import Database
from brain_core.store.triggers import NewTrigger, TriggerRow

HOUR = timedelta(hours=1)


class Hourly(Trigger):
    type_name: ClassVar[str] = "hourly"

    def next_after(self, instant: datetime) -> datetime:
        return instant + HOUR


class Raises(Trigger):
    type_name: ClassVar[str] = "raises"

    def next_after(self, instant: datetime) -> datetime:
        raise OSError("no file descriptor left")


@dataclass
class Brain:
    db: Database
    trigger_types: dict[str, type[Trigger]] = field(default_factory=lambda: {"hourly": Hourly, "raises": Raises})
    receivers: Sequence[str] = ()


async def _add(db: Database, name: str, due: datetime, type_name: str = "hourly") -> TriggerRow:
    new = NewTrigger(
        name=name,
        type=type_name,
        config={},
        workflow_name=name,
        file=f"/{name}.py",
        host="",
        inputs={},
        planned_steps=[{"name": "one", "type": "noop"}],
        next_due_at=due,
    )
    return await triggers.register(db, new, due - HOUR)


@pytest.fixture(autouse=True)
def never_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a second may go by between a decision and its instant; that is another thing than these."""
    monkeypatch.setattr(ahead_room, "TOO_LATE", 60.0)


async def test_what_was_decided_is_fired_when_its_instant_has_come(db: Database) -> None:
    due = await triggers.clock(db)
    row = await _add(db, "flow", due)
    ahead = Ahead(Brain(db))
    assert await ahead.fire() is None
    assert await ahead.prepare(due, 0.0, ()) == 0.0
    assert ahead.is_time
    report = await ahead.fire()
    assert report is not None
    assert [(one.trigger_id, one.due_at, one.outcome) for one in report.fired] == [(row.id, due, "fired")]
    assert (await triggers.get(db, "flow")).next_due_at == due + HOUR
    assert await ahead.fire() is None


async def test_long_before_its_instant_nothing_is_read_and_shortly_before_it_is_not_time(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = await triggers.clock(db) + HOUR
    await _add(db, "flow", due)
    ahead = Ahead(Brain(db))
    assert 3_590 < await ahead.prepare(due, 3_600.0, ()) < 3_600
    monkeypatch.setattr(ahead_room, "AHEAD", 100.0)
    assert 0 < await ahead.prepare(due, 99.0, ()) <= 99.0
    assert not ahead.is_time
    assert await ahead.fire() is None


async def test_the_clock_of_the_database_has_the_last_word(db: Database) -> None:
    due = await triggers.clock(db) + HOUR
    row = await _add(db, "flow", due)
    ahead = Ahead(Brain(db))
    # As if this host's clock ran an hour ahead.
    await ahead.prepare(due, 0.0, ())
    report = await ahead.fire()
    assert report is not None
    assert report.fired == []
    assert await fires.ledger(db, row.id) == []
    assert (await triggers.get(db, "flow")).next_due_at == due


async def test_what_has_changed_since_is_left_alone(db: Database) -> None:
    due = await triggers.clock(db)
    paused, stays = await _add(db, "paused", due), await _add(db, "stays", due)
    ahead = Ahead(Brain(db))
    await ahead.prepare(due, 0.0, ())
    await triggers.pause(db, "paused", due, due)
    report = await ahead.fire()
    assert report is not None
    assert [one.trigger_id for one in report.fired] == [stays.id]
    assert [row.outcome for row in await fires.ledger(db, paused.id)] == ["skipped_paused"]


async def test_what_cannot_be_decided_is_left_to_the_tick(db: Database) -> None:
    due = await triggers.clock(db)
    await _add(db, "flow", due)
    await _add(db, "raises", due, "raises")
    ahead = Ahead(Brain(db))
    await ahead.prepare(due, 0.0, ())
    assert not ahead.is_time
    assert await ahead.fire() is None
