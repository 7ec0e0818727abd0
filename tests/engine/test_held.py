"""A trigger that somebody else holds is looked at ever more rarely, and at once again when something goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from brain_core import Trigger
from brain_core.engine.carrying import Carrier
from brain_core.engine.daemon import HELD_AGAIN, Daemon
from brain_core.engine.deliver import Delivery
from brain_core.engine.upkeep import Kept, Upkeep
from brain_core.engine.waiting import BackOff
from brain_core.engine.worker import Worker
from brain_core.store import triggers
from brain_core.store.database import Database
from brain_core.store.triggers import NewTrigger
from brain_core.store.workers import WorkerIdentity
from brain_core.testing import NoHooks

BEAT = 1.0
HOUR = timedelta(hours=1)


class Hourly(Trigger):
    type_name: ClassVar[str] = "hourly"

    def next_after(self, instant: datetime) -> datetime:
        return instant + HOUR


@dataclass
class Brain:
    db: Database
    trigger_types: dict[str, type[Trigger]] = field(default_factory=lambda: {"hourly": Hourly})
    receivers: Sequence[str] = ()


@pytest.fixture
async def daemon(db: Database) -> AsyncIterator[Daemon]:
    delivery = Delivery(db, None, new_runner=lambda: None, time_limit=10)  # type: ignore[arg-type, return-value]

    def worker(identity: WorkerIdentity) -> Worker:
        carrier = Carrier(db, identity, runners=None, hooks=NoHooks(), delivery=delivery, hear=print)  # type: ignore[arg-type]
        return Worker(db, carrier, concurrency=1)

    upkeep = Upkeep(db, delivery, Kept(1, 1, 1))
    made = Daemon(Brain(db), worker, upkeep, beat=BEAT, lease=15.0)
    # What is fired is queued, and stays so.
    await made.worker.finish()
    yield made
    await upkeep.close()


async def _add(db: Database, name: str, due: datetime) -> None:
    new = NewTrigger(
        name=name,
        type="hourly",
        config={},
        workflow_name=name,
        file=f"/{name}.py",
        host="",
        inputs={},
        planned_steps=[{"name": "one", "type": "noop"}],
        next_due_at=due,
    )
    await triggers.register(db, new, due - HOUR)


async def test_cycles_become_fewer_while_a_strangers_transaction_holds_what_is_due(
    db: Database, daemon: Daemon
) -> None:
    due = await triggers.clock(db)
    await _add(db, "held", due)
    growing = [0.05, 0.1, 0.2, 0.4, 0.8, BEAT, BEAT]
    async with db.transaction() as stranger:
        await stranger.connection.execute("SELECT FROM brain.triggers WHERE name = 'held' FOR UPDATE")
        assert [await daemon._cycle() for _ in growing] == growing
        # Something else that fires: what is held may have been let go by the same hand.
        await _add(db, "free", due)
        assert await daemon._cycle() == HELD_AGAIN
        assert (await triggers.get(db, "free")).next_due_at > due
        assert [await daemon._cycle() for _ in growing[1:]] == growing[1:]
    assert await daemon._cycle() > BEAT
    assert (await triggers.get(db, "held")).next_due_at > due


def test_pauses_double_up_to_the_longest_and_begin_anew_with_another_thing() -> None:
    pauses = BackOff(1.0, 5.0)
    assert [pauses.pause("a") for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert [pauses.pause("b") for _ in range(2)] == [1.0, 2.0]
    pauses.reset()
    assert [pauses.pause("b") for _ in range(2)] == [1.0, 2.0]
    assert BackOff(1.0, 0.5).pause("a") == 0.5
