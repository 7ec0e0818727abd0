"""The tables of plugins, wired: brought up to date, looked at, asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core.engine.queries import PATIENCE, Queries
from brain_core.store import migrate
from brain_core.store.database import Database

if TYPE_CHECKING:
    from brain_core.plugin.manager import PluginManager


class PluginTables:
    """What this process does with the tables of its plugins."""

    def __init__(self, db: Database, plugins: PluginManager) -> None:
        self._db = db
        self._plugins = plugins

    async def ready(self) -> dict[str, list[str]]:
        """Bring the tables up to date and return what was applied, by plugin. One query when they are.

        A plugin whose tables cannot be used is quarantined. DatabaseUnreachable when the database is away.
        """
        applied, problems = await migrate.ensure_tables(self._db, self._plugins.tables)
        for name, why in problems.items():
            self._plugins.quarantine(name, why)
        return applied

    async def states(self) -> dict[str, migrate.SchemaState]:
        """Return how the tables of each plugin stand against its migrations."""
        return await migrate.tables_state(self._db, self._plugins.tables)

    def queries(self, db: Database | None = None, *, patience: float = PATIENCE) -> Queries:
        """Return what runs the statements of plugins, on `db` instead of our own connections when it is given."""
        return Queries(db or self._db, self._plugins, patience=patience)
