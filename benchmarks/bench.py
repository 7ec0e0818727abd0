"""What the benchmarks share: a database of their own, the no-op workflow, and the raw baseline."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from brain_core import Step, StepContext, Workflow
from brain_core.embedded import EmbeddedServer
from brain_core.engine.beginning import new_run
from brain_core.engine.executor import Execution
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import Plan
from brain_core.engine.sweep import worker_identity
from brain_core.loader import LoadedWorkflow
from brain_core.store import migrate
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.testing import NoHooks

MAX_OUTPUT = 16 * 1024 * 1024


@contextmanager
def home_and_url() -> Iterator[tuple[Path, str]]:
    """Yield a temporary brain home and the URL of a database (`BENCH_DATABASE_URL`, else an embedded server)."""
    home = Path(tempfile.mkdtemp(prefix="brain-bench-"))
    server = EmbeddedServer(home, 300)
    try:
        yield home, os.environ.get("BENCH_DATABASE_URL") or server.ensure()
    finally:
        if "BENCH_DATABASE_URL" not in os.environ:
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


class Noop(Step):
    async def run(self, ctx: StepContext) -> str:
        return "ok"


def noop_workflow(steps: int) -> Workflow:
    return Workflow(name="noop", steps=[Noop(name=f"step_{n}") for n in range(steps)])


class Bench:
    """A recorder and a runner in this process, as `brain run` wires them, without its thread."""

    def __init__(self, db: Database, steps: int) -> None:
        self.db = db
        self.worker = worker_identity("run", 15.0)
        self.recorder = Recorder(db, self.worker)
        self.runner = LocalRunner()
        sources = {"noop.py": ""}
        self.plan: Plan = self.runner.hold(LoadedWorkflow(noop_workflow(steps), Path("/noop.py"), sources, "0" * 64))
        self.recorder.add_version(self.plan.digest, sources)

    @classmethod
    async def open(cls, url: str, steps: int) -> Bench:
        db = await Database.open(url)
        await migrate.ensure_schema(db)
        return cls(db, steps)

    async def run_once(self) -> None:
        execution = Execution(
            self.plan,
            run_id=uuid4(),
            runner=self.runner,
            recorder=self.recorder,
            hooks=NoHooks(),
            watch=lambda event: None,
        )
        begin = new_run(self.plan, {}, run_id=execution.run_id, recorder=self.recorder, max_output=MAX_OUTPUT)
        await execution.run(begin)

    async def close(self) -> None:
        await self.recorder.drain()
        await self.db.close()


RAW_TABLES = """
drop table if exists raw_steps; drop table if exists raw_runs;
create table raw_runs (id uuid primary key, workflow text, status text, inputs json, planned json,
  started_at timestamptz default clock_timestamp(), ended_at timestamptz);
create table raw_steps (run_id uuid references raw_runs, position int, name text, status text, output json,
  started_at timestamptz, ended_at timestamptz default clock_timestamp(), primary key (run_id, position));
"""
RAW_START = "insert into raw_runs (id, workflow, status, inputs, planned) values ($1, $2, 'running', $3, $4)"
RAW_STEP = """
insert into raw_steps (run_id, position, name, status, output, started_at)
values ($1, $2, $3, 'success', $4, clock_timestamp())
"""
RAW_END = "update raw_runs set status = 'success', ended_at = clock_timestamp() where id = $1"


async def raw_run(connection: asyncpg.Connection[Any], steps: int) -> None:
    """Store the rows of one run as a plain loop would: each of them a commit."""
    run_id = uuid4()
    await connection.execute(RAW_START, run_id, "noop", "{}", "[]")
    for position in range(steps):
        await connection.execute(RAW_STEP, run_id, position, f"step_{position}", '"ok"')
    await connection.execute(RAW_END, run_id)
