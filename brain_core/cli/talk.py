"""Talk that waits for no reader: a paused pager or a stopped terminal must not stop the run that it is about."""

from __future__ import annotations

import os
import stat
import threading
from collections import deque

from brain_core.cli import output

MAX_WAITING = 4 * 1024 * 1024
"""How many characters of live text may wait for a reader; more of it is left out, and what is left out is said."""

_PIECE = 65_536
_STALL = 0.1


class Talk:
    """Writes to stderr, where that could block from a thread of its own; any thread may use it.

    Lines are kept until they are written, and are written before what the caller does next while the reader keeps up.
    """

    def __init__(self) -> None:
        self._fd = _descriptor_that_may_block()
        self._encoding = getattr(output.stderr(), "encoding", None) or "utf-8"
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._chars = 0
        self._left_out = 0
        self._stalled = False
        self._nobody_reads = False
        self._started = False

    def line(self, text: str) -> None:
        """Write a line; it is never left out."""
        if self._fd is None:
            output.note(text)
            return
        with self._changed:
            self._add(text + "\n")
            if not self._stalled and not self._changed.wait_for(self._all_written, _STALL):
                self._stalled = True

    def live(self, text: str) -> None:
        """Write text as it is, or leave it out when too much waits already."""
        if self._fd is None:
            output.talk(text)
            return
        with self._changed:
            if self._chars + len(text) > MAX_WAITING:
                self._left_out += len(text)
            else:
                self._add(text)

    def close(self, patience: float | None = None) -> None:
        """Wait until everything is written or nobody reads any more, for `patience` seconds at most."""
        with self._changed:
            if self._left_out:
                self._add("")
            # Looked at again and again: a signal that comes just before a wait without end would be heard after it.
            waited = 0.0
            while not self._changed.wait_for(self._all_written, _STALL):
                waited += _STALL
                if patience is not None and waited >= patience:
                    return

    def _all_written(self) -> bool:
        return not self._chars

    def _add(self, text: str) -> None:
        if self._left_out:
            text = f"\n[… {self._left_out:,} characters of live output left out: nobody read them …]\n{text}"
            self._left_out = 0
        if self._nobody_reads:
            return
        self._waiting.append(text)
        self._chars += len(text)
        if not self._started:
            self._started = True
            threading.Thread(target=self._write_all, name="brain-talk", daemon=True).start()
        self._changed.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                text = self._waiting.popleft()
            if not self._written(text):
                with self._changed:
                    self._nobody_reads = True
                    self._waiting.clear()
                    self._chars = 0
                    self._changed.notify_all()
                return
            with self._changed:
                self._chars -= len(text)
                if not self._chars:
                    self._stalled = False
                    self._changed.notify_all()

    def _written(self, text: str) -> bool:
        # Not by way of the stream: its lock, held by a thread that waits for a reader, would stop everybody else.
        data = memoryview(text.encode(output.stderr().encoding or "utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(-1 if self._fd is None else self._fd, data[:_PIECE]) :]
        except OSError:
            return False
        return True


def _descriptor_that_may_block() -> int | None:
    """Return stderr's descriptor when a reader could keep a writer waiting: a pipe, a socket or a terminal."""
    try:
        descriptor = output.stderr().fileno()
        mode = os.fstat(descriptor).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor) else None
