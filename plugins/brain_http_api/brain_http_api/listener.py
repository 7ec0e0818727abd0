"""Listener: the socket of a server, what is accepted from it, and the end of both."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from brain_http_api.protocol import HttpProtocol, Wires

if TYPE_CHECKING:
    import socket
    import ssl

    from uvicorn.config import Config

logger = logging.getLogger("brain.http_api")

LAST_ANSWERS = 1.0
"""Seconds in which what still waits at the end of the grace answers with what there is."""
_LAST_TURN = 0.5
_AT_ONCE = 64
"""How many connections are accepted in one turn, and how many that are too many are told so at one time."""
_PAUSE = 1.0
_SAID_EVERY = 60.0
_GONE = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR})


class Listener:
    """Accepts connections of one listening socket, `most` at once, from its making until `stop`.

    Done here and not by asyncio, whose servers count no connections and know of none in its TLS handshake.
    """

    def __init__(
        self, sock: socket.socket, config: Config, wires: Wires, *, most: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._sock: socket.socket | None = sock
        self._config = config
        self._wires = wires
        self._most = most
        self._tls: dict[str, Any] = {}
        if tls is not None:
            limits = wires.settings
            self._tls = {
                "ssl": tls,
                "ssl_handshake_timeout": limits.header_timeout,
                "ssl_shutdown_timeout": limits.send_timeout,
            }
        self._arriving: set[asyncio.Task[None]] = set()
        self._resume: asyncio.TimerHandle | None = None
        self._said = -_SAID_EVERY
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Listen no more; connections that are there stay."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        if self._resume is not None:
            self._resume.cancel()
        for task in self._arriving:
            task.cancel()

    async def stop(self, grace: float, cut: asyncio.Event) -> None:
        """Listen no more, let what is in hand be answered within `grace` seconds, then set `cut`, and close the rest.

        Cancelled, it closes all at once.
        """
        self.close()
        for connection in self._wires.ours:
            connection.shutdown()
        try:
            if not await self._quiet(grace):
                cut.set()
                await self._quiet(LAST_ANSWERS)
        finally:
            tasks = self._cut()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_TURN)

    def _cut(self) -> list[asyncio.Task[None]]:
        for connection in [*self._wires.ours, *self._wires.refused]:
            connection.cut()
        tasks = [*self._wires.tasks, *self._arriving]
        for task in tasks:
            task.cancel()
        return tasks

    async def _quiet(self, seconds: float) -> bool:
        """Wait until no connection and no request is left; return whether that came in time."""
        wires = self._wires
        try:
            async with asyncio.timeout(seconds):
                while wires.connections or wires.refused or wires.tasks or self._arriving:
                    if tasks := [*wires.tasks, *self._arriving]:
                        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        wires.changed.clear()
                        await wires.changed.wait()
        except TimeoutError:
            return False
        return True

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._sock is None:
                return
            try:
                connection, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE:
                    self._pause(self._sock, error)
                return
            connection.setblocking(False)
            self._welcome(connection)

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        """Leave the socket alone for a second: it would be ready again at once, and nothing would have changed."""
        self._loop.remove_reader(sock)
        self._resume = self._loop.call_later(_PAUSE, self._loop.add_reader, sock, self._accept)
        if monotonic() - self._said >= _SAID_EVERY:
            self._said = monotonic()
            logger.warning("no connection can be taken at the moment: %s", error.strerror)

    def _welcome(self, connection: socket.socket) -> None:
        full = len(self._wires.connections) + len(self._arriving) >= self._most
        if full and (self._tls or len(self._wires.refused) >= _AT_ONCE):
            # To tell it so would take a handshake, or there are too many already to whom that is told.
            connection.close()
            return
        task = self._loop.create_task(self._receive(connection, full=full))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        # One that is cancelled before its first turn closes nothing by itself.
        task.add_done_callback(lambda done: connection.close() if done.cancelled() else None)

    async def _receive(self, connection: socket.socket, *, full: bool) -> None:
        def protocol() -> HttpProtocol:
            return HttpProtocol(self._config, self._wires, full=full)

        # A handshake that fails has closed the connection, and is the client's business.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(protocol, connection, **self._tls)
