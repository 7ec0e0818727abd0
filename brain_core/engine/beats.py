"""The beat of a worker: a thread and a connection of its own, so that a busy moment does not look like death (G11).

The thread beats only while the engine's loop has answered within a limit, so that a wedged process does not look alive.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from selectors import DefaultSelector
from typing import Any

from brain_core.errors import DatabaseError
from brain_core.store.database import Database


class Beats:
    """Calls `beat` every `interval` seconds while the engine's loop answers within `limit` seconds.

    `beat` runs in the thread's loop with the thread's connection; what it returns is handed to `on_beat` in the loop of
    the engine. The first one comes after one interval, so that a process that lives shorter opens no second connection.
    While the database is away the thread goes on trying, once an interval.
    """

    def __init__(
        self,
        database: Database,
        beat: Callable[[Database], Awaitable[Any]],
        *,
        interval: float,
        limit: float,
        on_beat: Callable[[Any], None] | None = None,
    ) -> None:
        self._place = database
        self._beat = beat
        self._interval = interval
        self._limit = limit
        self._on_beat = on_beat
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = time.monotonic()

    def start(self) -> None:
        """Start beating; called in the engine's loop."""
        self._loop = asyncio.get_running_loop()
        self._answered = time.monotonic()
        self._thread = threading.Thread(target=self._beat_on, name="brain-beat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; returns at once, and a beat that is on its way does no harm."""
        self._stop.set()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            # A system that has no descriptor or thread to give is asked again, as a database is that is away.
            with suppress(OSError, RuntimeError), _new_runner() as runner:
                runner.get_loop()
                runner.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        # A connection that nobody answers is given up within a beat.
        database = self._place.sibling(pool_size=1, command_timeout=self._interval)
        try:
            while True:
                if self._loop_answers():
                    # While it is away nothing can be said; the next beat makes a new connection.
                    with suppress(DatabaseError):
                        self._hand_over(await self._beat(database))
                if await asyncio.to_thread(self._stop.wait, self._interval):
                    return
        finally:
            await database.close()

    def _hand_over(self, seen: Any) -> None:
        if self._on_beat is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._on_beat, seen)

    def _loop_answers(self) -> bool:
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        alive = time.monotonic() - self._answered <= self._limit
        try:
            loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            return False
        return alive

    def _answer(self) -> None:
        self._answered = time.monotonic()


def _new_runner() -> asyncio.Runner:
    """Return what runs a loop of its own; OSError when there are no descriptors for it."""
    # Seen before: a loop that can only be made by half complains on standard error.
    with DefaultSelector():
        for end in socket.socketpair():
            end.close()
    return asyncio.Runner()
