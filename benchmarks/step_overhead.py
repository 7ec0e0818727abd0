"""What a step costs in a 100-step no-op workflow, against a raw asyncpg loop that stores the same rows."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg
from bench import RAW_TABLES, Bench, home_and_url, raw_run

STEPS = 100
ROUNDS = 30


async def a_step(once: Callable[[], Awaitable[None]]) -> float:
    """Return the median milliseconds a step over ROUNDS runs."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await once()
        took.append((time.perf_counter() - began) * 1000 / STEPS)
    return statistics.median(took)


async def main(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(RAW_TABLES)
    raw = await a_step(lambda: raw_run(connection, STEPS))
    await connection.close()
    bench = await Bench.open(url, STEPS)
    got = await a_step(bench.run_once)
    await bench.close()
    print(f"raw asyncpg loop     {raw:.3f} ms a step   1.00")
    print(f"brain-core           {got:.3f} ms a step   {got / raw:.2f}   overhead {got - raw:+.3f} ms")


if __name__ == "__main__":
    with home_and_url() as (_, url):
        asyncio.run(main(url))
