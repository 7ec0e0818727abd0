"""One tick with a million registered triggers of which ten are due, against one with ten in all.

python benchmarks/tick.py [--triggers 1000000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
from bench import home_and_url
from daemons import NOOP, plan_of, register

from brain_core.builtin.cron import Cron
from brain_core.engine.runner import Plan
from brain_core.engine.tick import daemon_tick
from brain_core.store import migrate, triggers
from brain_core.store.database import Database
from brain_core.trigger import Trigger

DUE = 10
# Spread over the table, and by a new revision, so that an instant may lie before the one that firing had set.
MAKE_DUE = """
update brain.triggers set next_due_at = $1, revision = revision + 1
where id in (select id from brain.triggers where id > gen_random_uuid() and state = 'active' order by id limit $2)
"""


class Ticking:
    """What a tick needs of the brain."""

    receivers = ()
    trigger_types: Mapping[str, type[Trigger]] = {"cron": Cron}

    def __init__(self, db: Database) -> None:
        self.db = db


async def measure(db: Database, connection: asyncpg.Connection, rounds: int) -> list[float]:
    brain, took = Ticking(db), []
    for _ in range(rounds):
        now = await triggers.clock(db)
        made = 0
        while made < DUE:
            made += int((await connection.execute(MAKE_DUE, now, DUE - made)).split()[1])
            made = await connection.fetchval("select count(*) from brain.triggers where next_due_at <= $1", now)
        began = time.perf_counter()
        report = await daemon_tick(brain, now, me=uuid4())
        took.append((time.perf_counter() - began) * 1000)
        if len(report.fired) != DUE or report.problems:
            raise SystemExit(f"{len(report.fired)} have fired; problems: {report.problems}")
    return took


async def main(url: str, plan: Plan, number: int, rounds: int) -> None:
    connection = await asyncpg.connect(url)
    async with await Database.open(url) as db:
        await migrate.ensure_schema(db)
        far = datetime.now(UTC) + timedelta(days=30)
        await register(connection, plan, "few-", DUE, far)
        few = await measure(db, connection, rounds)
        began = time.perf_counter()
        await register(connection, plan, "more-", number - DUE, far)
        print(f"{number:,} triggers inserted in {time.perf_counter() - began:.0f} s")
        many = await measure(db, connection, rounds)
    for what, took in ((f"{DUE} due of {DUE}", few), (f"{DUE} due of {number:,}", many)):
        middle = statistics.median(took)
        print(f"tick, {what:22s} {middle:7.2f} ms (median)   p95 {sorted(took)[int(len(took) * 0.95)]:7.2f} ms   "
              f"{middle / statistics.median(few):.2f}")  # fmt: skip
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    with home_and_url() as (folder, address):
        (Path(folder) / "noop_flow.py").write_text(NOOP)
        asyncio.run(main(address, plan_of(folder / "noop_flow.py"), arguments.triggers, arguments.rounds))
