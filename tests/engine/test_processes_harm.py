"""What bad workflow files can do in a runner process: harm their own runs, and be named for it in one line (G18)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from brain_core.engine.runner import StepRequest
from brain_core.errors import RunnerDied, WorkflowFileError

RUN = "00000000-0000-0000-0000-000000000000"


def step(position: int = 0) -> StepRequest:
    return StepRequest(RUN, position, 1)


def nothing(text: str) -> None:
    pass


async def refused(pool, file) -> WorkflowFileError:
    with pytest.raises(WorkflowFileError) as caught:
        await pool.runner_for(file)
    assert "\n" not in str(caught.value)
    return caught.value


async def died(runner, position: int = 0) -> str:
    with pytest.raises(RunnerDied) as caught:
        await runner.run_step(step(position), nothing)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_an_import_that_hangs_is_ended_and_its_line_named(pools, flow, fifo, told, gone):
    ready, gate = fifo("ready"), fifo("gate")
    file = flow(f"Path({str(ready)!r}).write_text(str(os.getpid()))\nPath({str(gate)!r}).read_text()")
    pool = pools(import_timeout=5)
    waiting = asyncio.ensure_future(refused(pool, file))
    pid = int(await told(ready, waiting))
    error = await waiting
    assert error.message.startswith("the file was still loading after 5 s (setting import_timeout)")
    assert error.file == str(file)
    assert error.line is not None
    assert file.read_text().splitlines()[error.line - 1].startswith(f"Path({str(gate)!r})")
    await gone(pid)


async def test_an_import_that_holds_the_interpreter_for_ever_is_ended_too(pools, flow):
    file = flow("import re\nre.match('(a+)+$', 'a' * 60 + 'b')")
    assert "was still loading after 2 s" in (await refused(pools(import_timeout=2), file)).message


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("os._exit(3)", "the runner process ended with exit code 3"),
        ("ctypes.string_at(0)", "the runner process was ended by SIGSEGV (signal 11)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the runner process was ended by SIGKILL (signal 9)"),
    ],
)
async def test_an_import_that_ends_its_process_says_how(pool, flow, body, why):
    error = await refused(pool, flow(body))
    assert error.message == f"the file cannot be loaded: {why}"
    good = await pool.runner_for(flow("", name="good"))
    assert (await good.run_step(step(), nothing)).status == "success"


async def test_errors_of_a_file_come_as_from_the_loader(pool, flow):
    file = flow("1 / 0")
    error = await refused(pool, file)
    assert str(error).startswith(f"{file}:{len(file.read_text().splitlines()) - 1}: ")
    assert "ZeroDivisionError" in error.message


BAD = """
class Exits(Step):
    async def run(self, ctx):
        os._exit(7)

class Crashes(Step):
    def run(self, ctx):
        ctypes.string_at(0)

class Closes(Step):
    async def run(self, ctx):
        os.closerange(3, 1000)
        return "closed"

class ClosesInThread(Step):
    def run(self, ctx):
        os.closerange(3, 1000)
        threading.Event().wait()

class Stops(Step):
    async def run(self, ctx):
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()
"""


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("Exits", "ended with exit code 7"),
        ("Crashes", "was ended by SIGSEGV (signal 11)"),
        ("Closes", "does the workflow close file descriptors that are not its own?"),
        ("ClosesInThread", "does the workflow close file descriptors that are not its own?"),
        ("Stops", "its event loop could not go on"),
    ],
)
async def test_a_step_that_ends_its_process_fails_the_steps_in_it_and_no_others(pool, flow, gone, kind, why):
    file = flow(BAD, "Ok", kind)
    runner, other = await pool.runner_for(file), await pool.runner_for(flow("", name="other"))
    pid = int((await runner.run_step(step(0), nothing)).output or "0")
    text = await died(runner, 1)
    assert text.startswith(f"the runner process of {file} ")
    assert why in text
    await gone(pid)
    assert (await other.run_step(step(), nothing)).status == "success"
    # The same run goes on in a new process: the file is as it was.
    again = int((await runner.run_step(step(0), nothing)).output or "0")
    assert again not in (0, pid)


async def test_a_run_does_not_go_on_with_another_source_than_it_began_with(pool, flow):
    runner = await pool.runner_for(flow(BAD, "Ok", "Exits"))
    await died(runner, 1)
    flow(BAD, "Ok")
    with pytest.raises(RunnerDied, match="the file has changed since this run began"):
        await runner.run_step(step(), nothing)


async def test_a_step_that_blocks_its_loop_blocks_nobody_else_and_can_be_cancelled(pools, flow, fifo, told, gone):
    ready = fifo("ready")
    body = f"""
    class Blocks(Step):
        async def run(self, ctx):
            Path({str(ready)!r}).write_text(str(os.getpid()))
            threading.Event().wait()
    """
    pool = pools(cancel_grace=0.2, retire_grace=0.2)
    blocked, other = await pool.runner_for(flow(body, "Blocks")), await pool.runner_for(flow("", name="other"))
    task = asyncio.ensure_future(blocked.run_step(step(), nothing))
    pid = int(await told(ready, task))
    assert (await other.run_step(step(), nothing)).status == "success"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid, 0)


FORKS = """
class Forks(Step):
    async def run(self, ctx):
        pid = os.fork()
        if pid == 0:
            return "child"
        os.waitpid(pid, 0)
        return "parent"

