"""The beat of a worker: it goes on while the loop works, through a lost connection, and stops when the loop hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.engine.beats import Beats
from brain_core.engine.sweep import worker_identity
from brain_core.store import workers
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunEnd, RunStart

INTERVAL, LIMIT = 0.05, 1.0


@pytest.fixture
async def worker(db: Database) -> AsyncIterator[UUID]:
    recorder, run_id = Recorder(db, worker_identity("run", 15.0)), uuid4()
    await recorder.start_run(RunStart(run_id, "flow", "/flow.py", None, "{}", '[{"name": "one", "type": "noop"}]'))
    yield recorder.worker.id
    await recorder.finish_run(RunEnd(run_id, 1, "cancelled", "over", None))
    await workers.stop(db, recorder.worker.id)


@pytest.fixture
async def beats(db: Database, worker: UUID) -> AsyncIterator[Beats]:
    made = Beats(db, lambda database: workers.beat(database, worker), interval=INTERVAL, limit=LIMIT)
    made.start()
    threads = [each for each in threading.enumerate() if each.name == "brain-beat"]
    yield made
    made.stop()
    for each in threads:
        await asyncio.to_thread(each.join, 30)
        assert not each.is_alive(), "a beat that was stopped goes on"


async def row(db: Database, worker: UUID) -> Any:
    async with db.session() as session:
        return await session.connection.fetchrow(
            "SELECT beat, clock_timestamp() - beat_at AS silence FROM brain.workers WHERE id = $1", worker
        )


async def three_more(db: Database, worker: UUID) -> None:
    before = (await row(db, worker))["beat"]
    async with asyncio.timeout(30):
        while (await row(db, worker))["beat"] < before + 3:
            pass


async def test_it_goes_on_through_a_lost_connection(db: Database, worker: UUID, beats: Beats) -> None:
    await three_more(db, worker)
    async with db.session() as session:
        cut = await session.connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert cut, "the fault has hit nothing"
    await three_more(db, worker)


async def test_it_goes_on_when_the_database_is_back(db: Database, server_url: str, worker: UUID, beats: Beats) -> None:
    await three_more(db, worker)
    async with db.session() as session:
        name = await session.connection.fetchval("SELECT quote_ident(current_database())")
    async with await Database.open(server_url) as server, server.session() as session:
        await session.script(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        async with db.session() as ours:
            await ours.script(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        async with asyncio.timeout(30):
            while (await row(db, worker))["silence"] < timedelta(seconds=10 * INTERVAL):
                pass
        await session.script(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await three_more(db, worker)


async def test_a_loop_that_hangs_does_not_look_alive(
    db: Database, database_url: str, worker: UUID, beats: Beats
) -> None:
    await three_more(db, worker)

    async def until_silent() -> None:
        async with await Database.open(database_url) as own, asyncio.timeout(30):
            while (await row(own, worker))["silence"] < timedelta(seconds=10 * INTERVAL):
                pass

    failures: list[BaseException] = []

    def watch() -> None:
        try:
            asyncio.run(until_silent())
        except BaseException as error:  # noqa: BLE001 - carried over to the test
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    # Blocks the loop, on purpose: only the thread of the beat and the watcher go on.
    watcher.join()
    assert failures == []
    await three_more(db, worker)
