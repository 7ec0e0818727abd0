"""What the tests of the store make runs with."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.store.database import Database
from brain_core.store.recorder import Recorder, RunEnd, RunStart, StepEnd
from brain_core.store.workers import WorkerIdentity


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The functions of this file: what a test makes runs with."""
    return SimpleNamespace(
        worker=worker, recorder=recorder, start=start, step=step, success=success, run_once=run_once, sql=sql
    )


def worker(lease: float = 15.0, **changes: Any) -> WorkerIdentity:
    facts: dict[str, Any] = {
        "id": uuid4(),
        "kind": "run",
        "host": "here",
        "boot_id": "boot",
        "pid_namespace": "ns",
        "pid": 1,
        "process_started": "1",
        "version": "0.1.0",
        "lease": lease,
    }
    return WorkerIdentity(**(facts | changes))


def recorder(db: Database, **options: Any) -> Recorder:
    made = Recorder(db, options.pop("worker", None) or worker(), **options)
    made.add_version("digest", {"flow.py": "workflow = …"})
    return made


def start(workflow: str = "flow", steps: tuple[str, ...] = ("one", "two"), **changes: Any) -> RunStart:
    planned = json.dumps([{"name": name, "type": "noop"} for name in steps])
    return RunStart(
        **{
            "run_id": uuid4(),
            "workflow": workflow,
            "file": "/flow.py",
            "digest": "digest",
            "inputs": "{}",
            "planned": planned,
        }
        | changes
    )


def step(run_id: UUID, position: int, name: str, **changes: Any) -> StepEnd:
    facts: dict[str, Any] = {
        "claim": 1,
        "type": "noop",
        "attempt": 1,
        "status": "success",
        "output": f'"out of {name}"',
        "error": None,
        "log": "",
        "details": "{}",
        "age_started": 0.0,
        "age_ended": 0.0,
    }
    return StepEnd(run_id=run_id, position=position, name=name, **(facts | changes))


def success(run_id: UUID, receivers: tuple[str, ...] = ()) -> RunEnd:
    return RunEnd(run_id, 1, "success", None, step(run_id, 1, "two"), receivers)


async def run_once(to: Recorder, workflow: str = "flow", receivers: tuple[str, ...] = ()) -> UUID:
    """Record a whole successful run of two steps."""
    begun = start(workflow)
    await to.start_run(begun)
    await to.finish_step(step(begun.run_id, 0, "one"))
    await to.finish_run(success(begun.run_id, receivers))
    return begun.run_id


async def sql(db: Database, text: str, *args: Any) -> list[Any]:
    """Run SQL of the test's own."""
    async with db.session() as session:
        rows: list[Any] = await session.connection.fetch(text, *args)
        return rows
