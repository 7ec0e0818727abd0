"""Carries one run from its start to its end: three kinds of commit, and nothing open in between.

Starting the run is one commit; a step's result and the start of the next is one; the last step's result and the end of
the run, with its deliveries, is one. Every write carries the claim number, so that a worker that lost its run writes
nothing (G12). The run ends in a final row whatever its steps do, a cancellation included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from brain_core.engine.beginning import Beginning
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
from brain_core.engine.runner import Ask, Plan, Runner, StepReply, StepRequest
from brain_core.errors import RunnerDied, RunnerSilenced
from brain_core.run import WORKFLOW_RECEIVER, Run, RunStatus, StepRun, StepStatus
from brain_core.store.codec import decode, visible
from brain_core.store.recorder import Recorder, RunEnd, StepEnd


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
        *,
        run_id: UUID,
        runner: Runner,
        recorder: Recorder,
        hooks: RunHooks,
        watch: Watch,
        ask: Ask | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self._runner = runner
        self.recorder = recorder
        self._hooks = hooks
        self._watch = watch
        self._ask = ask
        self._begun: Beginning | None = None
        self._began = 0.0
        self._outputs: dict[str, str] = {}
        self._steps: list[StepRun] = []
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

    async def run(self, begin: Awaitable[Beginning]) -> Run:
        """Run all steps and return the finished run. ClaimLost or DatabaseError when its end could not be written.

        `begin` records the start of the run, or takes up one that was claimed; what it raises comes out.
        """
        self._begun = begun = await begin
        self._began = time.monotonic()
        self._outputs.update(begun.outputs)
        self._steps += begun.steps
        run = begun.run
        self._watch(RunStarted(run))
        if self._hooks.listens("brain_run_started"):
            self._problems(await self._hooks.run_started(run))
        last = len(self.plan.steps) - 1
        for position, planned in enumerate(self.plan.steps[begun.position :], begun.position):
            if self._cancel_reason is not None:
                return await self._end(run, "cancelled", self._cancel_reason, None)
            self._watch(StepStarted(position, planned.name, planned.type))
            began = time.monotonic()
            reply, status = await self._attempt(run, position)
            took = (began, time.monotonic())
            step, write = self._step_row(begun, position, reply, status, took)
            if step.status == "cancelled":
                return await self._end(run, "cancelled", self._cancel_reason, (step, write))
            if step.status != "success":
                return await self._end(run, "failed", f"step '{planned.name}': {step.error}", (step, write))
            if position == last:
                return await self._end(run, "success", None, (step, write))
            await self.recorder.finish_step(write)
            await self._say_step(run, step)
        raise AssertionError("a run that is taken up has a step to run")

    @property
    def has_begun(self) -> bool:
        return self._begun is not None

    @property
    def begun(self) -> Beginning:
        if self._begun is None:
            raise AssertionError("the run has not begun")
        return self._begun

    async def _attempt(self, run: Run, position: int) -> tuple[StepReply, StepStatus]:
        """Run one step; its output comes back as it will be stored, so that later steps see what the history has."""
        name = self.plan.steps[position].name
        request = self._request(run, position)
        self._in_step = asyncio.current_task()
        try:
            reply = await self._runner.run_step(request, lambda text: self._watch(Live(name, text)), self._ask)
        except asyncio.CancelledError:
            if self._cancel_reason is None:
                if (task := asyncio.current_task()) is not None and not task.cancelling():
                    return StepReply("failed", error="CancelledError: the step cancelled itself"), "failed"
                raise
            while self._in_step is not None and self._in_step.cancelling():
                self._in_step.uncancel()
            return StepReply("failed", error=self._cancel_reason), "cancelled"
        except RunnerSilenced:
            # Not the step's doing: it is interrupted, and the workflow says what becomes of the run (G10).
            raise
        except RunnerDied as problem:
            return StepReply("failed", error=str(problem)), "failed"
        finally:
            self._in_step = None
        return reply, reply.status

    def _request(self, run: Run, position: int) -> StepRequest:
        """Return what the step needs to run; of other values only those that it reads, for they may be large."""
        reads = self.plan.reads[position]
        facts = {
            "id": run.id,
            "workflow": run.workflow,
            "started_at": "" if run.started_at is None else run.started_at.isoformat(),
        }
        return StepRequest(
            run.id,
            position,
            self.begun.attempts.get(position, 0) + 1,
            outputs={name: self._outputs[name] for name in reads if name in self._outputs},
            inputs=run.inputs if "inputs" in reads else {},
            facts=facts,
            previous=self.begun.previous if "previous" in reads else None,
            trigger=run.trigger if "trigger" in reads else None,
        )

    def _step_row(
        self,
        begun: Beginning,
        position: int,
        reply: StepReply,
        status: StepStatus,
        took: tuple[float, float],
    ) -> tuple[StepRun, StepEnd]:
        planned = self.plan.steps[position]
        attempt = begun.attempts.get(position, 0) + 1
        output = reply.output
        if output is not None:
            self._outputs[planned.name] = output
        # Errors and logs come from outside too; the codec makes them fit for text columns.
        error = None if reply.error is None else visible(reply.error)
        log = visible(reply.log)
        now = time.monotonic()
        step = StepRun(
            position=position,
            name=planned.name,
            type=planned.type,
            attempt=attempt,
            status=status,
            started_at=begun.at + timedelta(seconds=took[0] - self._began),
            ended_at=begun.at + timedelta(seconds=took[1] - self._began),
            output=None if output is None else decode(output),
            error=error,
            log=log,
            details={} if reply.details == "{}" else decode(reply.details),
        )
        self._steps.append(step)
        write = StepEnd(
            run_id=self.run_id,
            claim=begun.claim,
            position=position,
            name=planned.name,
            type=planned.type,
            attempt=attempt,
            status=status,
            output=output,
            error=error,
            log=log,
            details=reply.details,
            age_started=now - took[0],
            age_ended=now - took[1],
        )
        return step, write

    async def _end(self, run: Run, status: RunStatus, error: str | None, last: tuple[StepRun, StepEnd] | None) -> Run:
        await self.recorder.finish_run(
            RunEnd(
                run_id=self.run_id,
                claim=self.begun.claim,
                status=status,
                error=error,
                last=None if last is None else last[1],
                receivers=self.receivers,
            )
        )
        ended_at = last[0].ended_at if last is not None else self.begun.at
        run = replace(
            run,
            status=status,
            error=error,
            ended_at=ended_at,
            position=self._steps[-1].position if self._steps else 0,
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
