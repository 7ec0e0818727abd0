"""Workflow code in a thread of its own: what it does there cannot hold up the engine."""

from __future__ import annotations

import asyncio
import os
import sys
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
    runner = ThreadRunner(LocalRunner(), import_timeout=0.3)
    with pytest.raises(WorkflowFileError) as caught:
        await runner.load(file)
    assert str(caught.value) == (
        f"{file}:3: the file was still loading after 0.3 s (setting import_timeout); move slow work into a step"
    )
    # Let the import end: while it goes on, no other file loads in this process.
    await asyncio.to_thread(gate.write_text, "")


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
    await asyncio.wait_for(blocking.wait(), 20)
    # This line is only reached because the loop here goes on while the step blocks there.
    module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(tmp_path / "flow.py"))
    module.release.set()
    assert (await task).output == "true"
    await runner.close()


async def test_cancelling_waits_until_the_step_has_cleaned_up(tmp_path: Path) -> None:
    runner = ThreadRunner(LocalRunner(), import_timeout=30)
    await runner.load(write(tmp_path, BLOCKS))
    said: list[str] = []
    waiting, cleaned = asyncio.Event(), asyncio.Event()

    def hear(text: str) -> None:
        said.append(text)
        (waiting if text == "waiting" else cleaned).set()

    task = asyncio.ensure_future(runner.run_step(StepRequest(RUN_ID, 1, 1), hear))
    await asyncio.wait_for(waiting.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cleaned.wait(), 20)
    assert said == ["waiting", "cleaned up"]
    await runner.close()
