"""What `brain status` counts: workers by what is known of their processes, and all unfinished deliveries."""

from __future__ import annotations

from typing import Any

from brain_core.engine.sweep import census, worker_identity
from brain_core.store import deliveries, workers
from brain_core.store.database import Database


async def test_a_dead_process_is_not_counted_as_alive_before_any_sweep(db: Database, make: Any) -> None:
    assert await census(db) == {}
    mine = worker_identity("run", 15.0)
    for worker in (
        mine,
        make.worker()._replace(boot_id=mine.boot_id, pid_namespace=mine.pid_namespace, process_started="0"),
        make.worker(host="elsewhere"),
        make.worker(host="silent"),
    ):
        await make.run_once(make.recorder(db, worker=worker))
    await make.sql(db, "UPDATE brain.workers SET beat_at = now() - interval '16 s' WHERE host = 'silent'")
    assert await census(db) == {"alive": 2, "silent": 1, "dead": 1}
    await workers.stop(db, mine.id)
    assert await census(db) == {"alive": 1, "silent": 1, "dead": 1}


async def test_all_unfinished_deliveries_are_counted(db: Database, make: Any) -> None:
    run_id = await make.run_once(make.recorder(db), receivers=tuple(f"r{number}" for number in range(130)))
    await deliveries.failed(db, run_id, "r0", "no")
    await deliveries.done(db, run_id, "r1")
    assert await deliveries.counts(db) == {"failed": 1, "open": 128}
