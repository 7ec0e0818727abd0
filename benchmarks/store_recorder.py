"""Durable two-step no-op runs a second through the Recorder alone, beside a raw asyncpg loop that stores the same rows.

    python benchmarks/store_recorder.py [--url URL] [--seconds 5] [--at 1 16 256]

Each run is three waits for a commit: its start, its first step, its second step with its end. The raw loop does the
same three statements on one connection for each run that goes on (64 connections at most). Without --url the embedded
server is used. It works in a database of its own, which is dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg

from brain_core.store.database import Database
from brain_core.store.migrate import ensure_schema
from brain_core.store.recorder import Recorder, RunEnd, RunStart, StepEnd
from brain_core.store.runs import check_history
from brain_core.store.workers import WorkerIdentity

PLANNED = '[{"name": "one", "type": "noop"}, {"name": "two", "type": "noop"}]'
MOST_CONNECTIONS = 64
_BEGIN = """
INSERT INTO brain.runs
    (id, created_at, started_at, worker_id, claim, status, workflow_name, file, digest, planned_steps)
VALUES ($1, statement_timestamp(), statement_timestamp(), $2, 1, 'running', 'noop', '/noop.py', 'raw', $3)
"""
_STEP = """
WITH r AS (UPDATE brain.runs SET position = $3 WHERE id = $1 AND worker_id = $2 AND claim = 1 RETURNING id)
INSERT INTO brain.step_runs (run_id, position, attempt, claim, started_at, ended_at, name, type, status, output)
SELECT id, 0, 1, 1, statement_timestamp(), statement_timestamp(), 'one', 'noop', 'success', '"ok"' FROM r
"""
_END = """
WITH r AS (UPDATE brain.runs SET status = 'success', ended_at = statement_timestamp()
           WHERE id = $1 AND worker_id = $2 AND claim = 1 RETURNING id)
INSERT INTO brain.step_runs (run_id, position, attempt, claim, started_at, ended_at, name, type, status, output)
SELECT id, 1, 1, 1, statement_timestamp(), statement_timestamp(), 'two', 'noop', 'success', '"ok"' FROM r
"""


def _worker() -> WorkerIdentity:
    return WorkerIdentity(uuid4(), "run", "bench", "boot", "ns", 1, "0", "0", 15.0)


async def ours(url: str, concurrency: int, seconds: float) -> float:
    """Return runs a second through one Recorder."""
    async with await Database.open(url) as db:
        recorder = Recorder(db, _worker())
        recorder.add_version("bench", {"noop.py": ""})
        await _one(recorder)
        until, count = time.perf_counter() + seconds, 0

        async def many() -> None:
            nonlocal count
            while time.perf_counter() < until:
                await _one(recorder)
                count += 1

        began = time.perf_counter()
        await asyncio.gather(*(many() for _ in range(concurrency)))
        return count / (time.perf_counter() - began)


async def _one(recorder: Recorder) -> None:
    run = uuid4()
    await recorder.start_run(RunStart(run, "noop", "/noop.py", "bench", "{}", PLANNED))
    await recorder.finish_step(_step(run, 0, "one"))
    await recorder.finish_run(RunEnd(run, 1, "success", None, _step(run, 1, "two"), ()))


def _step(run: UUID, position: int, name: str) -> StepEnd:
    return StepEnd(run, 1, position, name, "noop", 1, "success", '"ok"', None, "", "{}", 0.0, 0.0)


async def raw(url: str, concurrency: int, seconds: float) -> float:
    """Return runs a second by one connection for each run that goes on."""
    async with await Database.open(url) as db, db.session() as session:
        await session.script("INSERT INTO brain.workflow_versions VALUES ('raw', '{}') ON CONFLICT DO NOTHING")
    me = _worker().id
    connections = [await asyncpg.connect(url) for _ in range(min(concurrency, MOST_CONNECTIONS))]
    until, count = time.perf_counter() + seconds, 0

    async def many(connection: asyncpg.Connection) -> None:
        nonlocal count
        while time.perf_counter() < until:
            run = uuid4()
            await connection.execute(_BEGIN, run, me, PLANNED)
            await connection.execute(_STEP, run, me, 1)
            await connection.execute(_END, run, me)
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(many(connection) for connection in connections))
    rate = count / (time.perf_counter() - began)
    await asyncio.gather(*(connection.close() for connection in connections))
    return rate


async def main(url: str, concurrencies: list[int], seconds: float) -> None:
    """Measure each concurrency twice, interleaved, and print the better of both."""
    name = f"brain_bench_{uuid4().hex[:8]}"
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    async with await Database.open(url) as db, db.session() as session:
        await session.script(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        async with await Database.open(own) as db:
            await ensure_schema(db)
        print("in flight   recorder runs/s   raw asyncpg runs/s   ratio   ms a commit")
        for concurrency in concurrencies:
            results = []
            for _ in range(2):
                results.append((await ours(own, concurrency, seconds), await raw(own, concurrency, seconds)))
            mine, theirs = max(r[0] for r in results), max(r[1] for r in results)
            wait = concurrency / mine / 3 * 1000
            print(f"{concurrency:9}   {mine:15,.0f}   {theirs:18,.0f}   {mine / theirs:5.1f}   {wait:11.2f}")
        async with await Database.open(own) as db:
            lies = [found for found in await check_history(db, silent=3600) if found.rule != "running_without_owner"]
        print(f"history check: {len(lies)} violations; {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")
    finally:
        async with await Database.open(url) as db, db.session() as session:
            await session.script(f'DROP DATABASE "{name}" WITH (FORCE)')


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 16, 256])
    given = parser.parse_args()
    if given.url:
        asyncio.run(main(given.url, given.at, given.seconds))
    else:
        from brain_core.embedded import EmbeddedServer

        with tempfile.TemporaryDirectory(dir="/tmp", prefix="brain-bench-") as home:
            Path(home).chmod(0o711)
            server = EmbeddedServer(Path(home), 60.0)
            try:
                asyncio.run(main(server.ensure(), given.at, given.seconds))
            finally:
                server.stop()
