"""Runs the steps of a workflow in this event loop; plain (not async) ones in threads."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID, uuid5

from brain_core.context import StepContext
from brain_core.engine.runner import Plan, StepReply, StepRequest
from brain_core.errors import BrainError, PluginError, StepFailed
from brain_core.inputs import accept_inputs
from brain_core.loader import LoadedWorkflow, load_workflow
from brain_core.placeholders import Json
from brain_core.run import PlannedStep, Run
from brain_core.threads import in_thread, type_name, what_raised
from brain_core.workflow import Step

CANCEL_GRACE = 10.0
"""Seconds that a cancelled async step gets for cleaning up before it is left behind."""

MAX_ERROR_CHARS = 8_192
_CORE = Path(__file__).parent.parent


class LocalRunner:
    """A Runner in the event loop that calls it. `check` may refuse a step (a quarantined plugin's, say)."""

    def __init__(
        self,
        *,
        check: Callable[[Step], str | None] | None = None,
        settings: dict[type, Any] | None = None,
    ) -> None:
        self._check = check
        self._settings = settings or {}
        self._loaded: LoadedWorkflow | None = None

    @property
    def loaded(self) -> LoadedWorkflow:
        if self._loaded is None:
            raise RuntimeError("no workflow is loaded")
        return self._loaded

    async def load(self, file: str | Path) -> Plan:
        return self.hold(load_workflow(file, check=self._check))

    def hold(self, loaded: LoadedWorkflow) -> Plan:
        """Take a workflow that is loaded already."""
        self._loaded = loaded
        workflow = loaded.workflow
        return Plan(
            workflow=workflow.name,
            file=str(loaded.path),
            digest=loaded.digest,
            sources=loaded.sources,
            steps=tuple(PlannedStep(step.name, step.type_label()) for step in workflow.steps),
            description=workflow.description,
            reads_previous=any(
                placeholder.root == "previous" for step in workflow.steps for _, placeholder in step.placeholders()
            ),
            has_on_finished=workflow.on_finished is not None,
            inputs={
                name: {
                    "type": spec.type_text,
                    "required": spec.required,
                    "default": None if spec.required else spec.default,
                }
                for name, spec in workflow.input_specs.items()
            },
        )

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        return accept_inputs(self.loaded.workflow.input_specs, given, typed=typed)

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None]) -> StepReply:
        loaded = self.loaded
        step = loaded.workflow.steps[request.position]
        ctx = StepContext(
            run_id=request.run_id,
            workflow=loaded.workflow.name,
            step=step.name,
            attempt=request.attempt,
            idempotency_key=str(uuid5(UUID(request.run_id), step.name)),
            folder=loaded.path.parent,
            settings=self._settings,
            on_live=on_live,
        )
        try:
            output = await _run(step.resolved(request.scope), ctx)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return _failed(ctx, "CancelledError: the step cancelled itself")
        except TimeoutError as error:
            return _failed(ctx, str(error) if isinstance(error, StepTimeLimit) else _describe(error, ctx, loaded))
        except BaseException as error:  # noqa: BLE001 - whatever a step raises, sys.exit included, is its failure
            return _failed(ctx, _describe(error, ctx, loaded))
        return StepReply("success", output, None, ctx.logged, _details(ctx))

    async def call_on_finished(self, run: Run) -> None:
        hook = self.loaded.workflow.on_finished
        if hook is None:
            return
        try:
            # In a thread, a hook that raises KeyboardInterrupt or SystemExit does not end the loop.
            answer = hook(run) if inspect.iscoroutinefunction(hook) else await in_thread(lambda: hook(run))
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise PluginError("on_finished raised CancelledError") from None
        except BaseException as error:  # SystemExit and the like would end the loop
            raise PluginError(f"on_finished raised {what_raised(error)}") from error

    async def close(self) -> None:
        self._loaded = None


