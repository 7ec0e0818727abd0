"""The kit for people who write steps, triggers and plugins; our own tests use it too.

`run_step` runs one step without a database, `run_workflow` a whole workflow against a real one. Nothing here fakes a
part of brain-core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

from brain_core.engine.beginning import new_run
from brain_core.engine.events import Event, Watch, nobody
from brain_core.engine.executor import Execution, RunHooks
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import MAX_OUTPUT, StepRequest
from brain_core.engine.sweep import worker_identity
from brain_core.loader import LoadedWorkflow
from brain_core.placeholders import Json, Previous
from brain_core.run import Run, StepRun
from brain_core.store import migrate, runs, workers
from brain_core.store.codec import decode, encode
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.workflow import Step, Workflow

__all__ = ["NoHooks", "Recording", "StepResult", "run_step", "run_workflow", "worker_identity"]

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
) -> StepResult:
    """Run one step as an engine would, without a database, and return how it ended.

    `steps` are the outputs of earlier steps, `previous` those of the last successful run (None: there was none),
    `settings` the plugin's configuration by model, `folder` where relative paths start. The output is given back as the
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
    reply = await runner.run_step(request, on_live or (lambda text: None))
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
) -> Run:
    """Run a workflow in this process and this event loop, recorded in the database; return the finished run.

    The schema is brought up to date first. InputError when an input is refused.
    """
    runner = LocalRunner()
    digest = hashlib.sha256(workflow.name.encode()).hexdigest()
    file = (folder or Path.cwd()) / f"{workflow.name}.py"
    plan = runner.hold(LoadedWorkflow(workflow, file, {file.name: ""}, digest))
    accepted = await runner.accept_inputs(inputs or {}, typed=False)
    db = await Database.open(database_url)
    try:
        await migrate.ensure_schema(db)
        worker = worker_identity("run", LEASE)
        recorder = Recorder(db, worker)
        recorder.add_version(plan.digest, dict(plan.sources))
        found = await runs.previous(db, plan.workflow) if plan.reads_previous else None
        try:
            execution = Execution(
                plan, run_id=uuid4(), runner=runner, recorder=recorder, hooks=hooks or NoHooks(), watch=watch
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
