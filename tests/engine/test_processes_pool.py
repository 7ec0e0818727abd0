"""Which process serves which run: one for each version of a file, kept while it is of use."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from brain_core.engine.beginning import new_run
from brain_core.engine.executor import Execution
from brain_core.engine.runner import StepRequest
from brain_core.engine.sweep import worker_identity
from brain_core.errors import RunnerDied, WorkflowFileError
from brain_core.store import runs
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.testing import NoHooks

RUN = "00000000-0000-0000-0000-000000000000"


async def pid_of(runner) -> int:
    return int((await runner.run_step(StepRequest(RUN, 0, 1), print)).output or "")


async def test_runs_of_one_version_share_a_process_even_when_they_come_at_once(pool, flow):
    file = flow("")
    runners = await asyncio.gather(*(pool.runner_for(file) for _ in range(20)))
    assert {await pid_of(runner) for runner in runners} == set(pool.pids)
    assert len(pool.pids) == 1
    assert await runners[0].load(file) is runners[0].plan


async def test_files_have_processes_of_their_own_and_modules_beside_them(pool, tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "beside.py").write_text(f"NAME = {name!r}\n")
        (folder / "flow.py").write_text(
            "from beside import NAME\nfrom brain_core import FunctionStep, Workflow\ndef late():\n    import beside\n"
            "    return [NAME, beside.NAME]\n"
            "workflow = Workflow(name='flow', steps=[FunctionStep(name='a', function=late)])\n"
        )
    one, two = [await pool.runner_for(tmp_path / name / "flow.py") for name in ("one", "two")]
    assert len(pool.pids) == 2
    assert (await one.run_step(StepRequest(RUN, 0, 1), print)).output == '["one","one"]'
    assert (await two.run_step(StepRequest(RUN, 0, 1), print)).output == '["two","two"]'


@pytest.mark.parametrize("changed", ["flow.py", "beside.py"])
async def test_a_changed_source_gets_a_new_process_and_the_old_one_serves_its_runs_to_their_end(
    pool, flow, tmp_path, gone, changed
):
    (tmp_path / "beside.py").write_text("A = 1\n")
    file = flow("import beside")
    before = await pool.runner_for(file)
    old = await pid_of(before)
    path = tmp_path / changed
    path.write_text(path.read_text() + "\n# changed\n")
    after = await pool.runner_for(file)
    assert after.plan.digest != before.plan.digest
    new = await pid_of(after)
    assert await pid_of(before) == old != new
    await before.close()
    await gone(old)
    assert await pid_of(after) == new


async def test_a_process_that_nobody_holds_ends_when_idle_and_one_that_is_held_does_not(pools, flow, gone):
    pool = pools(idle=0)
    file = flow("")
    one, two = await pool.runner_for(file), await pool.runner_for(file)
    pid = await pid_of(one)
    await one.close()
    await one.close()
    assert await pid_of(two) == pid
    pool.give_back(two)
    await gone(pid)
    assert await pid_of(await pool.runner_for(file)) != pid


async def test_a_file_that_could_not_be_loaded_is_tried_again(pool, flow, gone):
    file = flow("raise ValueError('not yet')")
    errors = await asyncio.gather(*(pool.runner_for(file) for _ in range(5)), return_exceptions=True)
    assert {str(error) for error in errors} == {str(errors[0])}
    assert isinstance(errors[0], WorkflowFileError)
    flow("")
    assert (await pid_of(await pool.runner_for(file))) == pool.pids[-1]


async def test_a_load_that_its_caller_gave_up_serves_the_next_one(pool, flow, fifo, told):
    ready, gate = fifo("ready"), fifo("gate")
    file = flow(f"Path({str(ready)!r}).write_text('.')\nPath({str(gate)!r}).read_text()")
    first = asyncio.ensure_future(pool.runner_for(file))
    await told(ready, first)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(pool.runner_for(file))
    await asyncio.to_thread(gate.write_text, ".")
    assert [await pid_of(await second)] == pool.pids


async def test_closing_ends_what_is_still_loading(pool, flow, fifo, told, gone):
    ready, gate = fifo("ready"), fifo("gate")
    file = flow(f"Path({str(ready)!r}).write_text(str(os.getpid()))\nPath({str(gate)!r}).read_text()")
    loading = asyncio.ensure_future(pool.runner_for(file))
    pid = int(await told(ready, loading))
    starting = asyncio.ensure_future(pool.runner_for(flow("", name="other")))
    await asyncio.sleep(0)
    await pool.close()
    await gone(pid, 0)
    await asyncio.wait([loading, starting])
    assert loading.cancelled()
    assert starting.cancelled()
    assert pool.pids == []


async def test_closing_ends_every_process_and_what_runs_in_it(pool, flow, gone):
    body = """
    class Waits(Step):
        async def run(self, ctx):
            ctx.live(str(os.getpid()))
            await asyncio.Event().wait()
    """
    runner = await pool.runner_for(flow(body, "Waits"))
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN, 0, 1), lambda text: pid.set_result(int(text))))
    number = await pid
    await pool.close()
    await gone(number, 0)
    await asyncio.wait([task])
    assert "was closed" in str(task.exception())
    assert pool.pids == []


async def test_a_run_whose_runner_dies_is_recorded_as_failed_with_the_reason(pool, flow, database_url):
    file = flow("class Exits(Step):\n    async def run(self, ctx):\n        os._exit(7)\n", "Ok", "Exits", "Ok")
    runner = await pool.runner_for(file)
    db = await Database.open(database_url)
    try:
        recorder = Recorder(db, worker_identity("run", 15.0))
        recorder.add_version(runner.plan.digest, dict(runner.plan.sources))
        execution = Execution(
            runner.plan, run_id=uuid4(), runner=runner, recorder=recorder, hooks=NoHooks(), watch=lambda event: None
        )
        await execution.run(
            new_run(runner.plan, {}, run_id=execution.run_id, recorder=recorder, max_output=1_000_000, previous=None)
        )
        await recorder.drain()
        run = await runs.get(db, str(execution.run_id))
    finally:
        await db.close()
    assert run.error == f"step 's1': the runner process of {file} ended with exit code 7"
    assert [step.status for step in run.steps] == ["success", "failed"]


async def test_of_many_files_only_so_many_idle_processes_are_kept(pool, flow, gone, monkeypatch):
    monkeypatch.setattr("brain_core.engine.processes.pool.MAX_IDLE", 2)
    files = [flow("", name=name) for name in ("one", "two", "three", "four")]
    runners = [await pool.runner_for(file) for file in files]
    pids = [await pid_of(runner) for runner in runners]
    for runner in (runners[1], runners[0], runners[2]):
        await runner.close()
    await gone(pids[1])
    assert await pid_of(await pool.runner_for(files[0])) == pids[0]
    assert await pid_of(runners[3]) == pids[3]


async def test_a_run_whose_process_went_with_another_and_whose_file_broke_since_is_told_both(pool, flow, gone):
    file = flow("class Exits(Step):\n    async def run(self, ctx):\n        os._exit(7)\n", "Ok", "Exits")
    one, two = await pool.runner_for(file), await pool.runner_for(file)
    pid = await pid_of(one)
    with pytest.raises(RunnerDied, match="exit code 7"):
        await two.run_step(StepRequest(RUN, 1, 1), print)
    await gone(pid)
    flow("raise ValueError('half saved')")
    with pytest.raises(RunnerDied, match=r"ended, and now: .*half saved"):
        await pid_of(one)
