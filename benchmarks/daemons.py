"""What the benchmarks of the daemon share: its processes, workflow files that say when they ran, many triggers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import Plan

NOOP = """
from brain_core import Step, Workflow

class Noop(Step):
    async def run(self, ctx):
        return "ok"

workflow = Workflow(name="noop", steps=[Noop(name="one"), Noop(name="two")])
"""

CLOCK = """
import os
import time

from brain_core import Step, Workflow

out = os.open({out!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)

class Clock(Step):
    async def run(self, ctx):
        # The first thing that the step does, and the truth of this benchmark.
        now = time.clock_gettime(time.CLOCK_REALTIME)
        os.write(out, f"{{ctx.run_id}} {{now:.6f}}\\n".encode())

workflow = Workflow(name="clock", steps=[Clock(name="look")])
"""

REGISTER = """
insert into brain.triggers (id, name, type, config, workflow_name, file, inputs, planned_steps, catch_up, overlap,
                            created_at, next_due_at, digest)
select gen_random_uuid(), $1 || n, 'cron', $2::text::json, $3, $4, '{}', $5::text::jsonb, 'latest', 'allow',
       clock_timestamp(), $7, $8
from generate_series(1, $6::int) as n
"""


VERSION = """
insert into brain.workflow_versions (digest, sources) values ($1, $2::text::json) on conflict (digest) do nothing
"""


async def store_version(connection: asyncpg.Connection[Any], plan: Plan) -> None:
    """Store the source, as registering does."""
    await connection.execute(VERSION, plan.digest, json.dumps(dict(plan.sources)))


def plan_of(file: Path) -> Plan:
    import asyncio

    return asyncio.run(LocalRunner().load(file))


async def register(connection: asyncpg.Connection[Any], plan: Plan, names: str, number: int, due: Any) -> None:
    """Insert `number` hourly cron triggers of a workflow that are due at `due`."""
    planned = "[" + ", ".join(f'{{"name": "{step.name}", "type": "{step.type}"}}' for step in plan.steps) + "]"
    config = '{"cron": "0 * * * *", "timezone": "UTC"}'
    await store_version(connection, plan)
    await connection.execute(REGISTER, names, config, plan.workflow, plan.file, planned, number, due, plan.digest)


ENQUEUE = """
insert into brain.runs (id, created_at, status, workflow_name, file, host, planned_steps, inputs, digest)
select gen_random_uuid(), statement_timestamp(), 'queued', $1, $2, '', $3::text::jsonb, '{}', $5
from generate_series(1, $4::int)
"""


async def enqueue(connection: asyncpg.Connection[Any], plan: Plan, number: int) -> None:
    """Queue `number` runs of a workflow."""
    planned = "[" + ", ".join(f'{{"name": "{step.name}", "type": "{step.type}"}}' for step in plan.steps) + "]"
    await store_version(connection, plan)
    await connection.execute(ENQUEUE, plan.workflow, plan.file, planned, number, plan.digest)


@contextmanager
def daemon(home: Path, url: str, *options: str, **settings: str) -> Iterator[int]:
    """Run `brain daemon` until the block ends; yields its pid. Its log is `daemon.log` in `home`."""
    env = {**os.environ, "THE_BRAIN_HOME": str(home), "THE_BRAIN_DATABASE_URL": url}
    env |= {f"THE_BRAIN_{name.upper()}": value for name, value in settings.items()}
    with (home / "daemon.log").open("a") as log:
        command = [sys.executable, "-m", "brain_core", "daemon", *options]
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home)
    try:
        yield process.pid
        if process.poll() is not None:
            sys.exit(f"the daemon has ended:\n{(home / 'daemon.log').read_text()[-4000:]}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


async def until(connection: asyncpg.Connection[Any], query: str, *values: Any, limit: float = 120.0) -> None:
    """Wait until a query says true; the daemon is what is measured, so it is not asked often."""
    import asyncio

    end = time.monotonic() + limit
    while not await connection.fetchval(query, *values):
        if time.monotonic() > end:
            sys.exit(f"not within {limit:g} s: {query}")
        await asyncio.sleep(0.02)


async def until_it_is_up(connection: asyncpg.Connection[Any]) -> None:
    """Wait for a daemon that ticks, on a database whose schema it may still have to make."""
    await until(connection, "select to_regclass('brain.workers') is not null")
    await until(connection, "select exists (select from brain.workers where kind = 'daemon' and stopped_at is null)")


def family(pid: int) -> list[int]:
    """Return a process and all below it (Linux)."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of processes so far, all threads, to the nanosecond (Linux)."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
