"""Text that may grow without end, kept within a bound: its beginning and its end (G24)."""

from __future__ import annotations

import threading
from collections import deque


class BoundedText:
    """Keeps the first and the last half of `limit` characters and counts what fell out between them.

    Any thread may add.
    """

    def __init__(self, limit: int) -> None:
        if limit < 2:
            raise ValueError(f"limit is {limit}; it has to be 2 at least")
        self._half = limit // 2
        self._room = limit - self._half
        self._lock = threading.Lock()
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self.cut = 0
        """How many characters have been left out so far."""

    def add(self, text: str) -> None:
        with self._lock:
            self._add(text)

    def _add(self, text: str) -> None:
        room = self._half - self._head_size
        if room > 0:
            self._head.append(text[:room])
            self._head_size += min(room, len(text))
            text = text[room:]
        if not text:
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > self._room:
            over = self._tail_size - self._room
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            dropped = min(over, len(first))
            self._tail_size -= dropped
            self.cut += dropped

    def text(self) -> str:
        """Return what is kept, with a line that says how much is missing where something is."""
        with self._lock:
            head, tail, cut = "".join(self._head), "".join(self._tail), self.cut
        return head + tail if not cut else f"{head}\n[… {cut:,} characters left out …]\n{tail}"
