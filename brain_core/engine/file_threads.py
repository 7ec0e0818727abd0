"""Calls that touch files, made in threads: a file system that hangs holds up those who asked, and no event loop."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from brain_core.threads import start_thread

Answer = TypeVar("Answer")

LIMIT = 64
PER_FOLDER = 4
"""How many threads may be busy at once, in all and with the files of one folder: a folder that hangs takes no more."""
NO_THREAD = 0.1
"""Seconds before a thread is asked for again that the system did not give."""


class FileThreads:
    """Threads for file calls; used from one event loop.

    They are daemon threads: one that hangs does not keep the process from ending. One idle thread is kept.
    """

    def __init__(self, limit: int = LIMIT, per_folder: int = PER_FOLDER) -> None:
        self._limit = limit
        self._per_folder = per_folder
        self._waiting: dict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}
        self._busy: Counter[str] = Counter()
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = 0

    def ask(self, file: str, call: Callable[[], Answer]) -> asyncio.Future[Answer]:
        """Make a call about a file, in its turn; a cancelled one is not waited for, and may be made all the same."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        folder = os.path.dirname(file)  # noqa: PTH120 - asked for many runs a second; Path takes longer
        self._waiting.setdefault(folder, deque()).append((future, call))
        self._start(folder)
        return future

    def close(self) -> None:
        """Let the idle threads end; those that are busy end with what they do."""
        for _ in range(self._idle):
            self._inbox.put(None)
        self._idle = 0

    def _start(self, folder: str) -> None:
        calls = self._waiting[folder]
        while calls and self._busy[folder] < self._per_folder and self._busy.total() < self._limit:
            future, call = calls[0]
            if not future.cancelled():
                if not self._has_thread():
                    asyncio.get_running_loop().call_later(NO_THREAD, self._start_waiting)
                    break
                self._busy[folder] += 1
                self._hand_out(folder, future, call)
            calls.popleft()
        if not calls:
            del self._waiting[folder]

    def _start_waiting(self) -> None:
        for folder in list(self._waiting):
            self._start(folder)

    def _has_thread(self) -> bool:
        """See to it that a thread waits for work; False when the system gives none."""
        if self._idle:
            return True
        try:
            start_thread(self._work, "brain-file")
        except RuntimeError:
            return False
        self._idle += 1
        return True

    def _hand_out(self, folder: str, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            answer, failure = None, None
            try:
                answer = call()
            except Exception as error:  # noqa: BLE001 - carried over to who asked
                failure = error
            try:
                loop.call_soon_threadsafe(self._done, folder, future, answer, failure)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._idle -= 1
        self._inbox.put(work)

    def _done(self, folder: str, future: asyncio.Future[Any], answer: Any, failure: Exception | None) -> None:
        self._busy[folder] -= 1
        if not self._busy[folder]:
            del self._busy[folder]
        self._idle += 1
        if not future.done():
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure)
        if self._waiting:
            self._start_waiting()
        if self._idle > 1:
            self._idle -= 1
            self._inbox.put(None)

    def _work(self) -> None:
        while (work := self._inbox.get()) is not None:
            work()
