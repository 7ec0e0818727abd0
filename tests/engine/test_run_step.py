"""One step, no database: what becomes of what it returns, raises and says."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from brain_core import FunctionStep, Step, StepContext, StepFailed, Template, Workflow
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import StepRequest
from brain_core.loader import LoadedWorkflow
from brain_core.testing import run_step


class Shout(Step):
    text: Template

    async def run(self, ctx: StepContext) -> str:
        return str(self.text).upper()


class Calls(Step):
    """Calls whatever it is given, plainly (so in a thread)."""

    call: Any

    def run(self, ctx: StepContext) -> Any:
        return self.call(ctx)


class Awaits(Step):
    call: Any

    async def run(self, ctx: StepContext) -> Any:
        return await self.call(ctx)


async def test_a_plain_step_sees_the_context_of_its_caller() -> None:
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    where.set("here")
    assert (await run_step(Calls(name="looks", call=lambda ctx: where.get()))).output == "here"


async def test_all_attempts_of_a_step_have_one_idempotency_key_and_no_other_step_has_it() -> None:
    runner = LocalRunner()
    steps = tuple(Calls(name=name, call=lambda ctx: [ctx.idempotency_key, ctx.attempt]) for name in ("one", "two"))
    workflow = Workflow(name="w", steps=steps)
    runner.hold(LoadedWorkflow(workflow, Path("/w.py"), {}, ""))
    seen = []
    for run_id, position, attempt in ((1, 0, 1), (1, 0, 2), (1, 1, 1), (2, 0, 1)):
        request = StepRequest(str(UUID(int=run_id)), position, attempt)
        seen.append(json.loads((await runner.run_step(request, lambda text: None)).output or ""))
    assert [attempt for _, attempt in seen] == [1, 2, 1, 1]
    keys = [key for key, _ in seen]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


async def test_a_step_that_reaches_its_time_limit_may_clean_up() -> None:
    async def call(ctx: StepContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)
            ctx.log("cleaned up")

    reply = await run_step(Awaits(name="slow", call=call, timeout=0.05))
    assert (reply.status, reply.error, reply.log) == ("failed", "the time limit of 0.05 s was reached", "cleaned up")


async def test_placeholders_are_filled_in_before_run() -> None:
    reply = await run_step(Shout(name="hey", text="hello {inputs.who}"), inputs={"who": "world"})
    assert (reply.status, reply.output) == ("success", "HELLO WORLD")


async def test_a_missing_value_fails_the_step_and_says_what_is_missing() -> None:
    reply = await run_step(Shout(name="hey", text="{previous.hey}"))
    assert reply.status == "failed"
    assert reply.error == (
        "{previous.hey}: this workflow has no earlier successful run; "
        "a default for the first time is written {previous.hey|text}"
    )


async def test_step_failed_shows_its_message_alone() -> None:
    def call(ctx: StepContext) -> None:
        raise StepFailed("the disk is full")

    reply = await run_step(Calls(name="a", call=call))
    assert (reply.status, reply.error, reply.log) == ("failed", "the disk is full", "")


async def test_any_other_exception_shows_its_type_and_keeps_its_traceback_in_the_log() -> None:
    def call(ctx: StepContext) -> None:
        ctx.log("before")
        raise ValueError("bad figure 7")

    reply = await run_step(Calls(name="a", call=call))
    assert reply.error == "ValueError: bad figure 7"
    assert reply.log.startswith("before\nTraceback")
    assert 'raise ValueError("bad figure 7")' in reply.log


@pytest.mark.parametrize("kind", [Calls, Awaits])
async def test_sys_exit_in_a_step_is_that_steps_failure(kind: type[Calls] | type[Awaits]) -> None:
    def plain(ctx: StepContext) -> None:
        sys.exit(3)

    async def awaited(ctx: StepContext) -> None:
        sys.exit(3)

    reply = await run_step(kind(name="a", call=plain if kind is Calls else awaited))
    assert (reply.status, reply.error) == ("failed", "SystemExit: 3")


async def test_a_step_that_cancels_itself_has_failed() -> None:
    async def call(ctx: StepContext) -> None:
        raise asyncio.CancelledError

    reply = await run_step(Awaits(name="a", call=call))
    assert (reply.status, reply.error) == ("failed", "CancelledError: the step cancelled itself")


async def test_stop_iteration_from_a_plain_step_is_a_failure() -> None:
    reply = await run_step(Calls(name="a", call=lambda ctx: next(iter(()))))
    assert reply.status == "failed"
    assert "StopIteration" in (reply.error or "")


async def test_a_plain_step_runs_in_a_thread_and_an_async_one_in_the_loop() -> None:
    async def where(ctx: StepContext) -> int:
        return threading.get_ident()

    plain = await run_step(Calls(name="a", call=lambda ctx: threading.get_ident()))
    awaited = await run_step(Awaits(name="a", call=where))
    assert plain.output != threading.get_ident()
    assert awaited.output == threading.get_ident()


async def test_an_async_step_is_cancelled_at_its_time_limit() -> None:
    cleaned = asyncio.Event()

    async def call(ctx: StepContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    reply = await run_step(Awaits(name="a", call=call, timeout=0.05))
    assert (reply.status, reply.error) == ("failed", "the time limit of 0.05 s was reached")
    assert cleaned.is_set()


async def test_a_plain_step_fails_at_its_time_limit_though_its_thread_goes_on() -> None:
    release = threading.Event()
    reply = await run_step(Calls(name="a", call=lambda ctx: release.wait(30), timeout=0.05))
    release.set()
    assert reply.error == "the time limit of 0.05 s was reached"


async def test_a_timeout_error_of_the_steps_own_is_not_taken_for_the_limit() -> None:
    def call(ctx: StepContext) -> None:
        raise TimeoutError("the server was slow")

    reply = await run_step(Calls(name="a", call=call, timeout=30))
    assert reply.error == "TimeoutError: the server was slow"


async def test_details_that_json_cannot_hold_do_not_lose_the_work() -> None:
    def call(ctx: StepContext) -> str:
        ctx.details["path"] = object
        ctx.details["code"] = 3
        return "done"

    reply = await run_step(Calls(name="a", call=call))
    assert reply.output == "done"
    assert reply.details == {"path": str(object), "code": 3}


async def test_the_log_keeps_its_beginning_and_its_end() -> None:
    def call(ctx: StepContext) -> None:
        ctx.log("first ")
        for _ in range(100):
            ctx.log("x" * 10_000)
        ctx.log(" last")

    reply = await run_step(Calls(name="a", call=call))
    assert reply.log.startswith("first xxx")
    assert reply.log.endswith("xxx last")
    assert "characters left out" in reply.log
    assert len(reply.log) < 300_000


async def test_a_function_step_calls_by_name_and_keeps_json_types() -> None:
    def total(figures: list[int], extra: int) -> int:
        return sum(figures) + extra

    step = FunctionStep(name="total", function=total, args={"figures": "{fetch}", "extra": 4})
    reply = await run_step(step, steps={"fetch": [1, 2, 3]})
    assert reply.output == 10


async def test_a_function_step_calls_by_position_and_awaits() -> None:
    async def join(a: str, b: str) -> str:
        return a + b

    reply = await run_step(FunctionStep(name="j", function=join, args=["{x}", "!"]), steps={"x": "hey"})
    assert reply.output == "hey!"


async def test_the_idempotency_key_is_the_same_for_each_attempt_of_a_step() -> None:
    def call(ctx: StepContext) -> str:
        return ctx.idempotency_key

    first = await run_step(Calls(name="a", call=call))
    again = await run_step(Calls(name="a", call=call))
    other = await run_step(Calls(name="b", call=call))
    assert first.output == again.output != other.output


class Evil(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, Evil, BaseException])
@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize("kind", [Calls, Awaits])
async def test_nothing_that_a_step_raises_gets_out_of_it(kind: Any, limit: float | None, error: Any) -> None:
    def plain(ctx: StepContext) -> None:
        raise error

    async def awaited(ctx: StepContext) -> None:
        raise error

    reply = await run_step(kind(name="a", call=plain if kind is Calls else awaited, timeout=limit))
    assert reply.status == "failed"
    assert error.__name__ in (reply.error or "")


async def test_a_circle_in_the_details_does_not_lose_the_work() -> None:
    def call(ctx: StepContext) -> str:
        ctx.details["me"] = ctx.details
        return "done"

    reply = await run_step(Calls(name="a", call=call))
    assert reply.output == "done"
    assert "details_lost" in reply.details
