"""`brain history` of the last 20 runs with 1,000 and with 1,000,000 runs stored: its query, and the whole command."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time

import asyncpg
from bench import Bench, home_and_url

from brain_core.store import runs

ROUNDS = 200
COMMANDS = 15
FILL = """
insert into brain.runs (id, workflow_name, file, digest, status, inputs, planned_steps, claim, worker_id,
                        created_at, started_at, ended_at)
select gen_random_uuid(), 'w' || (n % 50), '/w.py', v.digest, 'success', '{}', '[{"name": "a", "type": "t"}]',
       1, v.worker_id, t, t, t
from (select digest, worker_id from brain.runs limit 1) v,
     generate_series($1::int, $2::int) n, lateral (select now() - interval '1 second' * (2000000 - n) as t) times
"""


async def median_ms(bench: Bench, workflow: str | None) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = await runs.history(bench.db, runs.RunFilter(workflow))
        took.append((time.perf_counter() - began) * 1000)
        assert len(found) == 20
    return statistics.median(took)


def command_ms(url: str) -> float:
    command, env = [sys.executable, "-m", "brain_core", "history"], {**os.environ, "THE_BRAIN_DATABASE_URL": url}
    took = []
    for _ in range(COMMANDS):
        began = time.perf_counter()
        subprocess.run(command, env=env, check=True, capture_output=True)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def main(url: str) -> None:
    bench = await Bench.open(url, 2)
    await bench.run_once()
    connection = await asyncpg.connect(url)
    figures = []
    for first, last in ((1, 1_000), (1_001, 1_000_000)):
        await connection.execute("set session_replication_role = replica")
        await connection.execute(FILL, first, last)
        # What the server would do about the new rows in the background is not what is measured.
        await connection.execute("vacuum (analyze) brain.runs")
        await connection.execute("checkpoint")
        figures.append((await median_ms(bench, None), await median_ms(bench, "w7"), command_ms(url)))
    for title, (every, one, whole) in zip(("1,000", "1,000,000"), figures, strict=True):
        print(
            f"{title:>10} runs   all {every:.2f} ms ({every / figures[0][0]:.2f})"
            f"   one workflow {one:.2f} ms ({one / figures[0][1]:.2f})"
            f"   brain history {whole:.0f} ms ({whole / figures[0][2]:.2f})"
        )
    await connection.close()
    await bench.close()


if __name__ == "__main__":
    with home_and_url() as (_, url):
        asyncio.run(main(url))
