"""Daemons of two versions share one database while people upgrade (G20)."""

from __future__ import annotations

from uuid import uuid4

from brain_core.engine.sweep import worker_identity
from brain_core.store import daemon as store
from brain_core.store import workers

from .conftest import House

NEXT_VERSION = """
ALTER TABLE brain.runs ADD COLUMN mood text;
ALTER TABLE brain.triggers ADD COLUMN colour text NOT NULL DEFAULT 'blue';
ALTER TABLE brain.step_runs ADD COLUMN cost numeric;
CREATE TABLE brain.moods (run_id uuid);
INSERT INTO brain.schema_migrations (distribution, number, name, checksum) VALUES ('brain-core', 999, '0999_moods', '');
"""


async def test_a_daemon_works_on_while_a_newer_one_has_migrated(house: House) -> None:
    old = await house.daemon()
    file = house.flow("Note(name='one'), Held(name='two')")
    under_way = await house.queue(file)
    await house.began("two", 1, old)
    async with house.db.session() as session:
        await session.script(NEXT_VERSION)
    newer = worker_identity("daemon", 60.0)._replace(id=uuid4(), version="99.0.0")
    await store.beat(house.db, newer, 1, 0, 0.0, [])
    house.go("two")
    assert (await house.ended(under_way, old)).status == "success"
    # Fires and claims, too, and leaves the other's worker alone.
    await house.schedule(house.flow("Note(name='one')", name="later"), name="later")
    (fired,) = await house.until(lambda: house.sql("SELECT run_id FROM brain.fires"), "it fires", old)
    assert (await house.ended(fired["run_id"], old)).status == "success"
    (row,) = await house.sql("SELECT stopped_at FROM brain.workers WHERE id = $1", newer.id)
    assert row["stopped_at"] is None
    # One of the old version that starts only now does not know what it would break.
    late = house.spawn("daemon")
    assert await late.ended() == 3
    assert "migration 0999_moods of a newer brain-core" in late.log
    old.kill()
    assert await old.ended() == 0
    await workers.stop(house.db, newer.id)
