"""Durable two-step no-op runs a second in one process, against a raw asyncpg loop that stores the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
from bench import RAW_TABLES, Bench, home_and_url, raw_run

SECONDS = 5.0


async def rate(once: Callable[[], Awaitable[None]], concurrency: int) -> float:
    """Return how many calls a second `concurrency` workers get done in SECONDS."""
    done = 0
    until = time.perf_counter() + SECONDS

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await once()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return done / (time.perf_counter() - began)


async def main(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(RAW_TABLES)
    raw = await rate(lambda: raw_run(connection, 2), 1)
    await connection.close()
    print(f"raw asyncpg loop, one connection        {raw:8,.0f} runs/s   1.00")
    bench = await Bench.open(url, 2)
    await rate(bench.run_once, 16)
    for concurrency in (1, 16, 64, 128, 256, 512):
        got = await rate(bench.run_once, concurrency)
        print(f"brain-core, {concurrency:4d} runs at once            {got:8,.0f} runs/s   {got / raw:.2f}")
    await bench.close()


if __name__ == "__main__":
    with home_and_url() as (_, url):
        asyncio.run(main(url))
