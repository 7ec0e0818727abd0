"""What steps say while they run, gathered in the runner on its way to the daemon."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from brain_core.engine.processes.link import Link

INTERVAL = 0.02
"""Seconds between two messages of one step; the first goes at once."""

MAX_WAITING = 256 * 1024
"""Characters that wait for a daemon that is slow; what comes on top is counted and left out."""


class LiveText:
    """The live output of one step: in order, in batches, bounded. `add` may be called from any thread, and never waits:
    a step is not held up by whoever watches it."""

    def __init__(self, link: Link, call: Any) -> None:
        self._link = link
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._size = 0
        self._left_out = 0
        self._scheduled = False
        self._sent_at = 0.0

    def add(self, text: str) -> None:
        with self._lock:
            room = MAX_WAITING - self._size
            # Once something is left out, nothing may follow it before the note.
            kept = "" if self._left_out else text[: max(0, room)]
            self._left_out += len(text) - len(kept)
            if kept:
                self._waiting.append(kept)
                self._size += len(kept)
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self._loop.call_soon_threadsafe(self._soon)
        except RuntimeError:
            return  # the loop is closed

    def _soon(self) -> None:
        wait = self._sent_at + INTERVAL - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self.send)
        else:
            self.send()

    def send(self, *, last: bool = False) -> None:
        """Send what waits; when the daemon is slow, later, but for the last time of all."""
        if self._link.full and not last:
            self._loop.call_later(INTERVAL, self.send)
            return
        with self._lock:
            texts, left_out = self._waiting, self._left_out
            self._waiting, self._size, self._left_out, self._scheduled = [], 0, 0, False
        if left_out:
            texts.append(f"\n… {left_out:,} characters of live output were left out here\n")
        if texts:
            self._sent_at = self._loop.time()
            self._link.send({"live": self._call, "text": "".join(texts)})
