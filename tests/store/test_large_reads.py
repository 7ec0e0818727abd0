"""Runs may be as large as their outputs are: who reads many of them leaves connections to others."""

from __future__ import annotations

import asyncio

from brain_core.run import PlannedStep
from brain_core.store import queue, runs
from brain_core.store.database import Database
from brain_core.store.queue import NewRun

PATIENCE = 20.0


async def test_many_that_read_whole_runs_leave_connections_to_others(db: Database) -> None:
    run_id = await queue.enqueue(db, NewRun(workflow="f", file="/f.py", planned=[PlannedStep("a", "x")]))
    async with db.sibling(pool_size=1, command_timeout=PATIENCE) as other, other.transaction() as slow:
        # What takes long: outputs cannot be read while this goes on.
        await slow.connection.execute("LOCK TABLE brain.step_runs")
        reading = [asyncio.create_task(runs.get(db, run_id)) for _ in range(20)]
        async with asyncio.timeout(PATIENCE):
            while not db.large.locked():  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert await runs.counts(db) == {"queued": 1}
    assert {run.id for run in await asyncio.gather(*reading)} == {str(run_id)}
