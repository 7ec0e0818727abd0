"""From the instant that a schedule is due to its first step, by the step's clock, against a bare timer and an insert.

    python benchmarks/fire_latency.py [--rounds 30] [--many 1000] [--many-rounds 5]

The step writes CLOCK_REALTIME to a file as the first thing that it does, with one O_APPEND write; by then the run's row
is committed. With one schedule and with many of one workflow at one instant, runner warm; with one, runner cold too.
The baseline goes in turns with it: an asyncio timer for an instant like these, and one committed insert with asyncpg.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from bench import home_and_url
from daemons import CLOCK, daemon, percentile, plan_of, register, until, until_it_is_up

from brain_core.engine.runner import Plan

# A new revision, so that the instant may lie before the one that firing had set.
DUE_AGAIN = "update brain.triggers set next_due_at = $1, revision = revision + 1"
DONE = "select count(*) = $1 from brain.runs where status = 'success'"


async def baseline(connection: asyncpg.Connection[Any]) -> float:
    """Return the milliseconds from an instant until a bare loop has woken and inserted one row."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    due = time.time() + 0.05
    loop.call_later(due - time.time(), woken.set)
    await woken.wait()
    await connection.execute("insert into bare (at) values (clock_timestamp())")
    return (time.time() - due) * 1000


class Rounds:
    """Rounds on one daemon; `seen` is where the steps write their times."""

    def __init__(self, connection: asyncpg.Connection[Any], seen: Path) -> None:
        self._connection = connection
        self._seen = seen

    async def once(self, number: int, ahead: float) -> list[float]:
        """Let all triggers be due in `ahead` seconds; return for each of their runs when its step began, in ms."""
        self._seen.write_text("")
        await self._connection.execute("delete from brain.runs")
        now = time.time()
        # On a whole millisecond, as an instant of cron is on a whole second.
        due = datetime.fromtimestamp(int((now + ahead) * 1000) / 1000, UTC)
        await self._connection.execute(DUE_AGAIN, due)
        await self._connection.execute("notify brain")
        await asyncio.sleep(ahead)
        await until(self._connection, DONE, number)
        lines = [line.split() for line in self._seen.read_text().splitlines()]
        if len({run for run, _ in lines}) != number or len(lines) != number:
            raise SystemExit(f"{len(lines)} steps of {number} have run")
        late = [(float(at) - due.timestamp()) * 1000 for _, at in lines]
        if min(late) < 0:
            raise SystemExit(f"a step began {-min(late):.3f} ms before its instant")
        return late


def say(what: str, late: list[float], base: list[float]) -> None:
    middle, floor = statistics.median(late), statistics.median(base)
    print(
        f"{what:42s} p50 {middle:7.2f} ms   p95 {percentile(late, 95):7.2f} ms   first {min(late):6.2f} ms   "
        f"last {max(late):7.2f} ms   p50 {middle / floor:.1f} of the baseline's {floor:.2f} ms"
    )


async def main(home: Path, url: str, plan: Plan, options: argparse.Namespace) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("create table bare (at timestamptz)")
    rounds = Rounds(connection, home / "seen.txt")
    far = datetime.now(UTC) + timedelta(days=1)

    async def measure(what: str, number: int, times: int, ahead: float) -> None:
        late: list[float] = []
        base: list[float] = []
        for _ in range(3):
            await rounds.once(number, ahead)
        for _ in range(times):
            base.append(await baseline(connection))
            late += await rounds.once(number, ahead)
        say(what, late, base)

    with daemon(home, url, "--concurrency", str(options.many)):
        await until_it_is_up(connection)
        await register(connection, plan, "one-", 1, far)
        await measure("one schedule, warm runner", 1, options.rounds, 0.3)
    with daemon(home, url, runner_idle="0"):
        await until(connection, "select count(*) = 1 from brain.workers where stopped_at is null")
        await measure("one schedule, cold runner", 1, options.rounds, 0.6)
    with daemon(home, url, "--concurrency", str(options.many)):
        await until(connection, "select count(*) = 1 from brain.workers where stopped_at is null")
        await register(connection, plan, "many-", options.many - 1, far)
        await measure(f"{options.many:,} schedules at one instant, warm", options.many, options.many_rounds, 1.0)
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--many", type=int, default=1_000)
    parser.add_argument("--many-rounds", type=int, default=5)
    arguments = parser.parse_args()
    with home_and_url() as (folder, address):
        file = folder / "clock_flow.py"
        file.write_text(CLOCK.format(out=str(folder / "seen.txt")))
        asyncio.run(main(folder, address, plan_of(file), arguments))
