"""Retention: what goes, what stays, and stopping in the middle."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from brain_core.store import deliveries, fires, retention, runs, triggers
from brain_core.store.database import Database
from brain_core.store.retention import Pruned

# Runs of three workflows: n runs each, one a day, the first n days ago; with two steps' rows each.
_HISTORY = """
INSERT INTO brain.runs (id, created_at, started_at, ended_at, worker_id, claim, status, workflow_name, file, error,
    planned_steps)
SELECT gen_random_uuid(), at, at, at, gen_random_uuid(), 1, 'failed', $1, 'f', 'x', '[{"name": "a", "type": "t"}]'
FROM generate_series(1, $2::int) AS n, LATERAL (SELECT clock_timestamp() - n * interval '1 day' AS at) AS t
"""


async def _history(db: Database, make: Any, workflow: str, days: int) -> None:
    await make.sql(db, _HISTORY, workflow, days)


async def _ages(db: Database, workflow: str) -> list[int]:
    now = datetime.now(UTC)
    return [
        round((now - run.created_at) / timedelta(days=1))
        for run in await runs.history(db, runs.RunFilter(workflow), limit=99)
    ]


@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_what_is_old_goes_but_for_the_last_ones(db: Database, make: Any, batch: int) -> None:
    await _history(db, make, "often", 10)
    await _history(db, make, "seldom", 2)
    assert await retention.prune(db, 5, 3, 0, batch) == Pruned(runs=6)
    assert await _ages(db, "often") == [1, 2, 3, 4]
    assert await _ages(db, "seldom") == [1, 2]
    assert await retention.prune(db, 0.5, 3, 0, batch) == Pruned(runs=1)
    assert await _ages(db, "often") == [1, 2, 3]
    assert await retention.prune(db, 0.5, 0, 8, batch) == Pruned()
    assert await retention.prune(db, 0.5, 0, 2.5, batch) == Pruned(runs=1)
    assert await retention.prune(db, 0.5, 0, 0, batch) == Pruned(runs=4)
    assert await runs.counts(db) == {}


async def test_the_last_success_unfinished_runs_and_open_deliveries_stay(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    old, last = await make.run_once(recorder, receivers=("mail",)), await make.run_once(recorder)
    told = await make.run_once(recorder, workflow="told", receivers=("mail",))
    await make.run_once(recorder, workflow="told")
    begun = make.start()
    await recorder.start_run(begun)
    await deliveries.done(db, old, "mail")
    assert await retention.prune(db, 0, 0, 0) == Pruned(runs=1)
    assert await make.sql(db, "SELECT FROM brain.deliveries WHERE run_id = $1", old) == []
    assert await make.sql(db, "SELECT FROM brain.step_runs WHERE run_id = $1", old) == []
    left = {run.id for run in await runs.history(db)}
    assert {str(last), str(told), str(begun.run_id)} < left
    assert len(left) == 4


async def test_an_instant_keeps_its_outcome_when_its_run_is_gone(db: Database, make: Any) -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    steps = [{"name": "one", "type": "noop"}]
    row = await triggers.register(
        db, triggers.NewTrigger("a", "test", {}, "flow", "/f.py", "", {}, steps, next_due_at=noon), noon
    )
    await fires.fire(db, [fires.Fire(row.id, 1, noon, [noon], None, None)], noon)
    await make.sql(db, "UPDATE brain.runs SET status = 'cancelled', ended_at = now()")
    before = await fires.ledger(db, row.id)
    assert await retention.prune(db, 0, 0, 0) == Pruned(runs=1)
    assert await fires.ledger(db, row.id) == before


async def test_stopping_in_the_middle_leaves_whole_runs_and_going_on_is_harmless(
    database_url: str, db: Database, make: Any
) -> None:
    await _history(db, make, "often", 20)
    async for deleted in retention.prune_runs(db, 0, 2, 0, 5):
        assert deleted == 5
        break
    assert await runs.counts(db) == {"failed": 15}
    async with await Database.open(database_url) as other:
        pruned = await asyncio.gather(retention.prune(db, 0, 2, 0, 4), retention.prune(other, 0, 2, 0, 3))
    assert sum(part.runs for part in pruned) <= 13
    await retention.prune(db, 0, 2, 0)
    assert await _ages(db, "often") == [1, 2]


async def test_workers_that_stopped_long_ago_go_too(db: Database, make: Any) -> None:
    for _ in range(3):
        recorder = make.recorder(db)
        await make.run_once(recorder)
        await make.sql(db, "UPDATE brain.workers SET stopped_at = now() - interval '9 days', stop_reason = 'x'")
    alive = make.recorder(db)
    await make.run_once(alive)
    assert (await retention.prune(db, 10, 9, 0)).workers == 0
    assert (await retention.prune(db, 8, 9, 0, 2)).workers == 3
    assert len(await make.sql(db, "SELECT FROM brain.workers")) == 1
