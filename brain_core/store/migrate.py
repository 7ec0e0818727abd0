"""Brings the schema to the version of this brain-core: numbered .sql files, forward only.

Everything that is missing is applied in one transaction under one transaction-level advisory lock, which is polled: two
starters at once migrate once. A schema that is newer than this brain-core is refused (G20).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from brain_core.errors import DatabaseError, DatabaseUnreachable, SchemaTooNew
from brain_core.sqlfiles import Migration, OwnTables, read_migrations
from brain_core.store.statements import statement
from brain_core.store.trouble import is_lost, one_line, place_of

if TYPE_CHECKING:
    from brain_core.store.database import Database, Session

DISTRIBUTION = "brain-core"
LOCK_PAUSE = 0.05
LOCK_PATIENCE = 60.0
_UNDEFINED = ("42P01", "3F000")


class SchemaState(NamedTuple):
    """How the schema stands against the migrations: applied names, missing names, and what is wrong (None: nothing)."""

    state: Literal["current", "behind", "fresh", "too new", "changed"]
    applied: tuple[str, ...]
    missing: tuple[str, ...]
    problem: str | None = None


def migrations_folder() -> Path:
    """Return where the migrations are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


@cache
def _known(folder: Path | None) -> tuple[Migration, ...]:
    try:
        return read_migrations(folder or migrations_folder())
    except ValueError as error:
        raise DatabaseError(f"{error}; install brain-core again") from None


async def ensure_schema(db: Database) -> None:
    """Return when the schema is the one of this brain-core, migrating it when it is behind. One query when it is."""
    state = await schema_state(db)
    if state.state in ("fresh", "behind"):
        await migrate(db)
    else:
        _refuse(state, db)


async def schema_state(db: Database, *, distribution: str = DISTRIBUTION, folder: Path | None = None) -> SchemaState:
    """Compare the schema with the migrations of a distribution."""
    known = _known(folder)
    try:
        rows = await db.fetch("schema_applied", [distribution])
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _UNDEFINED:
            raise
        return SchemaState("fresh", (), tuple(migration.name for migration in known))
    return _compare(distribution, rows, known)


async def migrate(db: Database, *, distribution: str = DISTRIBUTION, folder: Path | None = None) -> list[str]:
    """Apply what is missing and return the names; repeating it is harmless."""
    return await _apply(db, distribution, _known(folder))


async def tables_state(db: Database, tables: Sequence[OwnTables]) -> dict[str, SchemaState]:
    """Compare the schema with the migrations of plugins, by plugin. One query for all; the schema is ours already."""
    found: dict[str, list[Any]] = {one.distribution: [] for one in tables}
    for row in await db.fetch("schema_applied", list(found)) if tables else ():
        found[row["distribution"]].append(row)
    return {one.plugin: _compare(one.distribution, found[one.distribution], one.migrations) for one in tables}


async def ensure_tables(db: Database, tables: Sequence[OwnTables]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Bring the tables of plugins up to date: one query when they are.

    Returns for each plugin what was applied, and for each whose tables cannot be used why: that is its trouble alone.
    DatabaseUnreachable when the database is away.
    """
    applied: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    states = await tables_state(db, tables)
    for one in tables:
        state = states[one.plugin]
        if state.problem is not None:
            problems[one.plugin] = f"{place_of(db.url)}: {state.problem}"
        elif state.missing:
            try:
                applied[one.plugin] = await _apply(db, one.distribution, one.migrations)
            except DatabaseUnreachable:
                raise
            except DatabaseError as error:
                problems[one.plugin] = str(error)
    return applied, problems


async def _apply(db: Database, distribution: str, known: tuple[Migration, ...]) -> list[str]:
    for _ in range(int(LOCK_PATIENCE / LOCK_PAUSE)):
        async with db.transaction() as session:
            if (await session.fetch("schema_lock"))[0][0]:
                await session.script(statement("schema_bootstrap"))
                state = _compare(distribution, await session.fetch("schema_applied", [distribution]), known)
                _refuse(state, db)
                for migration in known:
                    if migration.name in state.missing:
                        await _apply_one(session, distribution, migration)
                return list(state.missing)
        await asyncio.sleep(LOCK_PAUSE)
    raise DatabaseError(f"another process has been migrating for {LOCK_PATIENCE:g} s; look at it and try again")


async def _apply_one(session: Session, distribution: str, migration: Migration) -> None:
    try:
        await session.script(migration.text)
    except TimeoutError as error:
        # Not a server that is away, which would be waited for: the next try would take as long.
        raise DatabaseError(f"migration {migration.name} of {distribution} took too long and was undone") from error
    except Exception as error:
        if is_lost(error) or getattr(error, "sqlstate", None) is None:
            raise
        place = _line(migration.text, getattr(error, "position", None))
        raise DatabaseError(f"migration {migration.name} of {distribution} fails{place}: {one_line(error)}") from error
    await session.fetch("schema_note", distribution, migration.number, migration.name, migration.checksum)


def _line(text: str, position: str | None) -> str:
    return "" if not position else f" in line {text.count(chr(10), 0, int(position) - 1) + 1}"


def _compare(distribution: str, rows: list[Any], known: tuple[Migration, ...]) -> SchemaState:
    by_number = {migration.number: migration for migration in known}
    applied = {row["number"] for row in rows}
    names = tuple(row["name"] for row in rows)
    missing = tuple(migration.name for migration in known if migration.number not in applied)
    for row in rows:
        migration = by_number.get(row["number"])
        if migration is None and row["number"] > known[-1].number:
            problem = (
                f"its schema has migration {row['name']} of a newer {distribution} "
                f"(this one ends with {known[-1].name}); upgrade {distribution}"
            )
            return SchemaState("too new", names, missing, problem)
        if migration is None or migration.checksum != row["checksum"]:
            problem = (
                f"another build of {distribution} made its schema (migration {row['name']} differs); use that build, "
                "or give this one a database of its own: another THE_BRAIN_DATABASE_URL, or THE_BRAIN_HOME for the "
                "embedded one"
            )
            return SchemaState("changed", names, missing, problem)
    return SchemaState("behind" if missing else "current", names, missing)


def _refuse(state: SchemaState, db: Database) -> None:
    if state.state == "too new":
        raise SchemaTooNew(f"{place_of(db.url)}: {state.problem}")
    if state.state == "changed":
        raise DatabaseError(f"{place_of(db.url)}: {state.problem}")
