"""The tables of plugins, wired: brought up to date, looked at, asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core.engine.queries import PATIENCE, Queries, query_by
from brain_core.errors import BrainError, StepFailed
from brain_core.placeholders import Json
from brain_core.store import migrate
from brain_core.store.codec import decode, encode
from brain_core.store.database import Database

if TYPE_CHECKING:
    from brain_core.plugin.manager import PluginManager
    from brain_core.run import Run
    from brain_core.tables import Query

MAX_FACTS = 64 * 1024
"""How large the facts of one plugin about a run may be: bytes of JSON."""


class PluginTables:
    """What this process does with the tables of its plugins."""

    def __init__(self, db: Database, plugins: PluginManager) -> None:
        self._db = db
        self._plugins = plugins

    async def ready(self) -> dict[str, list[str]]:
        """Bring the tables up to date and return what was applied, by plugin. One query when they are.

        A plugin whose tables cannot be used is quarantined. DatabaseUnreachable when the database is away.
        """
        if not self._plugins.any_tables:
            return {}
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

    def query(self) -> Query:
        """Return the function that plugins are given."""
        return query_by(self.queries().ask)

    async def facts(self, run: Run) -> tuple[dict[str, dict[str, Json]], list[str]]:
        """Return what plugins know of a run, by their key, and the problems, one line each: none is ours."""
        facts: dict[str, dict[str, Json]] = {}
        try:
            await self.ready()
        except BrainError as error:
            return facts, [f"what plugins know of the run is left out: {error}"]
        answers, problems = await self._plugins.run_facts(run, self.query())
        problems += [f"plugin '{name}' is quarantined: {why}" for name, why in self._plugins.barred.items()]
        for key, answer in answers.items():
            try:
                facts[key] = decode(encode(answer, MAX_FACTS).text)
            except StepFailed as error:
                problems.append(f"plugin '{key}': {str(error).replace('the output', 'what brain_run_facts returned')}")
        return facts, problems
