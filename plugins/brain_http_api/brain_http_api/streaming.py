"""Streaming the events of a run to one client, until the run has ended, the client has gone, or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from fastapi.sse import format_sse_event
from starlette.responses import Response

from brain_core import facade
from brain_http_api.encoding import json_text, step_text
from brain_http_api.problems import Problem, send_problem
from brain_http_api.waiting import gone

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from brain_core.facade import RunEvent
    from brain_http_api.api import Api

logger = logging.getLogger("brain.http_api")

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that nobody between takes the connection for dead."""
ASK_AGAIN = 5.0
"""Seconds after which it is asked again whether the token of a stream is still valid."""
RETRY = 2_000
"""Milliseconds after which a client connects again."""
_AHEAD = 500
"""Events that are read before the client has taken those before them."""
_ENOUGH = 256 * 1024
"""Bytes that are sent at once, if so much is there."""


def refuse_more(api: Api) -> None:
    """Raise a Problem when there are as many streams as there may be."""
    if len(api.streams) >= api.settings.max_streams:
        raise Problem(503, "busy", f"{api.settings.max_streams} event streams are open (the setting max_streams)")


class EventStream(Response):
    """The answer that sends events, as long as the token is valid. It holds a place among the streams while it does."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(self, api: Api, events: AsyncIterator[RunEvent], token: str) -> None:
        self._api = api
        self._token = token
        self._events = events
        self._ready: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._waiting = 0
        self._taken = asyncio.Event()
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers({"X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refuse_more(self._api)
        except Problem as problem:
            await send_problem(send, problem)
            return
        self._api.streams.add(self)
        reading = asyncio.create_task(self._read())
        ends = (gone(receive), self._refused(), self._api.closing.wait())
        leaving: list[asyncio.Task[Any]] = [asyncio.create_task(end) for end in ends]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send(send, leaving)
        finally:
            self._api.streams.discard(self)
            for task in (reading, *leaving):
                task.cancel()
            await asyncio.wait({reading, *leaving})

    async def _send(self, send: Send, leaving: list[asyncio.Task[Any]]) -> None:
        client, refused, closing = leaving
        chunk: bytes | None = format_sse_event(retry=RETRY)
        while chunk is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            getting = asyncio.create_task(self._ready.get())
            try:
                await asyncio.wait({getting, *leaving}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                if client.done():
                    return
                if refused.done() or closing.done():
                    why = "the token is not valid any longer" if refused.done() else "the server stops; connect again"
                    chunk = format_sse_event(comment=why)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    break
                chunk = self._more(getting.result()) if getting.done() else format_sse_event(comment="")
            finally:
                getting.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _more(self, first: bytes | None) -> bytes | None:
        """Return an event with those that are there too; None at the end."""
        if first is None:
            return None
        chunks, size = [first], len(first)
        # One event may hold a whole output: what is read ahead is bounded by bytes, too.
        self._waiting = 0
        self._taken.set()
        while size < _ENOUGH and not self._ready.empty():
            following = self._ready.get_nowait()
            if following is None:
                self._ready.put_nowait(None)
                break
            chunks.append(following)
            size += len(following)
        return b"".join(chunks)

    async def _chunk(self, event: RunEvent) -> bytes:
        if event.step is None:
            text = json_text(_data(event))
        else:
            # It may hold a large output, and a hundred streams may come to theirs at once.
            async with self._api.large:
                text = await step_text(facade.step_shape(event.step))
        return format_sse_event(event=event.kind, data_str=text, id=event.id)

    async def _hand_on(self, chunk: bytes) -> None:
        while self._waiting > _ENOUGH:
            self._taken.clear()
            await self._taken.wait()
        self._waiting += len(chunk)
        await self._ready.put(chunk)

    async def _refused(self) -> None:
        """Return when the token is not valid any longer: one that was revoked must not go on hearing."""
        while True:
            await asyncio.sleep(ASK_AGAIN)
            # A database that is away ends the stream elsewhere.
            with contextlib.suppress(facade.DatabaseError):
                if await self._api.tokens.access(self._token) is None:
                    return

    async def _read(self) -> None:
        """Read events ahead of the client, and close them whatever happens."""
        try:
            async with contextlib.aclosing(cast(Any, self._events)) as events:
                async for event in events:
                    await self._hand_on(await self._chunk(event))
            last = format_sse_event(event="end", data_str="{}")
        except facade.BrainError as error:
            away = isinstance(error, facade.DatabaseError)
            last = format_sse_event(comment="the database is away; connect again" if away else "the run is gone")
        except Exception:
            logger.exception("an event stream failed")
            last = format_sse_event(comment="a bug of the server; its log says more")
        await self._ready.put(last)
        await self._ready.put(None)


def _data(event: RunEvent) -> Any:
    if event.run is not None:
        return facade.run_shape(event.run, steps=False)
    return {"step": event.step_name, "text": event.text} if event.kind == "live" else {"step": event.step_name}
