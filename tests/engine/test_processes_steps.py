"""Steps in a runner process: values, live output, cancellation and time limits."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime

import pytest

from brain_core.engine.processes.messages import from_run, to_run
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Preparation, Spawner
from brain_core.engine.runner import StepRequest
from brain_core.errors import InputError, PluginError
from brain_core.placeholders import Previous
from brain_core.run import PlannedStep, Run, StepRun

RUN = "00000000-0000-0000-0000-000000000000"


def step(position: int = 0, **more) -> StepRequest:
    return StepRequest(RUN, position, 1, **more)


def nothing(text: str) -> None:
    pass


async def test_the_plan_and_the_values_that_a_step_reads_cross_the_link(pool, tmp_path):
    file = tmp_path / "flow.py"
    (tmp_path / "beside.py").write_text("def join(*parts):\n    return list(parts)\n")
    file.write_text(
        "from beside import join\nfrom brain_core import FunctionStep, Workflow\n"
        "args = ['{one}', '{inputs.n}', '{previous.one}', '{trigger.body}', '{run.id}', '{previous.two|none}']\n"
        "workflow = Workflow(name='flow', description='d', inputs={'n': 1}, on_finished=print, steps=[\n"
        "  FunctionStep(name='one', function=join), FunctionStep(name='two', function=join, args=args)])\n"
    )
    runner = await pool.runner_for(file)
    plan = runner.plan
    assert (plan.workflow, plan.file, plan.description) == ("flow", str(file), "d")
    assert plan.steps == (PlannedStep("one", "function"), PlannedStep("two", "function"))
    assert plan.reads == (frozenset(), frozenset({"one", "inputs", "previous", "trigger", "run"}))
    assert plan.reads_previous
    assert plan.has_on_finished
    assert set(plan.sources) == {"flow.py", "beside.py"}
    assert plan.inputs == {"n": {"type": "int", "required": False, "default": 1}}
    reply = await runner.run_step(
        step(
            1,
            outputs={"one": '{"a":[1]}'},
            inputs={"n": 10**3_999},
            facts={"id": RUN},
            previous=Previous(RUN, {"one": "ä"}),
            trigger={"body": None},
        ),
        nothing,
    )
    assert json.loads(reply.output or "") == [{"a": [1]}, 10**3_999, "ä", None, RUN, "none"]


async def test_large_values_go_both_ways_and_too_large_ones_fail_the_step(flow):
    body = """
    class Big(Step):
        def run(self, ctx):
            return '"' * 2_000_000

    class TooBig(Step):
        def run(self, ctx):
            return ["x" * 3_000_000]
    """
    spawner = Spawner(Preparation(arguments={"max_output": 3_000_000}))
    pool = RunnerPool(spawner, RunnerSettings(max_output=3_000_000))
    try:
        runner = await pool.runner_for(flow(body, "Big", "TooBig", "Ok"))
        big = await runner.run_step(step(0), nothing)
        assert json.loads(big.output or "") == '"' * 2_000_000
        assert "more than 3,000,000 bytes" in str((await runner.run_step(step(1), nothing)).error)
        reply = await runner.run_step(step(2, inputs={"x": "x" * 100_000_000}), nothing)
        assert (reply.status, "what the step reads is too much" in str(reply.error)) == ("failed", True)
        assert (await runner.run_step(step(2), nothing)).status == "success"
    finally:
        await pool.close()
        await spawner.close()


async def test_inputs_are_checked_over_there_and_errors_keep_their_type(pool, flow):
    runner = await pool.runner_for(flow("", inputs="{'n': int}"))
    assert await runner.accept_inputs({"n": "3"}, typed=True) == {"n": 3}
    with pytest.raises(InputError, match="n"):
        await runner.accept_inputs({}, typed=True)


A_RUN = Run(
    id=RUN,
    workflow="flow",
    file="flow.py",
    status="failed",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    started_at=datetime(2026, 1, 1, 0, 0, 1, 5, tzinfo=UTC),
    inputs={"n": 1},
    planned=(PlannedStep("a", "Ok"),),
    steps=(
        StepRun(
            0,
            "a",
            "Ok",
            1,
            "failed",
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 2, tzinfo=UTC),
            error="e",
            details={"x": [1]},
        ),
    ),
)


def test_a_run_is_the_same_on_both_sides():
    assert to_run(json.loads(json.dumps(from_run(A_RUN)))) == A_RUN


async def test_on_finished_gets_the_run_and_its_error_comes_back(pool, flow, fifo, told):
    path = fifo("told")
    body = f"""
    def hook(run):
        Path({str(path)!r}).write_text(f"{{run.id}} {{run.steps[0].ended_at:%d}} {{run.started_at.microsecond}}")
        raise ValueError("no")
    """
    runner = await pool.runner_for(flow(body, on_finished="hook"))
    call = asyncio.ensure_future(runner.call_on_finished(A_RUN))
    assert await told(path, call) == f"{RUN} 02 5"
    with pytest.raises(PluginError, match="on_finished raised ValueError: no"):
        await call


async def test_live_output_comes_in_order_and_before_the_reply(pool, flow):
    body = """
    class Says(Step):
        def run(self, ctx):
            for number in range(5_000):
                ctx.live(f"{number}\\n")
            return "done"
    """
    heard: list[str] = []
    runner = await pool.runner_for(flow(body, "Says"))
    assert (await runner.run_step(step(), heard.append)).output == '"done"'
    assert "".join(heard).split() == [str(number) for number in range(5_000)]
    assert len(heard) < 2_500


async def test_a_flood_of_live_output_is_cut_with_a_note_and_holds_nobody_up(pool, flow):
    body = """
    class Floods(Step):
        async def run(self, ctx):
            for _ in range(2_000):
                ctx.live("x" * 10_000)
            return "done"
    """
    heard: list[str] = []
    runner = await pool.runner_for(flow(body, "Floods"))
    assert (await asyncio.wait_for(runner.run_step(step(), heard.append), 60)).output == '"done"'
    text = "".join(heard)
    assert "characters of live output were left out here" in text
    assert len(text) < 2_000_000


async def test_steps_that_flood_while_large_values_go_both_ways_do_not_lock_up(pool, flow):
    body = """
    class Both(Step):
        def run(self, ctx):
            for _ in range(500):
                ctx.live("x" * 10_000)
            return "y" * 1_000_000
    """
    runner = await pool.runner_for(flow(body, "Both"))
    request = step(inputs={"x": "x" * 1_000_000})
    replies = await asyncio.wait_for(asyncio.gather(*(runner.run_step(request, nothing) for _ in range(12))), 60)
    assert {len(reply.output or "") for reply in replies} == {1_000_002}


async def test_cancelling_waits_for_an_async_step_to_clean_up(pool, flow):
    body = """
    class Waits(Step):
        async def run(self, ctx):
            ctx.live("waiting")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ctx.live("cleaned up")
    """
    runner = await pool.runner_for(flow(body, "Waits", "Ok"))
    heard: list[str] = []
    waiting = asyncio.Event()

    def hear(text: str) -> None:
        heard.append(text)
        waiting.set()

    task = asyncio.ensure_future(runner.run_step(step(), hear))
    await asyncio.wait_for(waiting.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["waiting", "cleaned up"]
    assert (await runner.run_step(step(1), nothing)).output == str(pool.pids[0])


async def test_cancelling_a_step_that_has_just_ended_or_not_begun_waits_for_nothing(pools, flow):
    pool = pools(cancel_grace=600)
    runner = await pool.runner_for(flow(""))
    for turns in (*range(40), *range(40)):
        task = asyncio.ensure_future(runner.run_step(step(), nothing))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(asyncio.wait([task]), 60)
    assert (await runner.run_step(step(), nothing)).output == str(pool.pids[0])


async def test_cancelling_ends_the_processes_of_a_step(pool, flow, fifo, told, gone):
    path = fifo("told")
    body = f"""
    from brain_shell import ShellStep

    class Shell(ShellStep):
        command: str = 'sh -c "trap : TERM; echo $$ > {path}; while :; do sleep 1; done" & wait; wait'
    """
    runner = await pool.runner_for(flow(body, "Shell"))
    task = asyncio.ensure_future(runner.run_step(step(), nothing))
    pid = int(await told(path, task))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid, 0)


PLAIN = """
class Plain(Step):
    def run(self, ctx):
        ctx.live(str(os.getpid()))
        threading.Event().wait()