class StepTimeLimit(TimeoutError):
    """The step's own time limit was reached (a TimeoutError that a step raises is something else)."""


class EndedByItself(StepFailed):
    """A step raised what ends a program (`sys.exit`, KeyboardInterrupt); it has failed, and the program goes on."""


async def _run(step: Step, ctx: StepContext) -> Any:
    if step.timeout is None:
        return await _call(step, ctx)
    task = asyncio.ensure_future(_call(step, ctx))
    try:
        done, _ = await asyncio.wait({task}, timeout=step.timeout)
        if done:
            return task.result()
        raise StepTimeLimit(f"the time limit of {step.timeout:g} s was reached")
    finally:
        if not task.done():
            task.cancel()
            # Bounded: a step that swallows its cancellation must not hold up the end of the run.
            try:
                await asyncio.wait({task}, timeout=CANCEL_GRACE)
            except asyncio.CancelledError:
                # Asked again: so is the step, which then gives its children no more grace.
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_GRACE)
                raise
            finally:
                if task.done() and not task.cancelled():
                    task.exception()


async def _call(step: Step, ctx: StepContext) -> Any:
    try:
        if _is_async(type(step)) or getattr(step, "is_async", False):
            answer = step.run(ctx)
        else:
            answer = await in_thread(lambda: step.run(ctx))
        return await answer if inspect.isawaitable(answer) else answer
    except (KeyboardInterrupt, SystemExit) as error:
        # A task that ends with one of these takes its event loop with it.
        raise EndedByItself(_named(error)) from error


@lru_cache(maxsize=256)
def _is_async(step_type: type[Step]) -> bool:
    return inspect.iscoroutinefunction(step_type.run)


def _failed(ctx: StepContext, error: str) -> StepReply:
    return StepReply("failed", None, error, ctx.logged, _details(ctx))


def _details(ctx: StepContext) -> dict[str, Any]:
    """Return the step's details as far as JSON can hold them; a step's work is not lost over a bad detail."""
    if not ctx.details:
        return {}
    try:
        kept: dict[str, Any] = json.loads(json.dumps(ctx.details, default=str, skipkeys=True))
    except BaseException as error:  # noqa: BLE001 - a stranger's objects
        return {"details_lost": _text_of(error)}
    return kept


def _named(error: BaseException) -> str:
    message = _text_of(error)
    return f"{type_name(error)}: {message}" if message else type_name(error)


def _text_of(error: BaseException) -> str:
    """Return an exception's text; one that cannot say it is named by its type."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a stranger's __str__
        return f"(the text of this {type_name(error)} cannot be read)"


def _describe(error: BaseException, ctx: StepContext, loaded: LoadedWorkflow) -> str:
    message, place = _text_of(error), ""
    if not isinstance(error, BrainError):
        try:
            frames = "".join(traceback.format_exception(type(error), error, _without_ours(error))[-20:])
        except Exception:  # noqa: BLE001 - a stranger's __str__
            frames = ""
        ctx.log(("\n" if ctx.logged and not ctx.logged.endswith("\n") else "") + frames)
        message = _named(error)
        place = _place_of(error, loaded)
    elif not isinstance(error, StepFailed) and not message:
        message = type_name(error)
    return (message if len(message) <= MAX_ERROR_CHARS else message[:MAX_ERROR_CHARS] + " …") + place


def _without_ours(error: BaseException) -> TracebackType | None:
    """Return the traceback from where it leaves brain-core: how the step was called is of no use to its author."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None and Path(at.tb_frame.f_code.co_filename).is_relative_to(_CORE):
        at = at.tb_next
    return at


def _place_of(error: BaseException, loaded: LoadedWorkflow) -> str:
    """Return ` (backup.py:12)`, the innermost line of the workflow file or a module beside it on its way."""
    place, folder = "", loaded.path.parent
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(folder) and (name := file.relative_to(folder).as_posix()) in loaded.sources:
            place = f" ({name}:{line})"
    return place
