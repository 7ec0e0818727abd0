"""The transport as uvicorn has it, answers that are written past uvicorn, and who is at the other end."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import struct
import termios
from collections import deque
from http import HTTPStatus
from typing import Any, Protocol

from brain_http_api.headers import CLOSE, common_headers
from brain_http_api.problems import MEDIA_TYPE, Problem

_PIECE = 64 * 1024
_INT = struct.Struct("i")


class Ending(Protocol):
    """Who ends a connection in good order."""

    ended: bool

    def end(self) -> None:
        """Close it, once."""
        ...


class Wire(asyncio.Transport):
    """What closes it, closes it as the protocol does; and a head goes out together with what follows it at once.

    What is large is handed to the transport piece by piece, as it goes out: one of TLS takes everything, says that
    nothing is left, and throws away what it still has soon after it was closed.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Ending, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        transport.set_write_buffer_limits(_PIECE)
        self._transport = transport
        self._protocol = protocol
        self._loop = loop
        self._holds = False
        self._held: bytes | None = None
        self._full = False
        self._left: deque[memoryview] = deque()

    def hold(self) -> None:
        """Keep what is written next, to the end of this turn of the loop at most."""
        self._holds = True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._holds:
            self._holds = False
            self._held = bytes(data)
            self._loop.call_soon(self.flush)
        elif self._held is not None and len(data) <= _PIECE:
            data, self._held = self._held + data, None
            self._put(data)
        else:
            self.flush()
            self._put(data)

    def flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._put(held)

    def _put(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._transport.is_closing():
            return
        if self._full or len(data) > _PIECE:
            self._left.append(memoryview(data))
            self._hand_on()
        else:
            self._transport.write(data)

    def _hand_on(self) -> None:
        while self._left and not self._full and not self._transport.is_closing():
            data = self._left.popleft()
            if len(data) > _PIECE:
                self._left.appendleft(data[_PIECE:])
            self._transport.write(data[:_PIECE])

    def pause(self) -> None:
        """The transport has enough for now."""
        self._full = True

    def resume(self) -> bool:
        """The transport takes more; return whether it has got everything, and not too much of it."""
        self._full = False
        self._hand_on()
        return not self._full

    def forget(self) -> None:
        """Nothing goes out any more."""
        self._held = None
        self._left.clear()

    @property
    def unsent(self) -> int:
        """How many bytes have not gone out."""
        return sum(map(len, self._left)) + self._transport.get_write_buffer_size()

    @property
    def under_way(self) -> int:
        """How many bytes have not arrived; the system holds megabytes, and takes more when a third has gone out."""
        return self.unsent + _queued(self._transport.get_extra_info("socket"))

    def close(self) -> None:
        self._protocol.end()

    def is_closing(self) -> bool:
        return self._protocol.ended or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


def _queued(sock: Any) -> int:
    """Return how many bytes of a socket wait in the system to be sent or to be confirmed."""
    try:
        (size,) = _INT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))
    except OSError:
        return 0  # it is closed
    return int(size)


def answer_of(problem: Problem) -> bytes:
    """Return the bytes of an answer after which the connection ends."""
    status = HTTPStatus(problem.status)
    body = problem.body
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [*common_headers(), CLOSE]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, status.phrase.encode(), lines, body)


def plain_address(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """Return an address of IPv4 as such when it comes as one of IPv6."""
    if client is not None and client[0].startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(client[0]).ipv4_mapped
        return client if mapped is None else (str(mapped), client[1])
    return client
