"""Api: what every route is given of the process that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from brain_http_api.metrics import Metrics

if TYPE_CHECKING:
    from brain_core import Brain
    from brain_http_api.paths import Folders
    from brain_http_api.settings import HttpApiSettings
    from brain_http_api.tokens import Tokens

_LARGE_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Api:
    """The open brain, the settings, who may do what, which files may be run, and whether the server is closing.

    `closing` is set when the server takes nothing new any more: streams end then; `cut` when what still waits has to
    answer with what there is. `streams` are the event streams that are open. `large` is held by who makes an answer
    that may be large, and `unread` tells how many bytes of answers their clients have not read yet.
    """

    brain: Brain
    settings: HttpApiSettings
    tokens: Tokens
    folders: Folders
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=Metrics)
    streams: set[object] = field(default_factory=set)
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LARGE_AT_ONCE))
    unread: Callable[[], int] = lambda: 0


def api_of(request: Request) -> Api:
    """Return the Api of the process; a dependency of routes."""
    api: Api = request.app.state.api
    return api
