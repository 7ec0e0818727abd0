"""HttpService: the API served within a daemon's process, from its start to the end of its drain."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from brain_core import BrainError
from brain_http_api.api import Api
from brain_http_api.app import create_app
from brain_http_api.binding import is_local, listening_socket, most_connections, shown_address, tls_context
from brain_http_api.front import Front
from brain_http_api.listener import Listener
from brain_http_api.paths import Folders, folders_of
from brain_http_api.protocol import HttpProtocol, Wires
from brain_http_api.tokens import ENVIRONMENT, Tokens
from brain_http_api.webhook.receive import Receiver

if TYPE_CHECKING:
    import ssl

    from brain_core import Brain
    from brain_http_api.settings import HttpApiSettings

logger = logging.getLogger("brain.http_api")


class HttpService:
    """Serves the API on one socket (`brain_core.Service`)."""

    name = "http api"

    def __init__(self, brain: Brain, settings: HttpApiSettings) -> None:
        self._brain = brain
        self._settings = settings
        self._listener: Listener | None = None

    async def start(self) -> str:
        """Listen; BrainError without a token, or when the address, a folder or the TLS files cannot be had."""
        settings, brain = self._settings, self._brain
        given = brain.settings.api_token
        tokens = Tokens(brain.tables.query(), None if given is None else given.get_secret_value())
        try:
            # Asked for whether it is needed or not: without its tables nothing here would work for long.
            stored = await tokens.any_stored()
        except BrainError as error:
            raise BrainError(f"the HTTP API does not start without its tables: {error}") from error
        if given is None and not stored:
            raise BrainError(
                f"the HTTP API does not start without a token: set {ENVIRONMENT} (at least 16 characters), "
                "or make one: brain token create NAME --scope admin"
            )
        wires = Wires(settings)
        self.api = Api(brain, settings, tokens, self._folders(), unread=wires.unread)
        app = create_app(self.api, docs=settings.docs, root_path=settings.root_path)
        config = _config(Front(self.api, app, Receiver(self.api)), settings)
        tls = self._tls()
        most = self._most()
        sock = await listening_socket(settings.host, settings.port)
        # Nothing is waited for from here on: a start that is given up leaves no socket behind.
        host, port = sock.getsockname()[:2]
        self._listener = Listener(sock, config, wires, most=most, tls=tls)
        if not (is_local(host) or tls or settings.trusted_proxies):
            logger.warning(
                "tokens can be read on their way: %s is reached from other machines, and there is neither TLS "
                "(tls_cert, tls_key) nor a proxy for it (trusted_proxies)",
                shown_address(host, port),
            )
        return f"on {'http' if tls is None else 'https'}://{shown_address(host, port)}"

    async def stop(self, grace: float) -> None:
        """Take nothing new, let what is in hand be answered within `grace`, cut the rest."""
        if self._listener is not None:
            self.api.closing.set()
            await self._listener.stop(grace, self.api.cut)
            await self.api.tokens.close()

    def _folders(self) -> Folders:
        found = folders_of(self._settings.workflows_dirs, self._brain.loaded_settings.file)
        for folder in found.folders:
            if not folder.is_dir():
                raise BrainError(f"the HTTP API does not start: there is no folder '{folder}', see workflows_dirs")
        return found

    def _tls(self) -> ssl.SSLContext | None:
        cert, key = self._settings.tls_cert, self._settings.tls_key
        if cert is None or key is None:
            return None
        file = self._brain.loaded_settings.file
        base = Path.cwd() if file is None else file.absolute().parent
        return tls_context(base / cert.expanduser(), base / key.expanduser())

    def _most(self) -> int:
        wanted = self._settings.max_connections
        most, files = most_connections(wanted)
        if most < wanted:
            logger.info(
                "%d connections at once, not %d: this process may have %d files open (ulimit -n, LimitNOFILE)",
                most,
                wanted,
                files,
            )
        return most


def _config(front: Front, settings: HttpApiSettings) -> uvicorn.Config:
    """Return uvicorn's settings; it takes none from the environment, and says nothing."""
    config = uvicorn.Config(
        front,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        workers=1,
        server_header=False,
        date_header=False,
        timeout_keep_alive=settings.idle_timeout,  # type: ignore[arg-type]
    )
    config.load()
    return config
