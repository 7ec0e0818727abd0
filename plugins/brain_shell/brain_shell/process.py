"""One child process: its own session, its streams as they come, and a sure end."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

DRAIN_SILENCE = 0.5
"""Seconds without output after which the pipes of an ended child are closed, whoever else holds them."""
DRAIN_TOTAL = 1.0
"""Seconds after a child's end after which they are closed in any case."""
GRACE = 2.0
"""Seconds between TERM and KILL."""
_POLL = 0.02
_CHUNK = 65_536
_REAP = 10.0


class Stream:
    """Decodes bytes as they come: bytes that are no UTF-8 become `\\xff`, a NUL becomes `\\x00`."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._show = show

    def feed(self, data: bytes, *, final: bool = False) -> None:
        if text := visible(self._decoder.decode(data, final)):
            self._show(text)


def visible(text: str) -> str:
    """Return the text with each NUL written as `\\x00`."""
    return text.replace("\0", "\\x00")


@dataclass(slots=True)
class Outcome:
    """How a child ended; `code` is negative for a signal. `total` counts what it wrote, kept or not."""

    code: int
    output: bytes
    total: int


class _Child:
    """A child and its streams, read by the event loop. asyncio itself makes three transports and, before Python 3.12, a
    thread for each child, which costs as much as the child."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int, stdout: Stream, stderr: Stream) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.kept = bytearray()
        self.total = 0
        self.heard = loop.time()
        self._loop = loop
        self._limit = limit
        self._process = process
        self._streams = {1: stdout, 2: stderr}
        self._open: dict[int, int] = {}
        self._writing = -1
        self._unwritten = memoryview(b"")
        for number, pipe in ((1, process.stdout), (2, process.stderr)):
            fd = self._open[number] = cast(IO[bytes], pipe).fileno()
            os.set_blocking(fd, False)
            loop.add_reader(fd, self._read, number, fd)
        self._pidfd = _pidfd_of(process.pid)
        if self._pidfd >= 0:
            loop.add_reader(self._pidfd, self._reap)
        else:
            threading.Thread(target=self._wait, name=f"brain-wait-{process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int:
        return cast(int, self._process.returncode)

    def write(self, data: bytes) -> None:
        """Give the child its standard input; a child that closes it early misses the rest."""
        self._writing = cast(IO[bytes], self._process.stdin).fileno()
        os.set_blocking(self._writing, False)
        self._unwritten = memoryview(data)
        self._loop.add_writer(self._writing, self._write)

    def _write(self) -> None:
        try:
            self._unwritten = self._unwritten[os.write(self._writing, self._unwritten[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:
            self._unwritten = memoryview(b"")
        if not self._unwritten:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing >= 0:
            self._loop.remove_writer(self._writing)
            cast(IO[bytes], self._process.stdin).close()
            self._writing = -1

    def _read(self, number: int, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stop_reading(number)
            return
        self.heard = self._loop.time()
        if number == 1:
            self.total += len(data)
            if (room := self._limit - len(self.kept)) > 0:
                self.kept += data[:room]
        self._streams[number].feed(data)

    def _stop_reading(self, number: int) -> None:
        fd = self._open.pop(number, -1)
        if fd >= 0:
            self._loop.remove_reader(fd)
            cast(IO[bytes], self._process.stdout if number == 1 else self._process.stderr).close()
        if not self._open and not self.closed.done():
            self.closed.set_result(None)

    def _reap(self) -> None:
        if self._process.poll() is None:
            return
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exited.done():
            self.exited.set_result(None)

    def _wait(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._reap)

    async def drained(self) -> None:
        """Wait until the pipes are closed, or a child of the child holds them and says nothing more."""
        end = self._loop.time() + DRAIN_TOTAL
        while not self.closed.done():
            left = min(end, max(self.heard + DRAIN_SILENCE, end - DRAIN_TOTAL + DRAIN_SILENCE)) - self._loop.time()
            if left <= 0:
                return
            await asyncio.wait([self.closed], timeout=left)

    def close(self) -> None:
        """Let go of the pipes, whoever holds their other ends. A child that has not ended is still waited for."""
        self._stop_writing()
        for number in tuple(self._open):
            self._stop_reading(number)
        for stream in self._streams.values():
            stream.feed(b"", final=True)


def _pidfd_of(pid: int) -> int:
    """Return a descriptor that becomes readable when a child ends, -1 where there is no such thing."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return -1


async def run(
    argv: list[bytes],
    *,
    env: dict[bytes, bytes],
    cwd: Path,
    stdin: bytes | None,
    limit: int,
    stdout: Stream,
    stderr: Stream,
) -> Outcome:
    """Run a program to its end; on cancellation its whole process group ends before this returns.

    Standard output is kept up to `limit` bytes and counted beyond. What a background process of the child still holds
    open is left to it a moment after the child's end.
    """
    # Returns when the child has begun its program: the parent stands still for it, but nothing of it is copied (vfork).
    process = subprocess.Popen(  # noqa: ASYNC220 - what asyncio does as well
        argv,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    child = _Child(process, limit, stdout, stderr)
    try:
        if stdin is not None:
            child.write(stdin)
        await asyncio.shield(child.exited)
        if not child.closed.done():
            await child.drained()
    except asyncio.CancelledError:
        await _end(child)
        raise
    finally:
        child.close()
    return Outcome(child.code, bytes(child.kept), child.total)


async def _end(child: _Child) -> None:
    """TERM to the group, KILL to what is left of it after the grace; the child is reaped in any case."""
    loop, group = asyncio.get_running_loop(), child.pid
    _signal(group, signal.SIGTERM)
    end = loop.time() + GRACE
    try:
        # No event tells that a process group is empty, so it is asked.
        while loop.time() < end and (not child.exited.done() or _lives(group)):  # noqa: ASYNC110
            await asyncio.sleep(_POLL)
    except asyncio.CancelledError:
        pass  # asked a second time: no grace
    _signal(group, signal.SIGKILL)
    end = loop.time() + _REAP
    while loop.time() < end and (not child.exited.done() or _lives(group)):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(_POLL)


def _lives(group: int) -> bool:
    """Whether a process of the group is left that is more than a zombie (which nobody may be there to reap)."""
    if not _signal(group, 0):
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        with contextlib.suppress(OSError, IndexError):
            state, _, pgrp = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                return True
    return not stats


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; False when nothing of it is left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it belongs to another user by now (sudo)
    return True
