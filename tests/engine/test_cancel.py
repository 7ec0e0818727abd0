"""Cancelling a run: between its steps, in one, and again when the step does not let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from brain_core import Step, StepContext, Workflow
from brain_core.engine.beginning import new_run
from brain_core.engine.events import Event, Live, RunEnded, StepEnded
from brain_core.engine.executor import Execution
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.sweep import worker_identity
from brain_core.loader import LoadedWorkflow
from brain_core.run import Run
from brain_core.store import runs, workers
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.testing import NoHooks

Started = Callable[..., Execution]


class Quick(Step):
    async def run(self, ctx: StepContext) -> str:
        return "done"


class Stubborn(Step):
    """Ends only when it has been asked twice, and says each time that it was."""

    async def run(self, ctx: StepContext) -> None:
        ctx.live("here")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ctx.live("asked")
            try:
                await asyncio.Event().wait()
            finally:
                ctx.live("asked again")


@pytest.fixture
async def execution(db: Database) -> AsyncIterator[Started]:
    recorders = []

    def make(steps: list[Step], watch: Callable[[Event], None]) -> Execution:
        runner, recorder = LocalRunner(), Recorder(db, worker_identity("run", 15.0))
        workflow = Workflow(name="w", steps=steps)
        plan = runner.hold(LoadedWorkflow(workflow, Path("/w.py"), {"w.py": ""}, "digest"))
        recorder.add_version(plan.digest, dict(plan.sources))
        recorders.append(recorder)
        return Execution(plan, run_id=uuid4(), runner=runner, recorder=recorder, hooks=NoHooks(), watch=watch)

    yield make
    for recorder in recorders:
        await workers.stop(db, recorder.worker.id)


async def carried(execution: Execution) -> Run:
    begin = new_run(execution.plan, {}, run_id=execution.run_id, recorder=execution.recorder, max_output=1_000_000)
    return await execution.run(begin)


async def stored(db: Database, run: Run) -> Run:
    return await runs.get(db, run.id)


async def test_between_two_steps_the_next_one_does_not_start(db: Database, execution: Started) -> None:
    events: list[Any] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepEnded):
            going.cancel("cancelled by a test")

    going = execution([Quick(name="one"), Quick(name="two")], watch)
    run = await stored(db, await carried(going))
    assert (run.status, run.error) == ("cancelled", "cancelled by a test")
    assert [(step.name, step.status) for step in run.steps] == [("one", "success")]
    assert isinstance(events[-1], RunEnded)


async def test_after_the_last_step_it_comes_too_late(db: Database, execution: Started) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, StepEnded):
            going.cancel("too late")

    going = execution([Quick(name="one")], watch)
    assert (await stored(db, await carried(going))).status == "success"


@pytest.mark.parametrize("limit", [None, 1000.0])
async def test_a_step_is_asked_each_time(db: Database, execution: Started, limit: float | None) -> None:
    said: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Live):
            said.append(event.text)
        if isinstance(event, Live) and event.text != "asked again":
            asyncio.get_running_loop().call_soon(going.cancel, "cancelled by a test")

    going = execution([Stubborn(name="one", timeout=limit), Quick(name="two")], watch)
    run = await stored(db, await carried(going))
    assert said == ["here", "asked", "asked again"]
    assert (run.status, run.error) == ("cancelled", "cancelled by a test")
    assert [(step.name, step.status) for step in run.steps] == [("one", "cancelled")]
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling(), "what was meant for the step goes on to hit whoever ran it"
