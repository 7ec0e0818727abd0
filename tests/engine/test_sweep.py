"""The sweep's judgement: who is given up, who is left alone, and what happens to what they had in hand (G5, G11)."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.engine.sweep import sweep, worker_identity
from brain_core.store import deliveries, runs, workers
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunStart

LEASE = 10.0


async def begun(db: Database, **changes: Any) -> tuple[UUID, UUID]:
    """Start a run under a worker that is this process but for the changes; return the ids of worker and run."""
    recorder = Recorder(db, worker_identity("run", LEASE)._replace(**changes))
    planned = json.dumps([{"name": "one", "type": "noop"}])
    start = RunStart(uuid4(), "flow", "/flow.py", None, "{}", planned)
    await recorder.start_run(start)
    return recorder.worker.id, start.run_id


async def later(db: Database, seconds: float) -> None:
    """Let time pass on this boot's clock since everything that was seen."""
    async with db.session() as session:
        await session.connection.execute("UPDATE brain.worker_sightings SET seen = seen - $1::float8", seconds)


async def old_enough(db: Database) -> None:
    """Wait until the server has been up for a lease: what it has not seen itself counts for nobody's silence."""
    async with db.session() as session:
        up = "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8"
        missing = LEASE - await session.connection.fetchval(up)
        await session.connection.execute("SELECT pg_sleep($1)", max(0.0, missing))


@pytest.mark.parametrize("change", [{"pid_namespace": "container"}, {"boot_id": "other boot"}, {}])
async def test_a_worker_is_given_up_only_after_a_lease_without_a_beat(db: Database, change: dict[str, str]) -> None:
    await old_enough(db)
    worker, run_id = await begun(db, **change)
    assert await sweep(db, uuid4(), ["mail"]) == [], "nobody has watched it for a lease"
    await later(db, LEASE / 2)
    assert await sweep(db, uuid4(), ["mail"]) == []
    assert await workers.beat(db, worker)
    await later(db, LEASE / 2)
    assert await sweep(db, uuid4(), ["mail"]) == [], "it has beaten meanwhile"
    await later(db, LEASE / 2)
    assert await sweep(db, uuid4(), ["mail"]) == []
    await later(db, LEASE / 2)
    assert await sweep(db, uuid4(), ["mail"]) == [run_id]
    run = await runs.get(db, run_id)
    assert run.status == "failed"
    assert run.error is not None
    assert "gave no sign of life for 10 s" in run.error
    assert [each.receiver for each in await deliveries.list_deliveries(db)] == ["mail"]
    assert not await workers.beat(db, worker)


async def test_a_process_of_this_host_that_is_gone_is_given_up_at_once(db: Database) -> None:
    # The pid lives, but another process has it now.
    _, run_id = await begun(db, process_started="0")
    assert await sweep(db, uuid4(), []) == [run_id]


async def test_the_sweeper_leaves_itself_alone(db: Database) -> None:
    worker, run_id = await begun(db, process_started="0")
    assert await sweep(db, worker, []) == []
    assert (await runs.get(db, run_id)).status == "running"


async def test_a_take_over_that_was_broken_off_is_brought_to_its_end(db: Database) -> None:
    worker, run_id = await begun(db)
    async with db.session() as session:
        await session.fetch("worker_give_up", [worker], "gone")
    assert await sweep(db, uuid4(), ["mail"]) == [run_id]
    assert "did not come to its end" in ((await runs.get(db, run_id)).error or "")
    assert [each.receiver for each in await deliveries.list_deliveries(db)] == ["mail"]
