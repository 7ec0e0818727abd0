"""Front: what every request passes before an application has it, and every answer on its way out."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from brain_http_api.headers import CLOSE, common_headers
from brain_http_api.problems import Problem, send_problem

if TYPE_CHECKING:
    from brain_http_api.api import Api
    from brain_http_api.headers import RawHeaders

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("brain.http_api")

BODIES = 64 * 1024 * 1024
"""Bytes of all bodies that are arriving or in hand together: they come from anybody, before a token is looked at."""
_PEER = "brain_http_api.peer"
_CLOSE = {"Connection": "close"}


class Front:
    """The outer application: hands on whole requests, deliveries to `hooks` and all others to `app`.

    What it refuses it answers with a problem; so it does when an application fails before it has begun to answer.
    """

    def __init__(self, api: Api, app: Application, hooks: Application) -> None:
        self._api = api
        self._settings = api.settings
        self._app = app
        self._hooks = hooks
        self._most_bodies = max(BODIES, self._settings.max_body)
        self._in_hand = 0
        self._bodies = 0
        self._forwarded: Any = None
        if self._settings.trusted_proxies:
            self._forwarded = ProxyHeadersMiddleware(self._admit, list(self._settings.trusted_proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, self._api.closing)
        try:
            if self._forwarded is None:
                await self._admit(scope, receive, answer.send)
            else:
                scope[_PEER] = scope["client"]
                await self._forwarded(scope, receive, answer.send)
        except Problem as problem:
            await send_problem(answer.send, problem)
        except Exception as error:
            # One that is answered has been logged by who answered it.
            if not answer.complete:
                logger.exception("%s %s failed", scope["method"], ascii(scope["path"][:200]))
                if answer.begun:
                    # The client must not take it for whole: the connection is closed in the midst of it.
                    raise
                detail = "this is a bug of the server; its log says more"
                await send_problem(answer.send, Problem(500, "internal", detail))
            else:
                logger.debug("after an answer: %r", error)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._api.closing.is_set():
            raise Problem(503, "closing", "the server stops; try again later", _CLOSE)
        if _PEER in scope and not _is_address(scope["client"]):
            scope["client"] = scope[_PEER]
        within = self._put_below_root(scope)
        body = await self._body(scope, receive)
        if body is None:
            return
        if self._in_hand >= self._settings.max_requests:
            self._bodies -= len(body)
            raise Problem(503, "busy", "too many requests at once; try again later")
        self._in_hand += 1
        try:
            target = self._hooks if within.startswith("/hooks/") and scope["method"] == "POST" else self._app
            await target(scope, _given(body, receive), send)
        finally:
            self._in_hand -= 1
            self._bodies -= len(body)

    def _put_below_root(self, scope: Scope) -> str:
        """Make path and root path what ASGI says, whether a proxy has taken the root path off or not."""
        root, path = self._settings.root_path, str(scope["path"])
        if not root:
            return path
        scope["root_path"] = root
        if path == root or path.startswith(root + "/"):
            return path[len(root) :]
        scope["path"] = root + path
        scope["raw_path"] = root.encode() + scope["raw_path"]
        return path

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, which counts as in hand then; None when the client has gone before its end."""
        size: int | None = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                size = int(value)
            elif name == b"transfer-encoding":
                size = -1
        if not size:
            return b""
        if size > self._settings.max_body:
            raise self._too_large()
        body = bytearray()
        whole = False
        try:
            whole = await self._read(receive, body)
        finally:
            if not whole:
                self._bodies -= len(body)
        return bytes(body) if whole else None

    async def _read(self, receive: Receive, body: bytearray) -> bool:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            piece = message["body"]
            body += piece
            self._bodies += len(piece)
            if len(body) > self._settings.max_body:
                raise self._too_large()
            if self._bodies > self._most_bodies:
                raise Problem(503, "busy", "too much is sent at once; try again later", _CLOSE)
            if not message["more_body"]:
                return True

    def _too_large(self) -> Problem:
        return Problem(413, "too-large", f"the body is larger than {self._settings.max_body} bytes", _CLOSE)


class _Answer:
    """One answer on its way: gets the headers that all have, and the connection's end when the server closes."""

    def __init__(self, send: Send, closing: asyncio.Event) -> None:
        self._send = send
        self._closing = closing
        self.begun = self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers: RawHeaders = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers += [header for header in common_headers() if header[0] not in given]
            if self._closing.is_set() and CLOSE[0] not in given:
                headers.append(CLOSE)
            message = {**message, "headers": headers}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def _given(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out the whole body at once, and then waits for the client to go."""
    first = True

    async def given() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message

    return given


def _is_address(client: Any) -> bool:
    try:
        ipaddress.ip_address(client[0])
    except (ValueError, TypeError):
        return False
    return True
