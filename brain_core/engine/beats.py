"""The beat of a worker: a thread and a connection of its own, so that a busy moment does not look like death (G11).

The thread beats only while the engine's loop has answered within a limit, so that a wedged process does not look alive.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from uuid import UUID

from brain_core.errors import DatabaseError
from brain_core.store import workers
from brain_core.store.database import Database


class Beats:
    """Bumps the worker's counter every `interval` seconds while the loop answers within `limit` seconds.

    The first beat comes after one interval; a process that lives shorter opens no second connection. While the database
    is away the thread goes on trying, once an interval.
    """

    def __init__(self, database: Database, worker: UUID, *, interval: float, limit: float) -> None:
        self._place = database
        self._worker = worker
        self._interval = interval
        self._limit = limit
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
        if not self._stop.wait(self._interval):
            asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        # A connection that nobody answers is given up within a beat.
        database = self._place.sibling(pool_size=1, command_timeout=self._interval)
        try:
            while True:
                if self._loop_answers():
                    # While it is away nothing can be said; the next beat makes a new connection.
                    with suppress(DatabaseError):
                        await workers.beat(database, self._worker)
                if await asyncio.to_thread(self._stop.wait, self._interval):
                    return
        finally:
            await database.close()

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
