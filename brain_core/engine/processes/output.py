"""What workflow code prints, read by the daemon: always read, never faster than it can bear, kept up to a limit."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable

READ_A_SECOND = 4 * 1024 * 1024
"""Bytes after which whoever prints has to wait for the next second."""

KEPT_A_SECOND = 64 * 1024
"""Bytes of them that are handed on; the rest is counted."""

_CHUNK = 65_536


class Output:
    """Reads a runner's standard output and error from `fd` and hands text to `hear` until it ends or is closed."""

    def __init__(self, fd: int, hear: Callable[[str], None]) -> None:
        self._fd = fd
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._second = 0.0
        self._read = self._left_out = 0
        self._later: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._take)

    def _take(self) -> None:
        now = self._loop.time()
        if now - self._second >= 1:
            self._say_left_out()
            self._second, self._read = now, 0
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        kept = data[: max(0, KEPT_A_SECOND - self._read)]
        self._read += len(data)
        self._left_out += len(data) - len(kept)
        if kept:
            self._hear(self._decoder.decode(kept))
        if self._read >= READ_A_SECOND:
            self._loop.remove_reader(self._fd)
            self._later = self._loop.call_at(self._second + 1, self._resume)

    def _resume(self) -> None:
        self._later = None
        self._loop.add_reader(self._fd, self._take)

    def _say_left_out(self) -> None:
        if self._left_out:
            self._hear(f"\n… {self._left_out:,} bytes of printed text were left out here\n")
            self._left_out = 0

    def drain(self) -> None:
        """Take what is in the pipe now: the last words of a process that has ended."""
        for _ in range(16):
            if self._fd >= 0 and self._later is None:
                self._take()

    def close(self) -> None:
        if self._fd >= 0:
            if self._later is not None:
                self._later.cancel()
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._say_left_out()
