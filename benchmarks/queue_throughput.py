"""Queued runs worked off by one daemon, one warm runner, against a raw loop; shell steps against bare spawning.

    python benchmarks/queue_throughput.py [--runs 10000] [--spawns 2000] [--concurrency 500] [--at-once 16]

Runs of two no-op steps: the rate from the first claim to the last end, by the database's own times, beside one asyncpg
connection that stores the same rows one after the other. Runs of one shell step (`true`): the same rate beside bare
asyncio that spawns `/bin/sh -c true`, with as many at once. The rounds go in turns; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import asyncpg
from bench import RAW_TABLES, home_and_url, raw_run
from daemons import NOOP, cpu_seconds, daemon, enqueue, family, plan_of, until, until_it_is_up

from brain_core.engine.runner import Plan

TRUE = """
from brain_core import Workflow
from brain_shell import ShellStep

workflow = Workflow(name="true", steps=[ShellStep(name="true", command="true")])
"""
ROUNDS = 3
LEFT = "select not exists (select from brain.runs where status in ('queued', 'running'))"
TOOK = """
select extract(epoch from max(ended_at) - min(started_at))::float8, count(*) filter (where status = 'success')
from brain.runs where workflow_name = $1
"""


async def work_off(connection: asyncpg.Connection, plan: Plan, number: int, pid: int) -> tuple[float, float]:
    """Queue runs and wait for their end; return runs a second and the CPU milliseconds that a run took the daemon."""
    await connection.execute("truncate brain.runs, brain.step_runs, brain.deliveries cascade")
    before = cpu_seconds(family(pid))
    await enqueue(connection, plan, number)
    await connection.execute("notify brain")
    await until(connection, LEFT)
    cpu = cpu_seconds(family(pid)) - before
    took, good = await connection.fetchrow(TOOK, plan.workflow)
    if good != number:
        raise SystemExit(f"{number - good} runs of {number} failed; see the log of the daemon")
    return number / took, cpu / number * 1000


async def raw(connection: asyncpg.Connection, number: int) -> float:
    began = time.perf_counter()
    for _ in range(number):
        await raw_run(connection, 2)
    return number / (time.perf_counter() - began)


async def bare(number: int, at_once: int) -> float:
    async def work(share: int) -> None:
        for _ in range(share):
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", "true", stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            await process.communicate()

    began = time.perf_counter()
    await asyncio.gather(*(work(number // at_once) for _ in range(at_once)))
    return number // at_once * at_once / (time.perf_counter() - began)


async def main(home: Path, url: str, plans: list[Plan], options: argparse.Namespace) -> None:
    connection = await asyncpg.connect(url)
    noop, shell = plans
    await connection.execute(RAW_TABLES)
    with daemon(home, url, "--concurrency", str(options.concurrency)) as pid:
        await until_it_is_up(connection)
        await work_off(connection, noop, 500, pid)
        rates = []
        for _ in range(ROUNDS):
            rates.append((await raw(connection, 1_000), *await work_off(connection, noop, options.runs, pid)))
        base, rate, cpu = (statistics.median(each) for each in zip(*rates, strict=True))
        print(f"raw asyncpg loop, one connection       {base:8,.0f} runs/s   1.00")
        print(
            f"queued two-step runs, one daemon       {rate:8,.0f} runs/s   {rate / base:.2f}   {cpu:.2f} ms CPU a run"
        )
    with daemon(home, url, "--concurrency", str(options.at_once)) as pid:
        await until(connection, "select count(*) = 1 from brain.workers where stopped_at is null")
        await work_off(connection, shell, 100, pid)
        rates = []
        for _ in range(ROUNDS):
            spawned = await bare(options.spawns, options.at_once)
            rates.append((spawned, *await work_off(connection, shell, options.spawns, pid)))
        base, rate, cpu = (statistics.median(each) for each in zip(*rates, strict=True))
        print(f"bare asyncio, `sh -c true`             {base:8,.0f} a second   1.00")
        print(
            f"queued runs of one shell step          {rate:8,.0f} runs/s   {rate / base:.2f}   {cpu:.2f} ms CPU a run"
        )
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--spawns", type=int, default=2_000)
    parser.add_argument("--concurrency", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=16)
    arguments = parser.parse_args()
    with home_and_url() as (folder, address):
        texts = {"noop_flow.py": NOOP, "true_flow.py": TRUE}
        for name, text in texts.items():
            (folder / name).write_text(text)
        asyncio.run(main(folder, address, [plan_of(folder / name) for name in texts], arguments))
