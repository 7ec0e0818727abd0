"""One child process: its own session, its streams as they come, and a sure end."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

DRAIN_SILENCE = 0.5
"""Seconds without output after which the pipes of an ended child are closed, whoever else holds them."""
DRAIN_TOTAL = 1.0
"""Seconds after a child's end after which they are closed in any case."""
GRACE = 2.0
"""Seconds between TERM and KILL."""
_POLL = 0.02
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


class _Protocol(asyncio.SubprocessProtocol):
    def __init__(self, limit: int, stdout: Stream, stderr: Stream) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.kept = bytearray()
        self.total = 0
        self.heard = loop.time()
        self._loop = loop
        self._limit = limit
        self._streams = {1: stdout, 2: stderr}
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.heard = self._loop.time()
        if fd == 1:
            self.total += len(data)
            if (room := self._limit - len(self.kept)) > 0:
                self.kept += data[:room]
        self._streams[fd].feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open and not self.closed.done():
            self.closed.set_result(None)

    def process_exited(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    async def drained(self) -> None:
        """Wait until the pipes are closed, or a child of the child holds them and says nothing more."""
        end = self._loop.time() + DRAIN_TOTAL
        while not self.closed.done():
            left = min(end, max(self.heard + DRAIN_SILENCE, end - DRAIN_TOTAL + DRAIN_SILENCE)) - self._loop.time()
            if left <= 0:
                return
            await asyncio.wait([self.closed], timeout=left)

    def flush(self) -> None:
        for stream in self._streams.values():
            stream.feed(b"", final=True)


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
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            lambda: _Protocol(limit, stdout, stderr),
            *argv,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    )
    cancelled: asyncio.CancelledError | None = None
    try:
        transport, protocol = await asyncio.shield(starting)
    except asyncio.CancelledError as error:
        # The start itself is never cut in half: then nobody would know the child.
        cancelled = error
        transport, protocol = await starting
    try:
        if cancelled is not None:
            raise cancelled
        if stdin is not None:
            _write(transport, stdin)
        await asyncio.shield(protocol.exited)
        await protocol.drained()
    except asyncio.CancelledError:
        await _end(transport.get_pid(), protocol)
        raise
    finally:
        transport.close()
        protocol.flush()
    return Outcome(cast(int, transport.get_returncode()), bytes(protocol.kept), protocol.total)


def _write(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    pipe = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
    pipe.write(data)
    pipe.close()


async def _end(group: int, protocol: _Protocol) -> None:
    """TERM to the group, KILL to what is left of it after the grace; the child is reaped in any case."""
    loop = asyncio.get_running_loop()
    _signal(group, signal.SIGTERM)
    end = loop.time() + GRACE
    try:
        # No event tells that a process group is empty, so it is asked.
        while loop.time() < end and (not protocol.exited.done() or _lives(group)):  # noqa: ASYNC110
            await asyncio.sleep(_POLL)
    except asyncio.CancelledError:
        pass  # asked a second time: no grace
    _signal(group, signal.SIGKILL)
    end = loop.time() + _REAP
    while loop.time() < end and (not protocol.exited.done() or _lives(group)):
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