class ForksInThread(Step):
    def run(self, ctx):
        pid = os.fork()
        if pid == 0:
            ctx.live("child")
            os._exit(0)
        os.waitpid(pid, 0)
        return "parent"

class ForksAndAwaits(Step):
    async def run(self, ctx):
        pid = os.fork()
        if pid == 0:
            await asyncio.sleep(0)
            await asyncio.Event().wait()
        os.waitpid(pid, 0)
        return "parent"
"""


@pytest.mark.parametrize("kind", ["Forks", "ForksInThread", "ForksAndAwaits"])
async def test_a_step_that_forks_answers_once(pool, flow, kind):
    runner = await pool.runner_for(flow(FORKS, kind, "Ok"))
    heard: list[str] = []
    reply = await asyncio.wait_for(runner.run_step(step(0), heard.append), 60)
    assert reply.output == '"parent"'
    assert heard == []
    assert (await runner.run_step(step(1), nothing)).status == "success"


async def test_a_file_that_forks_at_import_is_loaded_once(pool, flow):
    runner = await pool.runner_for(flow("child = os.fork()\nif child:\n    os.waitpid(child, 0)"))
    assert (await runner.run_step(step(), nothing)).output == str(pool.pids[0])


async def test_changes_to_the_process_stay_in_it_and_it_ends_when_told(pools, flow, gone):
    body = """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    sys.stdout = sys.stderr = None
    threading.Thread(target=threading.Event().wait).start()
    """
    where = (
        "class Ok(Step):\n    async def run(self, ctx):\n        return [os.getcwd(), os.environ.get('LEFT_BEHIND')]"
    )
    pool = pools(idle=0)
    runner, other = await pool.runner_for(flow(body)), await pool.runner_for(flow(where, name="other"))
    pid = int((await runner.run_step(step(), nothing)).output or "0")
    assert (await other.run_step(step(), nothing)).output == f'["{Path.cwd()}",null]'
    await runner.close()
    await gone(pid)


async def test_a_flood_of_prints_is_read_and_cut(pools, flow):
    body = """
    class Floods(Step):
        def run(self, ctx):
            print("first words")
            for _ in range(6_000):
                print("x" * 1_000)
            print("last words")
            return "done"
    """
    heard: list[str] = []
    pool = pools(lambda file, text: heard.append(text), idle=0)
    runner = await pool.runner_for(flow(body, "Floods"))
    assert (await runner.run_step(step(), nothing)).output == '"done"'
    await pool.close()
    text = "".join(heard)
    assert text.startswith("first words\n")
    assert "bytes of printed text were left out here" in text
    assert len(text) < 1_000_000


async def test_prints_and_last_words_reach_the_daemon(pools, flow):
    heard: list[tuple[str, str]] = []
    pool = pools(lambda file, text: heard.append((file, text)))
    file = flow(
        "class Ends(Step):\n    def run(self, ctx):\n        print('so long \\xff')\n        os._exit(1)", "Ends"
    )
    await died(await pool.runner_for(file))
    assert ("".join(text for _, text in heard), {name for name, _ in heard}) == ("so long \xff\n", {str(file)})
