"""A TCP proxy before PostgreSQL, in a thread of its own, that keeps back the reply to what was committed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Fault = Literal["cut", "hole"]
# BindComplete: the beginning of the answer to a statement that has run (and, without a transaction, is committed).
BIND_COMPLETE = b"2\x00\x00\x00\x04"


class Wire:
    """Passes everything on until it is armed with the text of a statement; then it strikes once.

    The reply to the statement is swallowed, and the connection is `cut`, or becomes a black `hole` that stays open.
    The client has to send its statements as text each time, as it does behind a pooler.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._armed: tuple[bytes, Fault] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.struck = 0
        self.url = ""

    def arm(self, statement: str, fault: Fault) -> None:
        # The whole text may come in several pieces.
        self._armed = statement.encode()[:400], fault

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        account = self._parts.netloc.rpartition("@")[0] or "brain"
        self.url = f"postgresql://{account}@127.0.0.1:{port}{self._parts.path}?sslmode=disable"
        ready.set()
        await stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        host = parse_qs(self._parts.query).get("host", [""])[0] or self._parts.hostname or "localhost"
        port = self._parts.port or 5432
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        link = Link(self)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(link.up(reader, upstream[1]), link.down(upstream[0], writer))
        for end in (writer, upstream[1]):
            end.close()


class Link:
    """One connection through the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._fault: Fault | None = None
        self._hole = False

    async def up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            armed = self._wire._armed
            if armed is not None and armed[0] in data:
                self._fault, self._wire._armed = armed[1], None
            if not self._hole:
                writer.write(data)
                await writer.drain()
        writer.close()

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._fault is not None and BIND_COMPLETE in data:
                self._wire.struck += 1
                if self._fault == "cut":
                    break
                self._fault, self._hole = None, True
            if not self._hole:
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    """Open a wire before a server; `url` of what is yielded leads through it."""
    made, ready = Wire(url), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(made.serve(ready, stop),))
    thread.start()
    try:
        assert ready.wait(30)
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
