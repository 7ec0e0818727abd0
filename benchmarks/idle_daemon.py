"""What an idle daemon costs that has 1,000 schedules, none of them due soon (Linux).

    python benchmarks/idle_daemon.py [--schedules 1000] [--seconds 60]

Prints the memory of all its processes with shared pages counted once (PSS), the share of a core that they use, and the
statements that it sends a minute, by the log of the embedded server; beside them a bare process that has the same
libraries imported and asks `select 1` every five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from bench import home_and_url
from daemons import NOOP, cpu_seconds, daemon, family, plan_of, register, until_it_is_up

from brain_core.engine.runner import Plan

BARE = """
import asyncio, sys
import asyncpg, pluggy, pydantic_settings, typer

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    while True:
        await connection.fetchval("select 1")
        await asyncio.sleep(5)

asyncio.run(main())
"""
# Of sessions that begin from now on every statement is written to the server's log. (`pg_stat_database` counts those of
# the server's own processes too, more than an idle daemon sends.)
LOG_ALL = (
    "do $$ begin execute format('alter database %I set log_min_duration_statement = 0', current_database()); end $$"
)
SETTLE = 5.0


def pss(pids: list[int]) -> float:
    """Return the memory of some processes in MB, shared pages counted once."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def logged(home: Path) -> int:
    """Return how many statements the log of the embedded server tells of."""
    lines = [
        line for log in home.glob("postgres-*/server.log") for line in log.read_text(errors="replace").splitlines()
    ]
    return sum(" duration: " in line and (" execute " in line or " statement: " in line) for line in lines)


async def main(home: Path, url: str, plan: Plan, schedules: int, seconds: float) -> None:
    connection = await asyncpg.connect(url)
    own = "BENCH_DATABASE_URL" not in os.environ
    bare = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE, url)
    try:
        # The bare process has to be connected by then.
        await asyncio.sleep(SETTLE)
        if own:
            await connection.execute(LOG_ALL)
        with daemon(home, url) as pid:
            await until_it_is_up(connection)
            far = datetime.now(UTC) + timedelta(days=1)
            await register(connection, plan, "idle-", schedules, far)
            await connection.execute("notify brain")
            await asyncio.sleep(SETTLE)
            ours, theirs = family(pid), [bare.pid]
            before = cpu_seconds(ours), cpu_seconds(theirs), logged(home)
            await asyncio.sleep(seconds)
            after = cpu_seconds(ours), cpu_seconds(theirs), logged(home)
            if family(pid) != ours:
                raise SystemExit("the daemon was not idle: its processes have changed")
            asked = (
                f"{(after[2] - before[2]) * 60 / seconds:7.1f} a minute" if own else "not known: another server's log"
            )
            memory, floor = pss(ours), pss(theirs)
            cpu, bare_cpu = ((after[n] - before[n]) / seconds * 100 for n in (0, 1))
            parts = ", ".join(f"{pss([one]):.1f}" for one in ours)
            print(
                f"memory (PSS) of {len(ours)} processes {memory:7.1f} MB   {memory / floor:.2f} of a bare one ({parts})"
            )
            print(f"share of a core             {cpu:7.3f} %    {cpu / bare_cpu:.1f} of a bare one")
            print(f"statements                  {asked}")
    finally:
        bare.terminate()
        await bare.wait()
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with home_and_url() as (folder, address):
        (folder / "noop_flow.py").write_text(NOOP)
        asyncio.run(main(folder, address, plan_of(folder / "noop_flow.py"), arguments.schedules, arguments.seconds))
