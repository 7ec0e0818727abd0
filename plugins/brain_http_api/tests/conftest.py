"""A real server on its own port, over a database of the test's own, clients of it, and `brain` in all its forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from brain_http_api.service import HttpService
from brain_http_api.settings import HttpApiSettings
from brain_http_api.tokens import digest_of, id_of, new_token

from brain_core.app import Brain, new_runner
from brain_core.config import load_settings
from brain_core.plugin.manager import PluginManager
from brain_core.run import PlannedStep
from brain_core.store import queue, triggers
from brain_core.store.queue import NewRun
from brain_core.store.triggers import NewTrigger, TriggerRow

# The fixtures of the core's own tests.
from tests.app.conftest import FLOW
from tests.cli.conftest import Brain as Command
from tests.cli.conftest import brain, files, here, own_environment
from tests.daemon.conftest import House, house

__all__ = [
    "ADMIN",
    "FLOW",
    "Command",
    "House",
    "Serve",
    "Served",
    "brain",
    "files",
    "here",
    "house",
    "serve",
    "served",
    "until",
]

ADMIN = "the-token-of-the-environment"
"""The token of the environment, which may do everything."""


@dataclass
class Served:
    """A server that listens. `brain` is what made it (its rows may be looked at), `client` has the token ADMIN."""

    brain: Brain
    service: HttpService
    url: str
    folder: Path
    client: httpx2.AsyncClient
    clients: AsyncExitStack

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for `asyncio.open_connection`."""
        parts = httpx2.URL(self.url)
        return parts.host, parts.port or 0

    async def as_bearer(self, token: str | None) -> httpx2.AsyncClient:
        """Return a client with another token, or with none; closed with the server."""
        return await self.clients.enter_async_context(_client(self.url, token))

    async def token(self, scope: str, *patterns: str) -> str:
        """Make a stored token and return it; its name is its id."""
        token = new_token()
        values = {
            "id": id_of(token),
            "name": id_of(token),
            "digest": digest_of(token),
            "scope": scope,
            "patterns": list(patterns),
            "expires_at": None,
        }
        await self.brain.tables.query()("http_api_token_create", values)
        return token

    def flow(self, name: str = "flow", text: str = FLOW) -> Path:
        """Write a workflow file into the folder whose files may be run."""
        file = self.folder / f"{name}.py"
        file.write_text(text)
        return file

    async def sql(self, text: str, *args: Any) -> list[Any]:
        async with self.brain.db.session() as session:
            rows: list[Any] = await session.connection.fetch(text, *args)
            return rows

    async def queued(self, workflow: str = "flow", **more: Any) -> UUID:
        """Queue a run that nobody takes."""
        new: dict[str, Any] = {
            "workflow": workflow,
            "file": "/nowhere/f.py",
            "planned": [PlannedStep("one", "x"), PlannedStep("two", "x")],
        }
        return await queue.enqueue(self.brain.db, NewRun(**{**new, **more}))

    async def end(self, run_id: UUID) -> None:
        """End a run that waits, as cancelled."""
        await queue.cancel_request(self.brain.db, run_id, "enough")

    async def register(self, name: str, workflow: str = "flow", **more: Any) -> TriggerRow:
        """Register a trigger: a daily schedule unless `type` and `config` say else."""
        now = await triggers.clock(self.brain.db)
        values: dict[str, Any] = {
            "type": "cron",
            "config": {"cron": "0 0 * * *", "timezone": "UTC"},
            "workflow_name": workflow,
            "file": str(self.folder / f"{workflow}.py"),
            "host": "",
            "inputs": {},
            "planned_steps": [{"name": "say", "type": "function"}],
            "next_due_at": _in_a_century(now),
        }
        return await triggers.register(self.brain.db, NewTrigger(name=name, **{**values, **more}), now)


@pytest.fixture
def environment(tmp_path: Path, database_url: str) -> dict[str, str]:
    """What `brain` finds as its environment, as a process (`brain`) and in this one (`here`)."""
    return {**own_environment(tmp_path), "THE_BRAIN_DATABASE_URL": database_url}


async def until(condition: Callable[[], Any], what: str, limit: float = 90.0) -> Any:
    """Wait until a condition, awaited where it is to be, holds; return what it has found."""
    end = asyncio.get_running_loop().time() + limit
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if asyncio.get_running_loop().time() > end:
            pytest.fail(f"waited in vain until {what}")
        await asyncio.sleep(0.01)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(database_url: str, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server with settings of the section (`max_body=…`); what is started is stopped with the test.

    There is no worker: runs wait until the test ends them. `token=None` leaves the environment's token out;
    `database` is the URL of another database, `core` are settings of brain-core.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *, token: str | None = ADMIN, database: str = database_url, core: dict[str, Any] | None = None, **more: Any
        ) -> Served:
            given: dict[str, Any] = {"database_url": database, "home": tmp_path / "home", **(core or {})}
            if token is not None:
                given["api_token"] = token
            settings = load_settings(given, start=tmp_path)
            plugins = PluginManager.load(settings.settings)
            plugins.ready()
            brain = await stack.enter_async_context(Brain.open(settings, plugins))
            await brain.tables.ready()
            beside = await stack.enter_async_context(brain.beside(lambda: new_runner(brain.settings, brain.plugins)))
            made = {"enabled": True, "port": 0, "workflows_dirs": (tmp_path,), **more}
            service = HttpService(beside, HttpApiSettings(**made))
            stack.push_async_callback(service.stop, 0.0)
            said = await service.start()
            scheme = "https" if "tls_cert" in more else "http"
            url = f"{scheme}://{said.rpartition('//')[2].split('/')[0].split(' ')[0]}"
            clients = await stack.enter_async_context(AsyncExitStack())
            client = await clients.enter_async_context(_client(url, token))
            return Served(brain, service, url, tmp_path, client, clients)

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    """A server with the settings' defaults."""
    return await serve()


def _client(url: str, token: str | None) -> httpx2.AsyncClient:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=90, trust_env=False)


def _in_a_century(now: datetime) -> datetime:
    return now.replace(year=now.year + 100, month=1, day=1)
