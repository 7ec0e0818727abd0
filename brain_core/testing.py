"""The kit for people who write steps, triggers and plugins; our own tests use it too.

`run_step` runs one step without a database, `run_workflow` a whole workflow against a real one; `open_tables` makes a
plugin's tables in one and `check_tables` holds them against the rules. Nothing here fakes a part of brain-core.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

from brain_core.engine.beginning import new_run
from brain_core.engine.events import Event, Watch, nobody
from brain_core.engine.executor import Execution, RunHooks
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.queries import Queries, ask_by, query_by
from brain_core.engine.runner import MAX_OUTPUT, StepRequest
from brain_core.engine.sweep import worker_identity
from brain_core.errors import DatabaseError, PluginError
from brain_core.loader import LoadedWorkflow
from brain_core.placeholders import Json, Previous
from brain_core.run import Run, StepRun
from brain_core.sqlfiles import OwnTables, read_tables
from brain_core.store import migrate, plugin_statements, runs, workers
from brain_core.store.codec import decode, encode
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.tables import Query, Tables
from brain_core.workflow import Step, Workflow

__all__ = [
    "NoHooks",
    "Recording",
    "StepResult",
    "check_tables",
    "open_tables",
    "run_step",
    "run_workflow",
    "worker_identity",
]

LEASE = 15.0


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended: its output and details as the history would give them back."""

    status: Literal["success", "failed"]
    output: Json = None
    error: str | None = None
    log: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)


class NoHooks:
    """Hooks that nobody listens to."""

    receivers: tuple[str, ...] = ()

    def listens(self, hook: str) -> bool:
        return False

    async def run_started(self, run: Run) -> list[str]:
        return []

    async def step_finished(self, run: Run, step: StepRun) -> list[str]:
        return []


class Recording:
    """A watcher that keeps every event of a run in `events`."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)


async def run_step(
    step: Step,
    *,
    steps: Mapping[str, Json] | None = None,
    inputs: Mapping[str, Json] | None = None,
    previous: Mapping[str, Json] | None = None,
    trigger: Mapping[str, Json] | None = None,
    settings: Mapping[type, Any] | None = None,
    folder: Path | None = None,
    on_live: Any = None,
    query: Query | None = None,
) -> StepResult:
    """Run one step as an engine would, without a database, and return how it ended.

    `steps` are the outputs of earlier steps, `previous` those of the last successful run (None: there was none),
    `settings` the plugin's configuration by model, `folder` where relative paths start, `query` what
    `ctx.query` calls (see `open_tables`). The output is given back as the
    history would hold it. What the step raises is in the reply, not raised here.
    """
    runner = LocalRunner(settings=dict(settings or {}))
    placeholder = Workflow.model_construct(
        name="under_test", steps=(step,), inputs={}, description="", on_finished=None
    )
    runner.hold(LoadedWorkflow(placeholder, (folder or Path.cwd()) / "under_test.py", {}, ""))
    request = StepRequest(
        str(UUID(int=0)),
        0,
        1,
        {name: encode(value, MAX_OUTPUT).text for name, value in (steps or {}).items()},
        inputs or {},
        {"id": str(UUID(int=0)), "workflow": "under_test", "started_at": "2000-01-01T00:00:00+00:00"},
        None if previous is None else Previous(str(UUID(int=1)), previous),
        trigger,
    )
    ask = None if query is None else ask_by(query)
    reply = await runner.run_step(request, on_live or (lambda text: None), ask)
    output = None if reply.output is None else decode(reply.output)
    return StepResult(reply.status, output, reply.error, reply.log, decode(reply.details))


async def run_workflow(
    workflow: Workflow,
    database_url: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    watch: Watch = nobody,
    hooks: RunHooks | None = None,
    tables: Sequence[Tables] = (),
    settings: Mapping[type, Any] | None = None,
) -> Run:
    """Run a workflow in this process and this event loop, recorded in the database; return the finished run.

    The schema is brought up to date first, with the `tables` of plugins. `settings` are the plugins' configuration by
    model. InputError when an input is refused.
    """
    runner = LocalRunner(settings=dict(settings or {}))
    digest = hashlib.sha256(workflow.name.encode()).hexdigest()
    file = (folder or Path.cwd()) / f"{workflow.name}.py"
    plan = runner.hold(LoadedWorkflow(workflow, file, {file.name: ""}, digest))
    accepted = await runner.accept_inputs(inputs or {}, typed=False)
    db = await Database.open(database_url)
    try:
        statements = await _made(db, tables)
        worker = worker_identity("run", LEASE)
        recorder = Recorder(db, worker)
        recorder.add_version(plan.digest, dict(plan.sources))
        found = await runs.previous(db, plan.workflow) if plan.reads_previous else None
        try:
            execution = Execution(
                plan,
                run_id=uuid4(),
                runner=runner,
                recorder=recorder,
                hooks=hooks or NoHooks(),
                watch=watch,
                ask=Queries(db, statements).ask if tables else None,
            )
            return await execution.run(
                new_run(
                    plan,
                    accepted,
                    run_id=execution.run_id,
                    recorder=recorder,
                    max_output=MAX_OUTPUT,
                    previous=None if found is None else Previous(str(found[0]), found[1]),
                )
            )
        finally:
            await recorder.drain()
            await workers.stop(db, worker.id)
    finally:
        await db.close()


@asynccontextmanager
async def open_tables(database_url: str, *tables: Tables) -> AsyncIterator[Query]:
    """Make the tables of plugins in a database and give what `ctx.query` is, for `run_step` and for tests themselves.

    PluginError when they are not as they have to be.
    """
    async with await Database.open(database_url) as db:
        yield query_by(Queries(db, await _made(db, tables)).ask)


async def check_tables(database_url: str, tables: Tables) -> list[str]:
    """Make a plugin's tables in a database and return what is wrong with its statements, one line each.

    Each is prepared by the server against the migrated schema: it has to take one json and return one json column, or
    none.
    """
    async with await Database.open(database_url) as db:
        made = await _made(db, [tables])
        found = []
        for name, text in made.statements.items():
            if problem := await plugin_statements.check(db, text):
                found.append(f"{name}: {problem}")
        return found


class _Made:
    """The statements of tables that are there."""

    def __init__(self, tables: Sequence[OwnTables]) -> None:
        self.statements = {name: text for one in tables for name, text in one.statements.items()}

    def statement(self, name: str) -> str:
        if name not in self.statements:
            raise PluginError(f"no statement '{name}' in these tables (there are: {', '.join(self.statements)})")
        return self.statements[name]


async def _made(db: Database, tables: Sequence[Tables]) -> _Made:
    await migrate.ensure_schema(db)
    try:
        # Under the names that the distributions of this project have: brain-llm for the schema brain_llm.
        own = [read_tables(one, one.schema, one.schema.replace("_", "-")) for one in tables]
    except (OSError, ValueError) as error:
        raise PluginError(f"the tables cannot be read: {error}") from None
    for name, why in (await migrate.ensure_tables(db, own))[1].items():
        raise DatabaseError(f"the tables of {name} cannot be made: {why}")
    return _Made(own)
