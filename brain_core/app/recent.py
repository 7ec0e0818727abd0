"""Recent: what was read a moment ago is taken to be so still, and who asks at once shares one read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

REMEMBERED = 0.5
"""Seconds for which a value is taken to be as it was, from when its read began."""


class Recent(Generic[Key, Value]):
    """A cache of what `read` returns for a key; of one event loop. What `read` raises is not remembered.

    It holds `most` values at most: keys may come from strangers, who must not fill the memory.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Value]], most: int) -> None:
        self._read = read
        self._most = most
        self._values: dict[Key, tuple[Value, float]] = {}
        self._reads: dict[Key, asyncio.Task[Value]] = {}

    async def get(self, key: Key) -> Value:
        """Return the value of a key, as it was a moment ago."""
        found = self._values.get(key)
        if found is not None and monotonic() < found[1]:
            return found[0]
        reading = self._reads.get(key)
        if reading is None:
            reading = self._reads[key] = asyncio.create_task(self._renew(key), name="brain-recent")
            reading.add_done_callback(lambda done: self._ended(key, done))
        # Shielded: others wait for the same value.
        return await asyncio.shield(reading)

    def forget(self, key: Key, value: Value) -> None:
        """Read the value of a key anew when it is asked for next, unless it was since this value.

        A read that is on its way may have begun before the change: nobody waits for it any more.
        """
        found = self._values.get(key)
        if found is not None and found[0] is value:
            del self._values[key]
            self._reads.pop(key, None)

    async def _renew(self, key: Key) -> Value:
        until = monotonic() + REMEMBERED
        value = await self._read(key)
        if self._reads.get(key) is asyncio.current_task():
            if len(self._values) >= self._most:
                self._values.clear()
            self._values[key] = value, until
        return value

    def _ended(self, key: Key, done: asyncio.Task[Value]) -> None:
        if self._reads.get(key) is done:
            del self._reads[key]
        if not done.cancelled():
            done.exception()  # whoever has asked may be gone: then nobody looks
