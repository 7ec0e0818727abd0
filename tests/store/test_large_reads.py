"""Runs may be as large as their outputs are: who reads many of them leaves connections to others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from brain_core.run import PlannedStep
from brain_core.store import queue, runs
from brain_core.store.database import Database
from brain_core.store.queue import NewRun

PATIENCE = 20.0


async def whole(db: Database, run_id: UUID) -> object:
    return await runs.get(db, run_id)


async def part(db: Database, run_id: UUID) -> object:
    return await runs.progress(db, run_id, (-1, 0), most=1)


@pytest.mark.parametrize("read", [whole, part])
async def test_many_that_read_runs_leave_connections_to_others(
    db: Database, read: Callable[[Database, UUID], Awaitable[object]]
) -> None:
    run_id = await queue.enqueue(db, NewRun(workflow="f", file="/f.py", planned=[PlannedStep("a", "x")]))
    async with db.sibling(pool_size=1, command_timeout=PATIENCE) as other, other.transaction() as slow:
        # What takes long: outputs cannot be read while this goes on.
        await slow.connection.execute("LOCK TABLE brain.step_runs")
        reading = [asyncio.ensure_future(read(db, run_id)) for _ in range(20)]
        async with asyncio.timeout(PATIENCE):
            while not db.large.locked():  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert await runs.counts(db) == {"queued": 1}
    assert len(await asyncio.gather(*reading)) == 20
