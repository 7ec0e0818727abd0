"""Whole runs against a real PostgreSQL: what is committed when, and what the history says afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brain_core import FunctionStep, Step, StepContext, Workflow
from brain_core.engine.events import RunEnded, RunStarted, StepEnded, StepStarted
from brain_core.errors import ClaimLost, InputError
from brain_core.run import Run, StepRun
from brain_core.store import runs, workers
from brain_core.store.database import Database
from brain_core.testing import NoHooks, Recording, run_workflow


class Calls(Step):
    call: Any

    async def run(self, ctx: StepContext) -> Any:
        answer = self.call(ctx)
        return await answer if asyncio.iscoroutine(answer) else answer


def say(value: Any) -> Any:
    return value


async def stored(db: Database, run: Run) -> Run:
    return await runs.find(db, run.id)


async def test_a_run_and_each_of_its_steps_are_rows(database_url: str, db: Database) -> None:
    workflow = Workflow(
        name="w",
        inputs={"who": "world"},
        steps=[
            FunctionStep(name="one", function=say, args=["hello {inputs.who}"]),
            FunctionStep(name="two", function=say, args=[{"was": "{one}", "n": [1, 2]}]),
            FunctionStep(name="three", function=say, args=["{two.n.1}"]),
        ],
    )
    run = await run_workflow(workflow, database_url, {"who": "ann"})
    kept = await stored(db, run)
    assert (run.status, kept.status) == ("success", "success")
    assert [step.output for step in kept.steps] == ["hello ann", {"was": "hello ann", "n": [1, 2]}, 2]
    assert [step.output for step in run.steps] == [step.output for step in kept.steps]
    assert [(step.name, step.attempt) for step in kept.steps] == [("one", 1), ("two", 1), ("three", 1)]
    assert all(step.started_at < step.ended_at for step in kept.steps if step.ended_at)
    assert run.ended_at == run.steps[-1].ended_at
    assert kept.inputs == {"who": "ann"}
    assert kept.ended_at is not None
    assert kept.started_at is not None
    assert kept.started_at <= kept.steps[0].started_at <= kept.steps[0].ended_at <= kept.ended_at


async def test_a_steps_row_is_committed_when_the_step_ends_not_with_the_run(database_url: str, db: Database) -> None:
    seen: list[list[str]] = []

    async def look(ctx: StepContext) -> None:
        now = await runs.find(db, ctx.run_id)
        seen.append([now.status, *(step.name for step in now.steps)])

    steps = [Calls(name=name, call=look) for name in ("one", "two", "three")]
    await run_workflow(Workflow(name="w", steps=steps), database_url)
    assert seen == [["running"], ["running", "one"], ["running", "one", "two"]]


async def test_the_first_failure_halts_and_the_rest_never_ran(database_url: str, db: Database) -> None:
    def fail(ctx: StepContext) -> None:
        raise ValueError("no figures")

    steps = [
        Calls(name="one", call=lambda ctx: 1),
        Calls(name="two", call=fail),
        Calls(name="three", call=lambda ctx: 3),
    ]
    run = await stored(db, await run_workflow(Workflow(name="w", steps=steps), database_url))
    assert (run.status, run.error) == ("failed", "step 'two': ValueError: no figures")
    assert [(step.name, step.status) for step in run.steps] == [("one", "success"), ("two", "failed")]
    assert [step.name for step in run.never_ran] == ["three"]


async def test_an_output_that_json_cannot_hold_fails_its_step(database_url: str, db: Database) -> None:
    steps = [Calls(name="one", call=lambda ctx: object())]
    run = await stored(db, await run_workflow(Workflow(name="w", steps=steps), database_url))
    assert run.status == "failed"
    assert run.steps[0].status == "failed"
    assert "object" in (run.error or "")


HOSTILE = ["a\0b", "\ud800", "é\u2028", float("nan"), 10**5000, "x" * 300_000, "\x1b[31m", {"\0": ["\udfff"]}]


@pytest.mark.parametrize(
    "value", HOSTILE, ids=["nul", "surrogate", "line-separator", "nan", "huge-int", "long", "escape", "nested"]
)
async def test_what_is_recorded_is_what_later_steps_see(value: Any, database_url: str, db: Database) -> None:
    seen: list[Any] = []
    steps = [
        Calls(name="one", call=lambda ctx: value),
        FunctionStep(name="two", function=seen.append, args=["{one}"]),
    ]
    run = await stored(db, await run_workflow(Workflow(name="w", steps=steps), database_url))
    assert run.status == "success"
    assert seen == [run.steps[0].output]


async def test_errors_and_logs_with_nul_are_recorded_visibly(database_url: str, db: Database) -> None:
    def fail(ctx: StepContext) -> None:
        ctx.log("log \0 here")
        raise ValueError("a \0 and a \udc80")

    run = await stored(db, await run_workflow(Workflow(name="w", steps=[Calls(name="a", call=fail)]), database_url))
    assert run.steps[0].error == "ValueError: a \\x00 and a \\udc80"
    assert run.steps[0].log.startswith("log \\x00 here")


async def test_previous_reads_the_last_successful_run_and_is_pinned(database_url: str, db: Database) -> None:
    def flow(figure: int, fail: bool = False) -> Workflow:
        return Workflow(
            name="figures",
            steps=[
                FunctionStep(name="figure", function=say, args=[figure]),
                FunctionStep(name="report", function=say, args=["{previous.figure|none} -> {figure}"]),
                FunctionStep(name="end", function=lambda: 1 / 0 if fail else None),
            ],
        )

    first = await run_workflow(flow(1), database_url)
    await run_workflow(flow(2, fail=True), database_url)
    third = await stored(db, await run_workflow(flow(3), database_url))
    assert first.steps[1].output == "none -> 1"
    assert third.steps[1].output == "1 -> 3"
    assert third.previous_run_id == first.id


async def test_a_previous_run_without_that_step_is_said_apart(database_url: str) -> None:
    old = Workflow(name="grown", steps=[FunctionStep(name="a", function=say, args=["x"])])
    new = Workflow(
        name="grown",
        steps=[
            FunctionStep(name="a", function=say, args=["x"]),
            FunctionStep(name="b", function=say, args=["{previous.b}"]),
        ],
    )
    first = await run_workflow(old, database_url)
    second = await run_workflow(new, database_url)
    assert second.error == (
        f"step 'b': {{previous.b}}: the last successful run ({first.short_id}) has no step 'b'; it has: a"
    )


async def test_a_refused_input_writes_nothing(database_url: str, db: Database) -> None:
    workflow = Workflow(name="w", inputs={"n": int}, steps=[FunctionStep(name="a", function=say, args=[1])])
    with pytest.raises(InputError):
        await run_workflow(workflow, database_url)
    assert await runs.history(db) == []


async def test_events_come_after_their_commits_in_order(database_url: str) -> None:
    watch = Recording()
    steps = [Calls(name="one", call=lambda ctx: 1), Calls(name="two", call=lambda ctx: 2)]
    await run_workflow(Workflow(name="w", steps=steps), database_url, watch=watch)
    kinds = [type(event) for event in watch.events]
    assert kinds == [RunStarted, StepStarted, StepEnded, StepStarted, StepEnded, RunEnded]


async def test_hooks_hear_of_what_is_committed(database_url: str, db: Database) -> None:
    class Looks(NoHooks):
        def listens(self, hook: str) -> bool:
            return True

        async def run_started(self, run: Run) -> list[str]:
            seen.append((await stored(db, run)).status)
            return []

        async def step_finished(self, run: Run, step: StepRun) -> list[str]:
            kept = await stored(db, run)
            seen.append((kept.status, [each.name for each in kept.steps]))
            return []

    seen: list[Any] = []
    steps = [Calls(name="one", call=lambda ctx: 1), Calls(name="two", call=lambda ctx: 2)]
    await run_workflow(Workflow(name="w", steps=steps), database_url, hooks=Looks())
    assert seen == ["running", ("running", ["one"]), ("success", ["one", "two"])]


async def test_a_worker_that_lost_its_run_can_write_nothing_about_it(database_url: str, db: Database) -> None:
    async def lose(ctx: StepContext) -> None:
        candidates = await workers.candidates(db)
        await workers.settle(db, [worker.id for worker in candidates], "it was given up", [])

    steps = [Calls(name="one", call=lose), Calls(name="two", call=lambda ctx: 2)]
    with pytest.raises(ClaimLost):
        await run_workflow(Workflow(name="w", steps=steps), database_url)
    (run,) = await runs.history(db, runs.RunFilter(workflow="w"))
    kept = await runs.find(db, run.id)
    assert kept.status == "failed"
    assert [(step.name, step.status) for step in kept.steps] == [("one", "interrupted")]


class EvilDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("not today")


async def test_an_output_whose_own_methods_raise_fails_its_step(database_url: str, db: Database) -> None:
    steps = [Calls(name="one", call=lambda ctx: EvilDict(a=1))]
    run = await stored(db, await run_workflow(Workflow(name="w", steps=steps), database_url))
    assert run.status == "failed"
    assert run.steps[0].status == "failed"


class Ends:
    def __str__(self) -> str:
        raise SystemExit(3)


class EndingDict(dict[str, Any]):
    def items(self) -> Any:
        raise SystemExit(3)


class NamelessType(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=NamelessType):
    pass


def give_ending_details(ctx: StepContext) -> str:
    ctx.details["ends"] = Ends()
    return "done"


def raise_nameless(ctx: StepContext) -> None:
    raise Nameless("text")


@pytest.mark.parametrize(
    ("call", "status", "error"),
    [
        (give_ending_details, "success", None),
        (lambda ctx: EndingDict(a=1), "failed", "the output cannot be recorded: SystemExit while it was read"),
        (raise_nameless, "failed", "Nameless: text"),
    ],
)
async def test_what_ends_a_program_or_has_no_name_is_still_one_steps_trouble(
    call: Any, status: str, error: str | None, database_url: str, db: Database
) -> None:
    run = await run_workflow(Workflow(name="w", steps=[Calls(name="one", call=call)]), database_url)
    (step,) = (await stored(db, run)).steps
    assert (run.status, step.status) == (status, status)
    assert (step.error or "").startswith(error or "")


async def test_details_over_the_limit_do_not_lose_the_work(database_url: str, db: Database) -> None:
    def call(ctx: StepContext) -> str:
        ctx.details["many"] = ["x" * 1_000_000] * 20
        return "done"

    def few(ctx: StepContext) -> str:
        ctx.details["few"] = [1, "two"]
        return "done"

    steps = [Calls(name="one", call=call), Calls(name="two", call=few)]
    run = await stored(db, await run_workflow(Workflow(name="w", steps=steps), database_url))
    assert (run.status, run.steps[0].output) == ("success", "done")
    assert list(run.steps[0].details) == ["details_lost"]
    assert run.steps[1].details == {"few": [1, "two"]}


async def test_a_take_over_waits_for_a_write_that_is_on_its_way(database_url: str, db: Database) -> None:
    async def lose(ctx: StepContext) -> None:
        candidates = await workers.candidates(db)
        async with db.transaction() as holder:
            # What a dead client's server process does while it still commits: it holds the run's row.
            await holder.script(f"SELECT FROM brain.runs WHERE id = '{ctx.run_id}' FOR UPDATE")
            taking = asyncio.ensure_future(workers.settle(db, [each.id for each in candidates], "given up", []))
            await asyncio.wait({taking}, timeout=0.2)
            assert not taking.done()
        assert [str(run.run_id) for run in await taking] == [ctx.run_id]

    with pytest.raises(ClaimLost):
        await run_workflow(Workflow(name="w", steps=[Calls(name="one", call=lose)]), database_url)