class Gate(Step):
    gate: str = ""
    async def run(self, ctx):
        ctx.live(str(os.getpid()))
        return await asyncio.to_thread(Path(self.gate).read_text)

class Swallows(Step):
    async def run(self, ctx):
        ctx.live(str(os.getpid()))
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
"""


async def begun(runner, position: int) -> tuple[asyncio.Task[object], int]:
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(runner.run_step(step(position), lambda text: pid.set_result(int(text))))
    return task, await asyncio.wait_for(pid, 60)


async def test_cancelling_a_plain_step_ends_its_process_at_once_when_it_is_alone(pools, flow, gone):
    # No grace is waited for, or this would not end.
    runner = await pools(cancel_grace=600, retire_grace=600).runner_for(flow(PLAIN, "Plain", "Ok"))
    task, pid = await begun(runner, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    await gone(pid, 0)
    assert (await runner.run_step(step(1), nothing)).status == "success"


async def test_cancelling_an_async_step_that_goes_on_ends_its_process(pools, flow, gone):
    runner = await pools(cancel_grace=0.1).runner_for(flow(PLAIN, "Swallows"))
    task, pid = await begun(runner, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid, 0)


async def test_the_time_limit_of_a_plain_step_ends_its_process(pool, tmp_path, flow, gone):
    file = flow(PLAIN, "Plain")
    file.write_text(file.read_text().replace("Plain(name='s0')", "Plain(name='s0', timeout=0.2)"))
    runner = await pool.runner_for(file)
    pids: list[int] = []
    reply = await runner.run_step(step(), lambda text: pids.append(int(text)))
    assert (reply.status, reply.error) == ("failed", "the time limit of 0.2 s was reached")
    await gone(pids[0], 0)


async def test_other_steps_finish_before_a_plain_step_is_ended_with_their_process(pool, flow, fifo, gone):
    gate = fifo("gate")
    file = flow(PLAIN, "Plain", "Gate", "Ok")
    file.write_text(file.read_text().replace("Gate(name='s1')", f"Gate(name='s1', gate={str(gate)!r})"))
    runner, other = await pool.runner_for(file), await pool.runner_for(file)
    plain, pid = await begun(runner, 0)
    gated, same = await begun(other, 1)
    assert same == pid
    plain.cancel()
    # New steps of the file go to another process from now on.
    while (await other.run_step(step(2), nothing)).output == str(pid):
        pass
    assert not plain.done()
    await asyncio.to_thread(gate.write_text, "open")
    assert (await gated).output == '"open"'  # type: ignore[attr-defined]
    with pytest.raises(asyncio.CancelledError):
        await plain
    await gone(pid, 0)


async def test_a_step_that_can_only_be_ended_with_its_process_does_not_wait_for_ever(pools, flow, gone):
    pool = pools(retire_grace=0.2)
    runner = await pool.runner_for(flow(PLAIN, "Plain", "Plain"))
    one, pid = await begun(runner, 0)
    two, _ = await begun(runner, 1)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    await asyncio.wait([two])
    assert "another step in it could not be ended otherwise" in str(two.exception())
    await gone(pid, 0)


async def test_many_steps_at_once_each_get_their_own_reply(pool, flow):
    body = """
    class Echo(Step):
        async def run(self, ctx):
            await asyncio.sleep(0)
            ctx.live(ctx.run_id)
            return [ctx.run_id, ctx.attempt]
    """
    runner = await pool.runner_for(flow(body, "Echo"))
    ids = [f"00000000-0000-0000-0000-{number:012d}" for number in range(1_000)]
    heard: dict[str, str] = {}
    replies = await asyncio.gather(
        *(
            runner.run_step(StepRequest(one, 0, 2), lambda text, one=one: heard.__setitem__(one, text))  # type: ignore[misc]
            for one in ids
        )
    )
    assert [json.loads(reply.output or "") for reply in replies] == [[one, 2] for one in ids]
    assert heard == {one: one for one in ids}
    assert os.getpid() not in pool.pids
