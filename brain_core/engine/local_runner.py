"""Runs the steps of a workflow in this event loop; plain (not async) ones in threads."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from brain_core.context import StepContext
from brain_core.engine.runner import MAX_OUTPUT, Ask, Plan, StepReply, StepRequest
from brain_core.errors import BrainError, PluginError, StepFailed
from brain_core.inputs import accept_inputs
from brain_core.loader import LoadedWorkflow, load_workflow
from brain_core.placeholders import Json, Scope
from brain_core.run import PlannedStep, Run
from brain_core.store.codec import decode, encode
from brain_core.tables import Query
from brain_core.threads import call_in, in_thread, type_name, what_raised
from brain_core.workflow import Step

CANCEL_GRACE = 10.0
"""Seconds that a cancelled async step gets for cleaning up before it is left behind."""

MAX_ERROR_CHARS = 8_192
_CORE = Path(__file__).parent.parent

ON_FINISHED = -1
"""Stands for the workflow's `on_finished` where a position of a step is asked for."""


class LocalRunner:
    """A Runner in the event loop that calls it. `check` may refuse a step (a quarantined plugin's, say), and `bar` is
    told of plugins (name and reason) that another process has found unusable.

    `max_output` is the largest output that is kept, in bytes of JSON.
    """

    def __init__(
        self,
        *,
        check: Callable[[Step], str | None] | None = None,
        bar: Callable[[str, str], None] | None = None,
        settings: dict[type, Any] | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> None:
        self._check = check
        self._bar = bar
        self._settings = settings or {}
        self._max_output = max_output
        self._left: set[tuple[tuple[str, int], object]] = set()
        self._loaded: LoadedWorkflow | None = None

    @property
    def loaded(self) -> LoadedWorkflow:
        if self._loaded is None:
            raise RuntimeError("no workflow is loaded")
        return self._loaded

    def left_behind(self, run_id: str, position: int) -> bool:
        """Whether a step still runs though its cancellation or time limit has ended it; `ON_FINISHED` is a position."""
        return any(place == (run_id, position) for place, _ in self._left)

    def bar(self, plugins: Mapping[str, str]) -> None:
        """Refuse what these plugins bring, for the reason given with each."""
        for name, reason in plugins.items():
            if self._bar is not None:
                self._bar(name, reason)

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
            reads=tuple(frozenset(found.root for _, found in step.placeholders()) for step in workflow.steps),
            has_on_finished=workflow.on_finished is not None,
            on_interrupt=workflow.on_interrupt,
            schedule=None
            if (trigger := workflow.schedule) is None
            else (trigger.type_name, trigger.model_dump(mode="json")),
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

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        loaded = self.loaded
        step = loaded.workflow.steps[request.position]
        ctx = StepContext(
            run_id=request.run_id,
            workflow=loaded.workflow.name,
            step=step.name,
            attempt=request.attempt,
            folder=loaded.path.parent,
            settings=self._settings,
            on_live=on_live,
            query=None if ask is None else _query(ask),
        )
        calls = _Calls(self._left, (request.run_id, request.position))
        try:
            output = await _run(step.resolved(_scope(request)), ctx, calls)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return self._failed(ctx, "CancelledError: the step cancelled itself")
        except TimeoutError as error:
            return self._failed(ctx, str(error) if isinstance(error, StepTimeLimit) else _describe(error, ctx, loaded))
        except BaseException as error:  # noqa: BLE001 - whatever a step raises, sys.exit included, is its failure
            return self._failed(ctx, _describe(error, ctx, loaded))
        return self._succeeded(ctx, output)

    def _succeeded(self, ctx: StepContext, output: Any) -> StepReply:
        try:
            encoded = encode(output, self._max_output)
        except StepFailed as problem:
            return self._failed(ctx, str(problem))
        except BaseException as problem:  # noqa: BLE001 - an output whose own methods raise while it is read
            return self._failed(ctx, f"the output cannot be recorded: {type_name(problem)} while it was read")
        return StepReply("success", encoded.text, None, ctx.logged, self._details(ctx, encoded.notes))

    def _failed(self, ctx: StepContext, error: str) -> StepReply:
        return StepReply("failed", None, error, ctx.logged, self._details(ctx, {}))

    def _details(self, ctx: StepContext, notes: Mapping[str, int]) -> str:
        """Return the step's details as far as JSON can hold them; a step's work is not lost over a bad detail."""
        if not ctx.details and not notes:
            return "{}"
        try:
            kept: dict[str, Any] = json.loads(json.dumps(ctx.details, default=str, skipkeys=True))
            return encode({**kept, **notes}, self._max_output).text
        except BaseException as error:  # noqa: BLE001 - a stranger's objects; or too large
            return encode({"details_lost": _text_of(error)[:MAX_ERROR_CHARS], **notes}, MAX_OUTPUT).text

    async def call_on_finished(self, run: Run) -> None:
        hook = self.loaded.workflow.on_finished
        if hook is None:
            return
        try:
            # In a thread, a hook that raises KeyboardInterrupt or SystemExit does not end the loop.
            calls = _Calls(self._left, (run.id, ON_FINISHED))
            answer = hook(run) if inspect.iscoroutinefunction(hook) else await calls.in_thread(lambda: hook(run))
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


def _query(ask: Ask) -> Query:
    from brain_core.engine.queries import query_by  # late: few runs have plugins with tables

    return call_in(asyncio.get_running_loop(), query_by(ask))


class StepTimeLimit(TimeoutError):
    """The step's own time limit was reached (a TimeoutError that a step raises is something else)."""


class EndedByItself(StepFailed):
    """A step raised what ends a program (`sys.exit`, KeyboardInterrupt); it has failed, and the program goes on."""


class _Calls:
    """The calls of one step; those that go on though nobody waits for them any more are in `left`."""

    def __init__(self, left: set[tuple[tuple[str, int], object]], place: tuple[str, int]) -> None:
        self._left = left
        self._place = place

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        mark = (self._place, object())
        ended = threading.Event()

        def work() -> Any:
            try:
                return call()
            finally:
                ended.set()
                self._left.discard(mark)

        try:
            return await in_thread(work)
        finally:
            if not ended.is_set():
                self._left.add(mark)
                if ended.is_set():
                    self._left.discard(mark)

    def leave(self, task: asyncio.Task[Any]) -> None:
        mark = (self._place, task)
        self._left.add(mark)
        task.add_done_callback(lambda _: self._left.discard(mark))


def _scope(request: StepRequest) -> Scope:
    outputs = {name: decode(text) for name, text in request.outputs.items()}
    return Scope(outputs, request.inputs, request.facts, request.previous, request.trigger)


async def _run(step: Step, ctx: StepContext, calls: _Calls) -> Any:
    if step.timeout is None:
        return await _call(step, ctx, calls)
    task = asyncio.ensure_future(_call(step, ctx, calls))
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
                if not task.done():
                    calls.leave(task)
                elif not task.cancelled():
                    task.exception()


async def _call(step: Step, ctx: StepContext, calls: _Calls) -> Any:
    try:
        if _is_async(type(step)) or getattr(step, "is_async", False):
            answer = step.run(ctx)
        else:
            answer = await calls.in_thread(lambda: step.run(ctx))
        return await answer if inspect.isawaitable(answer) else answer
    except (KeyboardInterrupt, SystemExit) as error:
        # A task that ends with one of these takes its event loop with it.
        raise EndedByItself(_named(error)) from error


@lru_cache(maxsize=256)
def _is_async(step_type: type[Step]) -> bool:
    return inspect.iscoroutinefunction(step_type.run)


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
