"""Deliveries accepted and committed a second by one process, beside a raw asyncpg loop that inserts the same rows.

    python benchmarks/accept.py [--seconds 5] [--at 1 32 256]

Each delivery is answered after its own commit. The raw loop has a connection for each that is under way (64 at most).
The better of two rounds counts, which are taken around those of the raw loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
from bench import home_and_url

from brain_core.app.accepting import Accepting
from brain_core.store import migrate, triggers
from brain_core.store.database import Database
from brain_core.store.triggers import NewTrigger

MOST_CONNECTIONS = 64
PLANNED = [{"name": "one", "type": "noop"}, {"name": "two", "type": "noop"}]
PAYLOAD = {
    "body": {"action": "opened", "number": 7, "repository": {"name": "brain", "owner": "ann"}, "text": "x" * 400},
    "headers": {"user_agent": "bench", "content_type": "application/json"},
    "event": "push",
    "id": "d",
}
_INSERT = """
INSERT INTO brain.runs (id, created_at, status, workflow_name, file, planned_steps, inputs, trigger, trigger_id)
SELECT $1, statement_timestamp(), 'queued', t.workflow_name, t.file, t.planned_steps, t.inputs, $2, t.id
FROM brain.triggers AS t WHERE t.id = $3 AND t.state = 'active'
"""


async def measured(work: Callable[[], Awaitable[object]], concurrency: int, seconds: float) -> tuple[float, float]:
    """Return how many a second were done, and the 99th percentile of their times in milliseconds."""
    took: list[float] = []
    began = time.perf_counter()

    async def many() -> None:
        while (at := time.perf_counter()) < began + seconds:
            await work()
            took.append(time.perf_counter() - at)

    await asyncio.gather(*(many() for _ in range(concurrency)))
    took.sort()
    return len(took) / (time.perf_counter() - began), took[int(len(took) * 0.99)] * 1000


async def ours(url: str, concurrency: int, seconds: float) -> tuple[float, float]:
    async with await Database.open(url, pool_size=6) as db:
        accepting = Accepting(db, 16 * 1024 * 1024)
        return await measured(lambda: accepting.accept("hook", "webhook", PAYLOAD, str(uuid4())), concurrency, seconds)


async def raw(url: str, concurrency: int, seconds: float) -> tuple[float, float]:
    async with await Database.open(url) as db:
        row = await triggers.get(db, "hook")
    idle = [await asyncpg.connect(url) for _ in range(min(concurrency, MOST_CONNECTIONS))]
    connections = list(idle)

    async def insert() -> None:
        connection = idle.pop()
        await connection.execute(_INSERT, uuid4(), json.dumps(PAYLOAD), row.id)
        idle.append(connection)

    try:
        return await measured(insert, len(connections), seconds)
    finally:
        for connection in connections:
            await connection.close()


async def main(url: str, concurrencies: list[int], seconds: float) -> None:
    async with await Database.open(url) as db:
        await migrate.ensure_schema(db)
        new = NewTrigger(
            name="hook",
            type="webhook",
            config={},
            workflow_name="noop",
            file="/noop.py",
            host="",
            inputs={},
            planned_steps=PLANNED,
            overlap="allow",
        )
        await triggers.register(db, new, await triggers.clock(db))
    print(" at once   accepted/s   p99 ms   raw asyncpg/s   p99 ms   ratio")
    for concurrency in concurrencies:
        mine = await ours(url, concurrency, seconds)
        theirs = max([await raw(url, concurrency, seconds) for _ in range(2)])
        mine = max(mine, await ours(url, concurrency, seconds))
        print(
            f"{concurrency:8} {mine[0]:12,.0f} {mine[1]:8.1f} {theirs[0]:15,.0f} {theirs[1]:8.1f}"
            f" {mine[0] / theirs[0]:7.1f}"
        )
    async with await Database.open(url) as db, db.session() as session:
        (row,) = await session.connection.fetch("SELECT count(*) FROM brain.runs")
        print(f"{row['count']:,} runs queued")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 32, 256])
    given = parser.parse_args()
    with home_and_url() as (_, database_url):
        asyncio.run(main(database_url, given.at, given.seconds))
