"""An application of the test's own behind the real front, protocol and listener; and clients of bare bytes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_http_api.api import Api
from brain_http_api.binding import listening_socket, tls_context
from brain_http_api.front import Application, Front, Receive, Scope, Send
from brain_http_api.listener import Listener
from brain_http_api.protocol import Wires
from brain_http_api.service import _config
from brain_http_api.settings import HttpApiSettings

PATIENCE = 60.0
"""Seconds after which what has not come never will."""

Address = tuple[str, int]


@dataclass
class Bare:
    """A server that listens."""

    api: Api
    listener: Listener
    wires: Wires
    address: Address

    async def stop(self, grace: float) -> None:
        self.api.closing.set()
        await self.listener.stop(grace, self.api.cut)


@asynccontextmanager
async def bare(
    app: Application, *, hooks: Application | None = None, host: str = "127.0.0.1", **more: Any
) -> AsyncIterator[Bare]:
    """Serve an application, with settings of the section (`max_body=…`)."""
    settings = HttpApiSettings(host=host, port=0, **more)
    # The front and what is below it ask neither the brain nor the tokens.
    nothing: Any = None
    api = Api(nothing, settings, nothing, nothing)
    sock = await listening_socket(host, 0)
    address = sock.getsockname()[:2]
    tls = None if settings.tls_cert is None else tls_context(settings.tls_cert, settings.tls_key or Path())
    wires = Wires(settings)
    config = _config(Front(api, app, hooks or app), settings)
    server = Bare(api, Listener(sock, config, wires, most=settings.max_connections, tls=tls), wires, address)
    try:
        yield server
    finally:
        await server.stop(0)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was asked."""
    message = await receive()
    said = {
        "method": scope["method"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode("latin-1"),
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": message["body"].decode("latin-1"),
        "more_body": message["more_body"],
    }
    await answer(send, json.dumps(said).encode())


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The end of a problem's `type`."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        assert self.json["detail"]
        return str(self.json["type"]).removeprefix("urn:brain-core:problem:")


class Client:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Read one answer, past any 100."""
        async with asyncio.timeout(PATIENCE):
            while (head := await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 "):
                pass
            answer = _parsed(head)
            if "content-length" in answer.headers:
                answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
            return answer

    async def rest(self) -> bytes:
        """Read to the end that the server makes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


@asynccontextmanager
async def connected(address: Address, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*address, ssl=tls)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def talked(address: Address, *data: bytes, tls: ssl.SSLContext | None = None) -> list[Answer]:
    """Send, and return the answers up to the end that the server makes."""
    async with connected(address, tls) as client:
        for piece in data:
            client.writer.write(piece)
        rest = await client.rest()
    answers = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        answer = _parsed(head)
        size = int(answer.headers.get("content-length", "0"))
        answer.body, rest = rest[:size], rest[size:]
        if answer.status != 100:
            answers.append(answer)
    return answers


def _parsed(head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), f"a header came twice: {lines}"
    return Answer(int(first.split(" ")[1]), headers, b"")
