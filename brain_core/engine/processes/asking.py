"""Queries on their way from a step in a runner process to the daemon, which has the database, and their rows back.

From the runner: {"ask": number, "of": call, "name": …, "values": JSON text}, {"unask": number} when the step no longer
waits. To it: {"op": "told", "ask": number} with "rows" (JSON text) or "error".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from brain_core.engine.processes.link import Link, Message, MessageTooLarge
from brain_core.engine.processes.messages import facts_of, raise_from
from brain_core.engine.runner import Ask
from brain_core.errors import BrainError, StepFailed
from brain_core.threads import what_raised

_OVER = "a query came to nothing: the step that asks has ended"
AT_ONCE = 32
"""How many queries of one runner process are on their way at once; the others wait in it."""


class Asking:
    """The runner's end; used from its event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def of(self, call: Any) -> Ask:
        """Return the queries of one step."""

        async def ask(name: str, values: str) -> str:
            async with self._slots:
                await self._link.room()
                number = next(self._numbers)
                answer = self._waiting[number] = asyncio.get_running_loop().create_future()
                try:
                    self._link.send({"ask": number, "of": call, "name": name, "values": values})
                    message = await answer
                except asyncio.CancelledError:
                    self._link.send({"unask": number})
                    raise
                finally:
                    del self._waiting[number]
            if "error" in message:
                raise_from(message["error"])
            return str(message["rows"])

        return ask

    def told(self, message: Message) -> None:
        answer = self._waiting.get(message["ask"])
        if answer is not None and not answer.done():
            answer.set_result(message)


class Answering:
    """The daemon's end, for one runner process."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._tasks: dict[int, tuple[Any, asyncio.Task[str]]] = {}

    def receive(self, message: Message, ask: Ask) -> None:
        """Take what the runner says; `ask` is that of the step."""
        if "unask" in message:
            if message["unask"] in self._tasks:
                self._tasks[message["unask"]][1].cancel()
            return
        number = message["ask"]
        task = asyncio.ensure_future(ask(str(message["name"]), str(message["values"])))
        self._tasks[number] = (message["of"], task)
        task.add_done_callback(partial(self._answer, number))

    def end(self, call: Any) -> None:
        """The call has ended: what it still asks is of no use to anybody."""
        for of, task in list(self._tasks.values()):
            if of == call:
                task.cancel()

    def _answer(self, number: int, task: asyncio.Task[str]) -> None:
        del self._tasks[number]
        error = StepFailed(_OVER) if task.cancelled() else task.exception()
        if error is None:
            answer: Message = {"rows": task.result()}
        elif isinstance(error, BrainError):
            answer = {"error": facts_of(error)}
        else:
            answer = {"error": ["StepFailed", f"the query failed in the daemon: {what_raised(error)}"]}
        try:
            self._send({"op": "told", "ask": number, **answer})
        except MessageTooLarge as error:
            self._send(
                {"op": "told", "ask": number, "error": facts_of(StepFailed(f"the answer is too large: {error}"))}
            )


async def over(name: str, values: str) -> str:
    """Answer a step that has ended."""
    raise StepFailed(_OVER)


async def no_tables(name: str, values: str) -> str:
    """Answer where there is nothing to be asked."""
    raise StepFailed(f"statement '{name}' cannot run: no plugin here brings tables")
