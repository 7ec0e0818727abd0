"""What runs in a runner process: one workflow file in an event loop, many runs of it at once."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from brain_core.engine.local_runner import ON_FINISHED, LocalRunner
from brain_core.engine.processes.asking import Asking
from brain_core.engine.processes.guard import BROKEN, CLOSED, ORPHANED, Guard, end_process
from brain_core.engine.processes.link import Link, Message
from brain_core.engine.processes.live import LiveText
from brain_core.engine.processes.messages import facts_of, from_plan, from_reply, to_request, to_run
from brain_core.engine.runner import StepReply
from brain_core.errors import BrainError

NO_STEP = ("", 0)


def serve(
    link: socket.socket, guard: socket.socket, make: Callable[[], LocalRunner], *, silence: float, limit: int
) -> NoReturn:
    """Run workflow code until the daemon closes the link; called in the main thread of a new process."""
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # New ones: those of the daemon may have been made for a file, and its place in that is not to be had of a pipe.
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)
    watch = Guard(guard, silence)
    os.register_at_fork(after_in_child=partial(_cut_off, link.fileno(), guard.fileno()))
    watch.start()
    try:
        loop = asyncio.new_event_loop()
        child = _Child(make(), watch, limit)
        loop.run_until_complete(child.serve(link))
    except BaseException:  # noqa: BLE001 - workflow code has broken the loop; nothing may run on after this
        traceback.print_exc()
        end_process(BROKEN)
    if child.lost:
        end_process(ORPHANED)
    if child.busy:
        end_process(CLOSED)
    # No joining of threads and no closing of the loop: either may wait for workflow code.
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(CLOSED)


def _text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - for as long as the process lives
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _cut_off(*ends: int) -> None:
    """In a process that workflow code has forked: nothing it does may look like ours."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for end in ends:
        os.dup2(nowhere, end)
    os.close(nowhere)
    loop = asyncio._get_running_loop()
    if loop is not None:
        # It came back to the loop, which is the other process's.
        loop.call_soon(os._exit, BROKEN)


class _Child:
    def __init__(self, runner: LocalRunner, guard: Guard, limit: int) -> None:
        self._runner = runner
        self._guard = guard
        self._limit = limit
        self._pid = os.getpid()
        self._calls: dict[int, asyncio.Task[Message]] = {}
        self._link: Link
        self._asking: Asking
        self.lost = False

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    async def serve(self, end: socket.socket) -> None:
        self._closing = asyncio.Event()
        self._link = await Link.open(end, self._receive, self._lost, self._limit)
        self._asking = Asking(self._link)
        await self._closing.wait()

    def _lost(self, why: str) -> None:
        # The daemon is gone, or workflow code has closed the link: it is over either way.
        self.lost = True
        self._closing.set()

    def _receive(self, message: Message) -> None:
        op = message["op"]
        if op == "step":
            self._start(message["id"], self._step(message["id"], message), (message["run"], message["at"]))
        elif op == "cancel":
            if (task := self._calls.get(message["id"])) is not None:
                task.cancel()
        elif op == "told":
            self._asking.told(message)
        elif op == "load":
            # The path that the file's code will carry.
            self._guard.file = os.path.realpath(message["file"])
            self._runner.bar(message.get("barred", {}))
            self._start(message["id"], self._load(message["file"]), NO_STEP)
        elif op == "inputs":
            self._start(message["id"], self._inputs(message), NO_STEP)
        elif op == "finished":
            self._start(message["id"], self._finished(message), (message["of"]["id"], ON_FINISHED))
        elif op == "close":
            self._closing.set()

    def _start(self, call: int, work: Coroutine[Any, Any, Message], place: tuple[str, int]) -> None:
        task = asyncio.ensure_future(work)
        self._calls[call] = task
        task.add_done_callback(partial(self._ended, call, place))

    def _ended(self, call: int, place: tuple[str, int], task: asyncio.Task[Message]) -> None:
        del self._calls[call]
        if os.getpid() != self._pid:
            os._exit(BROKEN)
        if self._guard.ending:
            return
        if task.cancelled():
            answer: Message = {"cancelled": True}
        elif (error := task.exception()) is None:
            answer = task.result()
        elif isinstance(error, BrainError):
            answer = {"error": facts_of(error)}
        else:
            traceback.print_exception(error)
            answer = {"error": ["BrainError", f"{type(error).__name__} in the runner process; its log has more"]}
        if self._runner.left_behind(*place):
            answer["left"] = True
        try:
            self._link.send({"id": call, **answer})
        except BrainError as error:
            self._link.send({"id": call, **from_reply(StepReply("failed", error=str(error)))})

    async def _load(self, file: str) -> Message:
        plan = await self._runner.load(file)
        return {"plan": from_plan(plan)}

    async def _inputs(self, message: Message) -> Message:
        return {"inputs": await self._runner.accept_inputs(message["given"], typed=message["typed"])}

    async def _step(self, call: int, message: Message) -> Message:
        live = LiveText(self._link, call)
        try:
            return from_reply(await self._runner.run_step(to_request(message), live.add, self._asking.of(call)))
        finally:
            live.send(last=True)

    async def _finished(self, message: Message) -> Message:
        await self._runner.call_on_finished(to_run(message["of"]))
        return {}
