"""Waiting for work or for an event, whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, Answer]) -> Answer | None:
    """Do some work; when the event comes first, cancel it and return None once it has ended."""
    task = asyncio.ensure_future(work)
    coming = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, coming}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        coming.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()


class BackOff:
    """Pauses between tries at the same thing: `first` seconds, then twice as long each time, up to `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._about: object = None
        self._next = first

    def pause(self, about: object) -> float:
        """Return how long to wait before the next try at `about`; another thing than the last begins anew."""
        if about != self._about:
            self.reset()
            self._about = about
        pause, self._next = min(self._next, self._longest), min(2 * self._next, self._longest)
        return pause

    def reset(self) -> None:
        """It went on."""
        self._about, self._next = None, self._first
