"""HttpService: the API served within a daemon's process, from its start to the end of its drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from brain_core import BrainError
from brain_http_api.api import Api
from brain_http_api.app import create_app
from brain_http_api.paths import Folders
from brain_http_api.tokens import ENVIRONMENT, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_core import Brain
    from brain_http_api.settings import HttpApiSettings


class HttpService:
    """Serves the API on one socket (`brain_core.Service`)."""

    name = "http api"

    def __init__(self, brain: Brain, settings: HttpApiSettings) -> None:
        self._brain = brain
        self._settings = settings
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; BrainError without a token, or when the address cannot be had."""
        settings, brain = self._settings, self._brain
        given = brain.settings.api_token
        tokens = Tokens(brain.tables.query(), None if given is None else given.get_secret_value())
        if not await tokens.any():
            raise BrainError(
                f"the HTTP API does not start without a token: set {ENVIRONMENT} (at least 16 characters), "
                "or make one: brain token create NAME --scope admin"
            )
        self.api = Api(brain, settings, tokens, Folders(()))
        app = create_app(self.api, docs=settings.docs, root_path=settings.root_path)
        sock = socket.create_server((settings.host, settings.port))
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", http="httptools")
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]), name="http-api")
        host, port = sock.getsockname()[:2]
        return f"on http://{host}:{port}"

    async def stop(self, grace: float) -> None:
        """Take nothing new, let what is in hand be answered within `grace`, cut the rest."""
        if self._serving is not None:
            self.api.closing.set()
            self._server.should_exit = True
            await self._serving


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: signals are the daemon's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
