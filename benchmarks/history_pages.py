"""Pages of the history and of the ledger with 1,000,000 runs and 1,000,000 outcomes stored: each filter, 20 a page."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from bench import Bench, home_and_url

from brain_core.app.paging import fires_page, history_page
from brain_core.store.database import Database

RUNS = int(os.environ.get("BENCH_RUNS", "1000000"))
TRIGGERS = 1_000
WORKFLOWS = 200
ROUNDS = 200
"""Of which the slowest ten are beyond p95."""
ENOUGH = 10.0
"""Seconds after which a slow page has been asked for often enough."""

# A run a second up to now. One in a thousand has failed, one in ten thousand is of a rare workflow.
FILL_RUNS = """
insert into brain.runs (id, workflow_name, file, digest, status, error, inputs, planned_steps, claim, worker_id,
                        created_at, started_at, ended_at, trigger, trigger_id)
select gen_random_uuid(), case when n % 10000 = 3 then 'abc-' || n % 7 else 'w' || n % $2::int end, '/w.py', v.digest,
       case when n % 1000 = 7 then 'failed' else 'success' end, case when n % 1000 = 7 then 'no' end, '{"who": "ann"}',
       '[{"name": "a", "type": "t"}]', 1, v.worker_id, t, t, t, '{"type": "cron", "name": "t"}',
       case when n % 2 = 1 then md5((n % $3::int)::text)::uuid end
from (select digest, worker_id from brain.runs limit 1) v,
     generate_series(1, $1::int) n, lateral (select now() - interval '1 second' * ($1::int - n) as t) times
"""
FILL_TRIGGERS = """
insert into brain.triggers (id, name, type, config, workflow_name, file, planned_steps, created_at)
select md5(n::text)::uuid, 't' || n, 'cron', '{}', 'w' || n % $2::int, '/w.py', '[{"name": "a", "type": "t"}]', now()
from generate_series(0, $1::int - 1) n
"""
FILL_FIRES = """
insert into brain.fires (trigger_id, due_at, outcome, reason, run_id, revision)
select md5((n % $2::int)::text)::uuid, now() - interval '1 second' * ($1::int - n),
       case when n % 100 = 7 then 'skipped_overlap' else 'fired' end, 'due',
       case when n % 100 = 7 then null else gen_random_uuid() end, 1
from generate_series(1, $1::int) n
"""


async def measured(page: Callable[..., Awaitable[Any]], db: Database, **given: Any) -> tuple[float, float, int]:
    """Return the median and p95 of a page in milliseconds, and how many rows it has."""
    wanted: dict[str, Any] = {"workflows": None, "trigger": None, "since": None, "until": None, "cursor": None}
    wanted |= {"workflow": None, "status": None} if page is history_page else {"outcome": None}
    took: list[float] = []
    rows, until = 0, time.monotonic() + ENOUGH
    while len(took) < ROUNDS and time.monotonic() < until:
        began = time.perf_counter()
        found, _ = await page(db, **wanted | given, limit=20)
        took.append((time.perf_counter() - began) * 1000)
        rows = len(found)
    took.sort()
    return took[len(took) // 2], took[len(took) * 95 // 100], rows


def history_cases(now: datetime) -> dict[str, dict[str, Any]]:
    old = now - timedelta(seconds=RUNS * 0.9)
    return {
        "no filter": {},
        "one workflow": {"workflow": "w7"},
        "failed": {"status": "failed"},
        "success": {"status": "success"},
        "one workflow, failed": {"workflow": "w7", "status": "failed"},
        "one workflow, none failed": {"workflow": "w8", "status": "failed"},
        "one trigger": {"trigger": "t7"},
        "one trigger, failed": {"trigger": "t7", "status": "failed"},
        "since an hour ago": {"since": now - timedelta(hours=1)},
        "deep in the past": {"until": old},
        "one workflow, deep": {"workflow": "w7", "until": old},
        "patterns: few": {"workflows": ["abc*"]},
        "patterns: all": {"workflows": ["*"]},
        "patterns: all, deep": {"workflows": ["*"], "until": old},
        "patterns: none": {"workflows": ["zzz*"]},
        "patterns: few, success": {"workflows": ["abc*"], "status": "success"},
        "patterns: all, success": {"workflows": ["*"], "status": "success"},
        "patterns: few, failed": {"workflows": ["abc*"], "status": "failed"},
        "patterns: few, trigger": {"workflows": ["abc*"], "trigger": "t7"},
    }


def fires_cases(now: datetime) -> dict[str, dict[str, Any]]:
    return {
        "no filter": {},
        "one trigger": {"trigger": "t8"},
        "skipped": {"outcome": "skipped_overlap"},
        "merged: none": {"outcome": "merged"},
        "since an hour ago": {"since": now - timedelta(hours=1)},
        "deep in the past": {"until": now - timedelta(seconds=RUNS * 0.9)},
        "patterns": {"workflows": ["w1*"]},
    }


async def main(url: str) -> None:
    bench = await Bench.open(url, 2)
    await bench.run_once()
    connection = await asyncpg.connect(url)
    await connection.execute("set session_replication_role = replica")
    await connection.execute(FILL_RUNS, RUNS, WORKFLOWS, TRIGGERS)
    await connection.execute(FILL_TRIGGERS, TRIGGERS, WORKFLOWS)
    await connection.execute(FILL_FIRES, RUNS, TRIGGERS)
    # What the server would do about the new rows in the background is not what is measured.
    await connection.execute("vacuum (analyze) brain.runs, brain.fires, brain.triggers")
    await connection.execute("checkpoint")
    now = await connection.fetchval("select now()")
    for what, page, cases in (
        ("history", history_page, history_cases(now)),
        ("fires", fires_page, fires_cases(now)),
    ):
        baseline = 0.0
        for title, given in cases.items():
            median, p95, rows = await measured(page, bench.db, **given)
            baseline = baseline or median
            figures = f"median {median:6.2f} ms ({median / baseline:.2f})   p95 {p95:6.2f} ms   {rows} rows"
            print(f"{what:>8}   {title:<25} {figures}", flush=True)
    await connection.close()
    await bench.close()


if __name__ == "__main__":
    with home_and_url() as (_, url):
        asyncio.run(main(url))
