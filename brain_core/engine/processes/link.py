"""Messages between two processes: JSON in frames with a length in front, gathered for each turn of the loop.

A frame is four bytes of length, then a JSON array of messages. JSON and never pickle: what a runner says is data, and
workflow code lives in there.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from brain_core.errors import BrainError

Message: TypeAlias = dict[str, Any]

BATCH = 256 * 1024
"""Characters after which what was gathered goes out at once."""

_HEAD = struct.Struct("!I")
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class MessageTooLarge(BrainError):
    """A message is larger than a frame may be; it was not sent."""


class Frames:
    """Cuts a stream of bytes into messages; ValueError when it is no such stream or a frame is over the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit + BATCH
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= 4:
            size: int = _HEAD.unpack_from(buffer, at)[0]
            if size > self._limit:
                raise ValueError(f"a frame of {size:,} bytes; the limit is {self._limit:,}")
            if len(buffer) - at - 4 < size:
                break
            batch = json.loads(buffer[at + 4 : at + 4 + size])
            if not isinstance(batch, list) or not all(isinstance(message, dict) for message in batch):
                raise ValueError("a frame that holds something else")
            messages += batch
            at += 4 + size
        if at:
            del buffer[:at]
        return messages


class Link(asyncio.Protocol):
    """One end of a connection. `receive` gets each message in order, `lost` is called once with the reason."""

    def __init__(self, receive: Callable[[Message], None], lost: Callable[[str], None], limit: int) -> None:
        self._receive = receive
        self._lost = lost
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(limit)
        self._waiting: list[str] = []
        self._size = 0
        self._transport: asyncio.Transport | None = None
        self._free = asyncio.Event()
        self._free.set()
        self.on_free: Callable[[], None] | None = None
        """Called when the other end reads again."""

    @classmethod
    async def open(
        cls, end: socket.socket, receive: Callable[[Message], None], lost: Callable[[str], None], limit: int
    ) -> Link:
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(receive, lost, limit), sock=end)
        return link

    @property
    def full(self) -> bool:
        """Whether the other end reads more slowly than this one writes."""
        return not self._free.is_set()

    async def room(self) -> None:
        """Wait until the other end has read most of what was sent."""
        await self._free.wait()

    def send(self, message: Message) -> None:
        """Send a message, with others of this turn; after the end of the link it goes nowhere."""
        text = _to_json(message)
        if len(text) > self._limit:
            raise MessageTooLarge(f"{len(text):,} bytes are more than a runner process takes at once ({self._limit:,})")
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(text)
        self._size += len(text) + 1
        if self._size > BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting and self._transport is not None:
            # JSON is ASCII here: characters are bytes.
            body = ",".join(self._waiting)
            self._transport.write(b"".join((_HEAD.pack(len(body) + 2), b"[", body.encode("ascii"), b"]")))
        self._waiting.clear()
        self._size = 0

    def close(self) -> None:
        """Send what waits and close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever was not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except (ValueError, RecursionError) as error:
            self._say_lost(f"what came over it is no message ({error})")
            self.abort()
            return
        for message in messages:
            self._receive(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._free.set()
        self._say_lost(str(exc) if exc is not None else "closed")

    def _say_lost(self, why: str) -> None:
        lost, self._lost = self._lost, lambda why: None
        lost(why)

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()
        if self.on_free is not None:
            self.on_free()
