"""Carries one run from its start to its end: three kinds of commit, and nothing open in between.

Starting the run is one commit; a step's result and the start of the next is one; the last step's result and the end of
the run, with its deliveries, is one. Every write carries the claim number, so that a worker that lost its run writes
nothing (G12). The run ends in a final row whatever its steps do, a cancellation included.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from brain_core.engine.events import (
    Event,
    HookProblem,
    Live,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    Watch,
)
from brain_core.engine.runner import Plan, Runner, StepReply, StepRequest
from brain_core.errors import StepFailed
from brain_core.placeholders import Json, Previous, Scope
from brain_core.run import WORKFLOW_RECEIVER, Run, RunStatus, StepRun, StepStatus
from brain_core.store.codec import decode, encode, visible
from brain_core.store.recorder import Recorder, RunEnd, RunStart, StepEnd
from brain_core.threads import type_name


class RunHooks(Protocol):
    """What the executor needs of the plugin manager; each call returns its problems, one line each."""

    @property
    def receivers(self) -> Sequence[str]: ...
    def listens(self, hook: str) -> bool: ...
    async def run_started(self, run: Run) -> list[str]: ...
    async def step_finished(self, run: Run, step: StepRun) -> list[str]: ...


class Execution:
    """One run in this process. `run()` is awaited once; `cancel()` may be called at any time from the same loop."""

    def __init__(
        self,
        plan: Plan,
        inputs: dict[str, Json],
        *,
        runner: Runner,
        recorder: Recorder,
        hooks: RunHooks,
        watch: Watch,
        max_output: int,
        previous: Previous | None = None,
        trigger: dict[str, Json] | None = None,
    ) -> None:
        self.plan = plan
        self.run_id: UUID = uuid4()
        self._inputs = inputs
        self._runner = runner
        self._recorder = recorder
        self._hooks = hooks
        self._watch = watch
        self._max_output = max_output
        self._previous = previous
        self._trigger = trigger
        self._outputs: dict[str, Json] = {}
        self._steps: list[StepRun] = []
        self._claim = 1
        self._cancel_reason: str | None = None
        self._in_step: asyncio.Task[Any] | None = None

    @property
    def receivers(self) -> list[str]:
        """Who is to be told of the end: the plugins that listen, and the workflow itself."""
        return [*self._hooks.receivers, *([WORKFLOW_RECEIVER] if self.plan.has_on_finished else [])]

    def cancel(self, reason: str) -> None:
        """End the run as cancelled: the step that runs now is ended, later ones do not start.

        Called again, it asks the step again, which then gets no more grace: a shell step's processes are killed.
        """
        if self._cancel_reason is None:
            self._cancel_reason = reason
        if self._in_step is not None:
            self._in_step.cancel()

    async def run(self) -> Run:
        """Run all steps and return the finished run. ClaimLost or DatabaseError when its end could not be written."""
        run = await self._start()
        started = time.monotonic()
        last = len(self.plan.steps) - 1
        for position, planned in enumerate(self.plan.steps):
            if self._cancel_reason is not None:
                return await self._end(run, "cancelled", self._cancel_reason, None)
            self._watch(StepStarted(position, planned.name, planned.type))
            began = time.monotonic()
            reply, status = await self._attempt(run, position)
            took = (began, time.monotonic())
            step, write = self._step_row(run, position, reply, status, took, started)
            if step.status == "cancelled":
                return await self._end(run, "cancelled", self._cancel_reason, (step, write))
            if step.status != "success":
                # Its output may have been refused by the codec: the row decides, not the reply.
                return await self._end(run, "failed", f"step '{planned.name}': {step.error}", (step, write))
            if position == last:
                return await self._end(run, "success", None, (step, write))
            await self._recorder.finish_step(write)
            await self._say_step(run, step)
        raise AssertionError("a plan has at least one step")

    async def _start(self) -> Run:
        plan = self.plan
        inputs = encode(self._inputs, self._max_output)
        self._inputs = decode(inputs.text)
        started_at: datetime = await self._recorder.start_run(
            RunStart(
                run_id=self.run_id,
                workflow=plan.workflow,
                file=plan.file,
                digest=plan.digest,
                inputs=inputs.text,
                planned=json.dumps([{"name": step.name, "type": step.type} for step in plan.steps]),
                trigger=None if self._trigger is None else encode(self._trigger, self._max_output).text,
                previous_run_id=None if self._previous is None else UUID(self._previous.run_id),
                retry_of=None,
            )
        )
        run = Run(
            id=str(self.run_id),
            workflow=plan.workflow,
            file=plan.file,
            status="running",
            created_at=started_at,
            started_at=started_at,
            inputs=self._inputs,
            trigger=self._trigger,
            version=plan.digest,
            planned=plan.steps,
            previous_run_id=None if self._previous is None else self._previous.run_id,
        )
        self._watch(RunStarted(run))
        if self._hooks.listens("brain_run_started"):
            self._problems(await self._hooks.run_started(run))
        return run

    async def _attempt(self, run: Run, position: int) -> tuple[StepReply, StepStatus]:
        """Run one step; its output comes back as it will be stored, so that later steps see what the history has."""
        name = self.plan.steps[position].name
        request = StepRequest(run.id, position, 1, self._scope(run))
        self._in_step = asyncio.current_task()
        try:
            reply = await self._runner.run_step(request, lambda text: self._watch(Live(name, text)))
        except asyncio.CancelledError:
            if self._cancel_reason is None:
                if (task := asyncio.current_task()) is not None and not task.cancelling():
                    return StepReply("failed", error="CancelledError: the step cancelled itself"), "failed"
                raise
            while self._in_step is not None and self._in_step.cancelling():
                self._in_step.uncancel()
            return StepReply("failed", error=self._cancel_reason), "cancelled"
        finally:
            self._in_step = None
        return reply, reply.status

    def _scope(self, run: Run) -> Scope:
        facts = {
            "id": run.id,
            "workflow": run.workflow,
            "started_at": "" if run.started_at is None else run.started_at.isoformat(),
        }
        return Scope(self._outputs, self._inputs, facts, self._previous, self._trigger)

    def _step_row(
        self,
        run: Run,
        position: int,
        reply: StepReply,
        status: StepStatus,
        took: tuple[float, float],
        run_began: float,
    ) -> tuple[StepRun, StepEnd]:
        planned = self.plan.steps[position]
        output: str | None = None
        error, details = reply.error, dict(reply.details)
        if status == "success":
            try:
                encoded = encode(reply.output, self._max_output)
            except StepFailed as problem:
                status, error = "failed", str(problem)
            except BaseException as problem:  # noqa: BLE001 - said in the record, and never more than one entry's trouble
                # An output whose own methods raise while it is read.
                status, error = "failed", f"the output cannot be recorded: {type_name(problem)} while it was read"
            else:
                output = encoded.text
                self._outputs[planned.name] = decode(output)
                details.update(encoded.notes)
        # Errors and logs come from outside too; the codec makes them fit for text columns.
        error = None if error is None else visible(error)
        log = visible(reply.log)
        now = time.monotonic()
        step = StepRun(
            position=position,
            name=planned.name,
            type=planned.type,
            attempt=1,
            status=status,
            started_at=_at(run, took[0] - run_began),
            ended_at=_at(run, took[1] - run_began),
            output=self._outputs.get(planned.name),
            error=error,
            log=log,
            details=details,
        )
        self._steps.append(step)
        write = StepEnd(
            run_id=self.run_id,
            claim=self._claim,
            position=position,
            name=planned.name,
            type=planned.type,
            attempt=1,
            status=status,
            output=output,
            error=error,
            log=log,
            details=self._encoded_details(details),
            age_started=now - took[0],
            age_ended=now - took[1],
        )
        return step, write

    def _encoded_details(self, details: dict[str, Any]) -> str:
        if not details:
            return "{}"
        try:
            return encode(details, self._max_output).text
        except StepFailed as problem:
            # Too large: what the step did is recorded all the same.
            return encode({"details_lost": str(problem)}, self._max_output).text

    async def _end(self, run: Run, status: RunStatus, error: str | None, last: tuple[StepRun, StepEnd] | None) -> Run:
        await self._recorder.finish_run(
            RunEnd(
                run_id=self.run_id,
                claim=self._claim,
                status=status,
                error=error,
                last=None if last is None else last[1],
                receivers=self.receivers,
            )
        )
        ended_at = last[0].ended_at if last is not None else run.started_at
        run = replace(
            run,
            status=status,
            error=error,
            ended_at=ended_at,
            position=max(0, len(self._steps) - 1),
            steps=tuple(self._steps),
        )
        if last is not None:
            await self._say_step(run, last[0])
        self._watch(RunEnded(run))
        return run

    async def _say_step(self, run: Run, step: StepRun) -> None:
        self._watch(StepEnded(step))
        if self._hooks.listens("brain_step_finished"):
            self._problems(await self._hooks.step_finished(run, step))

    def _problems(self, problems: list[str]) -> None:
        for text in problems:
            event: Event = HookProblem(text)
            self._watch(event)


def _at(run: Run, seconds: float) -> datetime:
    if run.started_at is None:
        raise AssertionError("a run that runs has started")
    return run.started_at + timedelta(seconds=max(0.0, seconds))
