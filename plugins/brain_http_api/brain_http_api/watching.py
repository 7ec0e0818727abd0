"""Watching: every request that reaches the application is counted when it has been answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from brain_http_api.metrics import Metrics

NO_ROUTE = "none"
_STREAM = b"text/event-stream"


class Watched:
    """An application whose requests are counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status, is_stream = time.monotonic(), 0, False

        async def watched(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = any(
                    value.startswith(_STREAM) for name, value in message["headers"] if name == b"content-type"
                )
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = status or 500
            raise
        finally:
            if status:
                seconds = None if is_stream else time.monotonic() - began
                self._metrics.answered(_template(scope), scope["method"], status, seconds)


def _template(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", None) or NO_ROUTE
