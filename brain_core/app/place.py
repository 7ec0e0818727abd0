"""Where the database of this process is."""

from __future__ import annotations

import asyncio
import threading

from brain_core.config import Settings
from brain_core.embedded import EmbeddedServer
from brain_core.threads import in_thread


class Place:
    """Where the database is: given by the settings, or the embedded server's, which is started when it does not run."""

    def __init__(self, settings: Settings) -> None:
        self.given = None if settings.database_url is None else settings.database_url.get_secret_value()
        self.server = None if self.given is not None else EmbeddedServer(settings.home, settings.embedded_idle)
        self._one_at_a_time = threading.Lock()

    async def url(self) -> str:
        """Return the URL. A start that has begun is waited for, also by who is cancelled: half of one helps nobody."""
        if self.given is not None:
            return self.given
        start = asyncio.ensure_future(in_thread(self._ensure, "brain-start"))
        try:
            url: str = await asyncio.shield(start)
        except asyncio.CancelledError:
            await asyncio.wait({start})
            if not start.cancelled():
                start.exception()
            raise
        return url

    def _ensure(self) -> str:
        if self.server is None:
            raise AssertionError("only the embedded server is started")
        with self._one_at_a_time:
            return self.server.ensure()
