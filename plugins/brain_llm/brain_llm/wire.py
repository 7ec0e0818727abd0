"""The HTTP client under every provider's library: bounded, without redirects, and with faults of one kind.

What a server sends is judged here, before a library reads it: an error status, a web page, a body without end and a
connection that breaks become a `Fault` each, which the libraries hand through.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx2

from brain_llm import faults
from brain_llm.endpoint import PROVIDERS, Endpoint

MAX_ERROR_BODY = 65_536
MAX_BODY = 128 * 1024 * 1024
"""Bytes of one answer on the wire; a token takes some 250 of them."""
MAX_LINE = 4 * 1024 * 1024
"""Bytes without a line end."""
CONNECT = 15.0
"""Seconds for making a connection."""
_DONE = re.compile(rb"\n(?:data: ?\[DONE\]|event: ?message_stop)[ \t]*(?:[\r\n]|$)")
"""A line of the protocol that ends a stream; in what a model says, a line end is written as \\n."""
_OWN_HEADERS = ("openai-organization", "openai-project")
"""What the library of OpenAI takes from its own environment variables and would send to anybody."""


class Watch:
    """What one call sees of its answer on the wire."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.tail = b"\n"

    @property
    def done(self) -> bool:
        """Whether the stream has said that it is complete."""
        return _DONE.search(self.tail) is not None


@cache
def certificates() -> ssl.SSLContext:
    """Return whom to trust. Read once: it takes a fifth of a second."""
    return httpx2.create_ssl_context()


WATCH: ContextVar[Watch] = ContextVar("brain_llm_watch")


class Client(httpx2.AsyncClient):
    """An HTTP client whose answers are bounded and whose faults are `Fault`s."""

    def __init__(self, url: str) -> None:
        super().__init__(
            # Without redirects nobody is ever asked for a certificate where the address has no https.
            verify=certificates() if url.startswith("https:") else False,
            # The stall limit bounds what is read; a pool that is full makes calls wait and fails none.
            timeout=httpx2.Timeout(None, connect=CONNECT),
            # Few idle ones: each of them is looked at with each request, and a hundred cost 4 ms.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=10, keepalive_expiry=60),
            follow_redirects=False,
            headers={"accept-encoding": "identity"},
        )

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        watch = WATCH.get()
        endpoint = watch.endpoint
        request.headers["accept-encoding"] = "identity"
        if endpoint.url != PROVIDERS["openai"].url:
            for name in _OWN_HEADERS:
                request.headers.pop(name, None)
        kwargs.update(stream=True, follow_redirects=False)
        try:
            response = await super().send(request, **kwargs)
        except httpx2.ConnectTimeout:
            raise faults.unreachable(endpoint, f"no connection within {CONNECT:g} s") from None
        except httpx2.ConnectError as error:
            raise faults.unreachable(endpoint, _why(error)) from None
        except httpx2.TransportError as error:
            raise faults.dropped(endpoint, _why(error)) from None
        try:
            await _judge(response, watch, streamed=request.method == "POST")
        except BaseException:
            await response.aclose()
            raise
        # The libraries need no more of them, and their debug logs would show what a server puts into others.
        response.headers = httpx2.Headers({"content-type": response.headers.get("content-type", "")})
        response.stream = _Bounded(response.stream, watch)
        return response


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer: no longer than it may be, in lines that end, and whole."""

    def __init__(self, stream: Any, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = line = 0
        watch = self._watch
        try:
            async for chunk in self._stream:
                total += len(chunk)
                line = line + len(chunk) if (end := chunk.rfind(b"\n")) < 0 else len(chunk) - end - 1
                if total > MAX_BODY:
                    raise faults.too_large(watch.endpoint, "an answer", MAX_BODY, "bytes")
                if line > MAX_LINE:
                    raise faults.too_large(watch.endpoint, "a line", MAX_LINE, "bytes")
                watch.tail = (watch.tail + chunk)[-256:]
                yield chunk
        except httpx2.TransportError as error:
            raise faults.dropped(watch.endpoint, _why(error)) from None

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _judge(response: httpx2.Response, watch: Watch, *, streamed: bool) -> None:
    """Raise the fault of an answer that is no success, or not of the kind that was asked for."""
    endpoint, status = watch.endpoint, response.status_code
    if status >= 300:
        body, _ = await read_some(response, watch, MAX_ERROR_BODY)
        raise faults.refused(endpoint, status, _headers(response), body, datetime.now(UTC))
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        packed = faults.said(endpoint, response.headers["content-encoding"], 40)
        raise faults.Fault(
            f"{endpoint.provider} packs its answer ({packed}) though it was asked not to; set provider_url to the "
            "server itself, without what stands between"
        )
    kind = response.headers.get("content-type", "")
    if not streamed or kind.lower().startswith("text/event-stream"):
        return
    body, _ = await read_some(response, watch, MAX_ERROR_BODY)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and found.get("error"):
        # Some servers say so with a 200; by its words it is sorted like any other.
        raise faults.refused(endpoint, 400, _headers(response), body, datetime.now(UTC))
    if isinstance(found, dict) and "choices" in found:
        raise faults.Fault(
            f"{endpoint.provider} answers in one piece where a stream was asked for; "
            "set provider_url to a server that can stream"
        )
    if found is not None:
        raise faults.other_json(endpoint, body, "answer of a model")
    raise faults.not_json(endpoint, body)


async def read_some(response: httpx2.Response, watch: Watch, limit: int) -> tuple[str, bool]:
    """Return the beginning of a body as text, and whether that is all of it."""
    data = b""
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]
            data += chunk
            if len(data) > limit:
                return data[:limit].decode("utf-8", "replace"), False
    except httpx2.TransportError as error:
        if not data:
            raise faults.dropped(watch.endpoint, _why(error)) from None
    return data.decode("utf-8", "replace"), True


def _headers(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _why(error: BaseException) -> str:
    """Return what the system said: the innermost cause knows, such as `[Errno 111] Connection refused`."""
    text = str(error)
    seen = 0
    inner: BaseException | None = error
    while inner is not None and seen < 10:
        if isinstance(inner, OSError) and inner.strerror:
            # asyncio puts its own words there, with the address that the message has already.
            own = inner.errno is not None and inner.strerror.startswith("Connect call failed")
            return os.strerror(inner.errno or 0) if own else inner.strerror
        text = text or str(inner)
        inner = inner.__cause__ or inner.__context__
        seen += 1
    return text or type(error).__name__
