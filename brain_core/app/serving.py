"""Serving: what services of plugins ask of an open brain, beside what commands do; a part of `Brain`.

All of it is for one event loop, may be called by many at once, and neither loads workflow code in this process nor
keeps the daemon's own connections busy: a service is given a brain of its own (`beside`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

from brain_core.app.paging import Paging

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from brain_core.app.accepting import Accepting
    from brain_core.app.figures import Figures
    from brain_core.app.following import RunEvent
    from brain_core.app.waiters import Waiters
    from brain_core.config import LoadedSettings
    from brain_core.embedded import EmbeddedServer
    from brain_core.engine.runner import Runner
    from brain_core.placeholders import Json
    from brain_core.plugin.manager import PluginManager
    from brain_core.run import Run
    from brain_core.store.database import Database
    from brain_core.store.enqueuer import Accepted
    from brain_core.store.triggers import TriggerRow

CONNECTIONS = 6
COMMAND_TIMEOUT = 10.0
"""Seconds for a statement of a service: somebody waits for its answer."""
HEALTH_TIMEOUT = 2.0
"""Seconds after which a database that does not answer counts as away."""


class Started(NamedTuple):
    """A run that was asked for. `created` is False when it was there already, by its idempotency key."""

    run_id: UUID
    created: bool


class Health(NamedTuple):
    """Whether the database answers, and whether a daemon has ticked lately that fires what is due."""

    database: bool
    daemon: bool

    @property
    def well(self) -> bool:
        return self.database and self.daemon


class Serving(Paging):
    """A part of `Brain`: the acts of services."""

    loaded_settings: LoadedSettings
    plugins: PluginManager
    runs_ended: Counter[str]
    """How many runs the worker of this process has carried to their end, by status."""
    _server: EmbeddedServer | None
    _runners: Callable[[], Runner] | None = None
    _waiters: Waiters | None = None
    _accepts: Accepting | None = None
    _master_key: bytes | None = None

    def __init__(
        self, settings: LoadedSettings, plugins: PluginManager, db: Database, server: EmbeddedServer | None
    ) -> None:
        raise NotImplementedError

    @asynccontextmanager
    async def beside(self, runners: Callable[[], Runner]) -> AsyncIterator[Self]:
        """The same brain with connections of its own and with `runners` for workflow files; closed with the block."""
        db = self.db.sibling(pool_size=CONNECTIONS, command_timeout=COMMAND_TIMEOUT)
        made = type(self)(self.loaded_settings, self.plugins, db, self._server)
        made._runners = runners
        made.runs_ended = self.runs_ended
        try:
            yield made
        finally:
            if made._waiters is not None:
                await made._waiters.close()
            if made._accepts is not None:
                await made._accepts.drain()
            await db.close()

    def derive_key(self, purpose: str) -> bytes:
        """Return 32 bytes for a purpose, always the same ones: HMAC-SHA256 of it under the master key.

        BrainError when the file that holds that cannot be read, or be made at the first need.
        """
        from brain_core.app.master_key import derived, master_key

        if self._master_key is None:
            self._master_key = master_key(self.loaded_settings.settings)
        return derived(self._master_key, purpose)

    async def start_run(
        self,
        what: str | Path,
        inputs: Mapping[str, Any],
        *,
        source: Mapping[str, Json],
        idempotency_key: str | None = None,
        find: Callable[[], Awaitable[Path]] | None = None,
    ) -> Started:
        """Queue a run of a workflow file (a Path) or of what is registered under a name (a str); it is durable then.

        `inputs` are JSON values. `source` becomes the run's `trigger`. The same key gives the same run, as long as that
        is kept; IdempotencyConflict when it asks for something else. With `find` a run of the file that it returns,
        where `what` is what a client calls that: found only when the run is new, since the file may be gone by then.
        InputError, WorkflowFileError, TriggerNotFound, and what `find` raises.
        """
        from brain_core.app.starting import start_run

        return await start_run(self, what, inputs, source, idempotency_key, find)  # type: ignore[arg-type]

    async def registered(self, name: str, type_name: str) -> TriggerRow | None:
        """Return the trigger of a name and a type, whatever its state, as it was half a second ago at most."""
        return await self._accepting().find(name, type_name)

    async def accept(
        self,
        name: str,
        type_name: str,
        payload: Mapping[str, Json],
        delivery_key: str | None = None,
        *,
        size: int = 0,
    ) -> Accepted:
        """Queue a run of an active trigger of a type, for something that was delivered; it is durable then (G14).

        The run's `trigger` is `payload` with `type` and `name`. The same `delivery_key` for the same trigger gives the
        same run, as long as that is kept. Many at once share a commit. `size` is how many bytes the payload was read
        from, where it may be large: such a one keeps nobody else waiting. TriggerNotFound for one that is paused, of
        another type or not there; InputError for a payload that cannot be stored; DatabaseUnreachable soon.
        """
        return await self._accepting().accept(name, type_name, payload, delivery_key, size)

    def _accepting(self) -> Accepting:
        from brain_core.app.accepting import Accepting

        if self._accepts is None:
            self._accepts = Accepting(self.db, self.loaded_settings.settings.max_output)
        return self._accepts

    async def wait(self, run_id: UUID, timeout: float) -> Run:  # noqa: ASYNC109
        """Return a run as soon as it has ended or is parked, or as it is after `timeout` seconds; RunNotFound."""
        from brain_core.app.waiters import Waiters
        from brain_core.store import runs

        if self._waiters is None:
            self._waiters = Waiters(self.db)
        await self._waiters.wait(run_id, timeout)
        return await runs.get(self.db, run_id)

    async def run(self, run_id: UUID, *, steps: bool = True) -> Run:
        """Return a run, with its steps or without them; RunNotFound."""
        from brain_core.store import runs

        return await (runs.get if steps else runs.head)(self.db, run_id)

    def events(self, run_id: UUID, after: str | None = None) -> AsyncIterator[RunEvent]:
        """Yield what becomes of a run from its beginning, or after the event with the id `after`, until it has ended.

        A run that is parked ends them, too. RunNotFound, and UsageError for an id that is none.
        """
        from brain_core.app.following import follow

        return follow(self.db, run_id, after)

    async def health(self) -> Health:
        """Say how the brain is; never raises."""
        import asyncio

        from brain_core.app.control import daemons
        from brain_core.errors import DatabaseError

        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                return Health(True, any(one["fresh"] for one in await daemons(self.db)))
        except (DatabaseError, TimeoutError):
            return Health(False, False)

    async def figures(self) -> Figures:
        """Count runs, triggers, workers and daemons; cheap, however many runs have succeeded."""
        from brain_core.app.figures import figures

        return await figures(self.db)
