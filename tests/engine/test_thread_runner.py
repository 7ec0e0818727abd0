"""Workflow code in a thread of its own: what it does there cannot hold up the engine."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import StepRequest
from brain_core.engine.thread_runner import ThreadRunner
from brain_core.errors import WorkflowFileError

RUN_ID = "00000000-0000-0000-0000-000000000000"


def write(folder: Path, text: str) -> Path:
    file = folder / "flow.py"
    file.write_text(text)
    return file


async def test_an_import_that_hangs_is_given_up_and_its_line_named(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    file = write(tmp_path, f"import pathlib\n\npathlib.Path({str(gate)!r}).read_text()\n")
    runner = ThreadRunner(LocalRunner(), import_timeout=2)
    with pytest.raises(WorkflowFileError) as caught:
        await runner.load(file)
    assert str(caught.value) == (
        f"{file}:3: the file was still loading after 2 s (setting import_timeout); move slow work into a step"
    )
    # Another file, in another folder or in this one, is judged while the first still hangs.
    for folder in (tmp_path / "other", tmp_path):
        folder.mkdir(exist_ok=True)
        (folder / "beside.py").write_text(f"where = {str(folder)!r}\n")
        other = write(folder, BLOCKS.replace("import threading", "import threading, beside"))
        assert (await ThreadRunner(LocalRunner(), import_timeout=30).load(other)).workflow == "w"
        assert sys.modules["beside"].where == str(folder)  # type: ignore[attr-defined]
    modules, in_force = dict(sys.modules), list(sys.path)
    assert [path for path in in_force if path.startswith(str(tmp_path))] == in_force[:1] == [str(tmp_path)]
    # When the import ends after all, it changes nothing any more.
    thread = next(each for each in threading.enumerate() if each.ident == runner._thread)
    await asyncio.to_thread(gate.write_text, "")
    await runner.close()
    await asyncio.to_thread(thread.join)
    assert sys.path == in_force
    assert {name: sys.modules[name] for name in modules} == modules


BLOCKS = """
import threading
from brain_core import Step, Workflow

release = threading.Event()

class Blocks(Step):
    async def run(self, ctx):
        ctx.live("blocking")
        return release.wait(20)

class Waits(Step):
    async def run(self, ctx):
        import asyncio
        ctx.live("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            ctx.live("cleaned up")

workflow = Workflow(name="w", steps=[Blocks(name="a"), Waits(name="b")])
"""


async def test_an_async_step_that_blocks_does_not_stop_the_engines_loop(tmp_path: Path) -> None:
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    await runner.load(write(tmp_path, BLOCKS))
    blocking = asyncio.Event()
    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN_ID, 0, 1), lambda text: blocking.set()))
    await asyncio.wait_for(blocking.wait(), 60)
    # This line is only reached because the loop here goes on while the step blocks there.
    module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(tmp_path / "flow.py"))
    module.release.set()
    assert (await task).output == "true"
    await runner.close()


async def test_cancelling_waits_until_the_step_has_cleaned_up(tmp_path: Path) -> None:
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    await runner.load(write(tmp_path, BLOCKS))
    said: list[str] = []
    waiting = asyncio.Event()

    def hear(text: str) -> None:
        said.append(text)
        waiting.set()

    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN_ID, 1, 1), hear))
    await asyncio.wait_for(waiting.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["waiting", "cleaned up"], "the cancellation came out before the step had ended"
    await runner.close()


STUBBORN = """
import asyncio
from brain_core import Step, Workflow

class Stubborn(Step):
    async def run(self, ctx):
        ctx.live("here")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ctx.live("asked")
            try:
                await asyncio.Event().wait()
            finally:
                ctx.live("asked again")

workflow = Workflow(name="w", steps=[Stubborn(name="a"), Stubborn(name="b", timeout=1000)])
"""


@pytest.mark.parametrize("position", [0, 1])
async def test_a_second_cancellation_reaches_the_step(tmp_path: Path, position: int) -> None:
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    await runner.load(write(tmp_path, STUBBORN))
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        if text != "asked again":
            task.cancel()

    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN_ID, position, 1), hear))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["here", "asked", "asked again"]
    await runner.close()


async def test_what_is_unfinished_when_the_runner_is_closed_is_cancelled(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    file = write(
        tmp_path,
        f"""
import asyncio, os
from brain_core import Step, Workflow

class Stay(Step):
    async def run(self, ctx):
        os.write({writer}, b"here ")
        try:
            await asyncio.Event().wait()
        finally:
            os.write({writer}, b"ended")
            os.close({writer})

workflow = Workflow(name="w", steps=[Stay(name="stay")])
""",
    )
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    await runner.load(file)
    step = asyncio.ensure_future(runner.run_step(StepRequest(RUN_ID, 0, 1), print))
    assert await asyncio.to_thread(os.read, reader, 10) == b"here "
    await runner.close()
    assert await asyncio.to_thread(os.read, reader, 10) == b"ended"
    os.close(reader)
    with pytest.raises(asyncio.CancelledError):
        await step


@pytest.mark.parametrize("module", ["flow", "beside"])
async def test_a_keyboard_interrupt_of_the_file_is_no_ctrl_c(tmp_path: Path, module: str) -> None:
    (tmp_path / "beside.py").write_text("raise KeyboardInterrupt\n")
    file = write(tmp_path, "raise KeyboardInterrupt\n" if module == "flow" else "import beside\n")
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    with pytest.raises(WorkflowFileError, match=r"flow\.py:1: .*KeyboardInterrupt"):
        await runner.load(file)
    await runner.close()
