"""Runs workflow code in a thread with an event loop of its own.

`brain run` uses it: a file that hangs at import, or an async step that blocks, stops this thread and not the engine's
loop, which goes on to beat, to answer Ctrl-C and to write the end of the run.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from brain_core.engine.local_runner import CANCEL_GRACE, LocalRunner
from brain_core.engine.runner import Ask, Plan, StepReply, StepRequest
from brain_core.errors import WorkflowFileError
from brain_core.loader import give_up
from brain_core.placeholders import Json
from brain_core.run import Run
from brain_core.threads import call_in

Answer = TypeVar("Answer")


class ThreadRunner:
    """A Runner whose workflow code lives in a daemon thread; `import_timeout` (seconds) bounds the load."""

    def __init__(self, inner: LocalRunner, *, import_timeout: float) -> None:
        self._inner = inner
        self._import_timeout = import_timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._ready = threading.Event()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            threading.Thread(target=self._serve, name="brain-workflow", daemon=True).start()
            self._ready.wait()
        loop = self._loop
        if loop is None:
            raise RuntimeError("the runner's thread did not start")
        return loop

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._loop, self._thread = loop, threading.get_ident()
        self._ready.set()
        try:
            loop.run_forever()
            # What was given up unfinished, such as a load that Ctrl-C came into, would complain when it is destroyed.
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
        finally:
            loop.close()

    async def _there(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine in the thread; a cancellation is passed on and waited for, within CANCEL_GRACE."""
        here = asyncio.get_running_loop()
        ended: asyncio.Future[None] = here.create_future()

        def settle() -> None:
            if not ended.done():
                ended.set_result(None)

        def say_ended(_: object) -> None:
            try:
                here.call_soon_threadsafe(settle)
            except RuntimeError:
                return  # the engine's loop is closed: nobody waits any more

        loop = self._start()
        tasks: list[asyncio.Task[Any] | None] = []

        async def watched() -> Answer:
            tasks.append(asyncio.current_task())
            return await _ending(work, say_ended)

        answer = asyncio.run_coroutine_threadsafe(watched(), loop)
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            while True:
                try:
                    await asyncio.wait({ended}, timeout=CANCEL_GRACE)
                except asyncio.CancelledError:
                    # Asked again: the work is told again, and gives its children no more grace.
                    for task in filter(None, tasks):
                        loop.call_soon_threadsafe(task.cancel)
                else:
                    raise

    async def load(self, file: str | Path) -> Plan:
        try:
            return await asyncio.wait_for(self._there_unwaited(self._inner.load(file)), self._import_timeout)
        except TimeoutError:
            line = self._line_of(Path(file))
            if self._thread is not None:
                give_up(self._thread)
            raise WorkflowFileError(
                f"the file was still loading after {self._import_timeout:g} s (setting import_timeout); "
                "move slow work into a step",
                file=str(file),
                line=line,
            ) from None

    async def _there_unwaited(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._start()))

    def _line_of(self, file: Path) -> int | None:
        """Return the line of the workflow file at which its thread stands now, when it stands in it."""

        path = str(file.resolve())
        for thread in threading.enumerate():
            frame = sys._current_frames().get(thread.ident or 0) if thread.name == "brain-workflow" else None
            while frame is not None:
                if frame.f_code.co_filename == path:
                    return frame.f_lineno
                frame = frame.f_back
        return None

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        return await self._inner.accept_inputs(given, typed=typed)

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        here = asyncio.get_running_loop()

        def pass_on(text: str) -> None:
            here.call_soon_threadsafe(on_live, text)

        return await self._there(self._inner.run_step(request, pass_on, None if ask is None else call_in(here, ask)))

    async def call_on_finished(self, run: Run) -> None:
        # Told to stop when the caller gives up, but not waited for: a hook that blocks would take the grace of a step.
        await self._there_unwaited(self._inner.call_on_finished(run))

    async def close(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


async def _ending(work: Coroutine[Any, Any, Answer], say_ended: Callable[[object], None]) -> Answer:
    try:
        return await work
    finally:
        say_ended(None)
