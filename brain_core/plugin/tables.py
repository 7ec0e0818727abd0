"""The tables that a plugin brings: asked for, read and checked. Called inside a bounded thread, as `checks` is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from brain_core.errors import PluginError, nearest
from brain_core.plugin.checks import asked, hook_named
from brain_core.plugin.discovery import Found
from brain_core.plugin.info import PluginInfo
from brain_core.plugin.quarantine import Quarantine
from brain_core.sqlfiles import OwnTables, read_tables
from brain_core.tables import Tables

CORE = "brain-core"


def tables_of(hooks: Mapping[str, Any], found: Found) -> OwnTables | None:
    """Ask a plugin for its tables and read their files; None when it has none."""
    hook = hook_named("brain_migrations", hooks)
    if hook is None:
        return None
    answer = asked("brain_migrations", hook)
    if not isinstance(answer, Tables):
        raise Quarantine(f"brain_migrations returned a {type(answer).__name__}; it has to return brain_core.Tables")
    key = found.section
    if answer.schema != f"brain_{key}" or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", key):
        raise Quarantine(f"its tables are in the schema {answer.schema!r}; its own is 'brain_{key}'")
    distribution = re.sub(r"[-_.]+", "-", found.distribution).lower()
    if distribution == CORE:
        raise Quarantine(f"{CORE} has migrations of its own; tables of a plugin come with its own distribution")
    try:
        return read_tables(answer, found.name, distribution)
    except (OSError, ValueError) as error:
        raise Quarantine(f"its tables cannot be used: {error}") from None


class OwnedTables:
    """The tables of all plugins of a process, and who owns them, whatever became of its owner since."""

    def __init__(self) -> None:
        self._tables: list[tuple[PluginInfo, OwnTables]] = []

    @property
    def active(self) -> list[OwnTables]:
        return [tables for info, tables in self._tables if info.state == "active"]

    def check(self, tables: OwnTables) -> None:
        """Quarantine when another plugin has the schema, or its distribution the numbers of migrations."""
        for info, other in self._tables:
            if tables.schema == other.schema:
                raise Quarantine(f"the schema {tables.schema} is that of {info.label} already")
            if tables.distribution == other.distribution:
                raise Quarantine(f"{tables.distribution} brings tables with {info.label} already; once for each")

    def add(self, info: PluginInfo, tables: OwnTables) -> None:
        self._tables.append((info, tables))

    def statement(self, name: str, everyone: Callable[[], Iterable[PluginInfo]], key_of: Callable[[str], str]) -> str:
        """Return the text of a statement; PluginError when no active plugin has it."""
        for info, tables in self._tables:
            if (text := tables.statements.get(name)) is not None:
                if info.state != "active":
                    raise PluginError(
                        f"statement '{name}' belongs to {info.label}, which is {info.state}: {info.reason}"
                    )
                return text
        for info in everyone():
            if info.state != "active" and name.startswith(f"{key_of(info.name)}_"):
                raise PluginError(f"statement '{name}' belongs to {info.label}, which is {info.state}: {info.reason}")
        known = [each for tables in self.active for each in tables.statements]
        raise PluginError(f"no plugin has a statement '{name}'{nearest(name, known)}")
