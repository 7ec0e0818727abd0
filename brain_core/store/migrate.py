"""Brings the schema to the version of this brain-core: numbered .sql files, forward only.

Everything that is missing is applied in one transaction under one transaction-level advisory lock, which is polled: two
starters at once migrate once. A schema that is newer than this brain-core is refused (G20).
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from brain_core.errors import DatabaseError, SchemaTooNew
from brain_core.store.statements import statement
from brain_core.store.trouble import place_of

if TYPE_CHECKING:
    from brain_core.store.database import Database

DISTRIBUTION = "brain-core"
LOCK_PAUSE = 0.05
LOCK_PATIENCE = 60.0
_UNDEFINED = ("42P01", "3F000")


class Migration(NamedTuple):
    """One file `NNNN_name.sql`."""

    number: int
    name: str
    checksum: str
    text: str


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
def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of a folder in their order."""
    found = []
    for file in sorted(folder.glob("[0-9]*.sql")):
        text = file.read_text(encoding="utf-8")
        number, _, _ = file.stem.partition("_")
        found.append(Migration(int(number), file.stem, hashlib.sha256(text.encode()).hexdigest(), text))
    if not found:
        raise DatabaseError(f"there are no migrations in {folder}; install brain-core again")
    return tuple(found)


async def ensure_schema(db: Database) -> None:
    """Return when the schema is the one of this brain-core, migrating it when it is behind. One query when it is."""
    state = await schema_state(db)
    if state.state in ("fresh", "behind"):
        await migrate(db)
    else:
        _refuse(state, db)


async def schema_state(db: Database, *, distribution: str = DISTRIBUTION, folder: Path | None = None) -> SchemaState:
    """Compare the schema with the migrations of a distribution."""
    known = read_migrations(folder or migrations_folder())
    try:
        rows = await db.fetch("schema_applied", distribution)
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _UNDEFINED:
            raise
        return SchemaState("fresh", (), tuple(migration.name for migration in known))
    return _compare(distribution, rows, known)


async def migrate(db: Database, *, distribution: str = DISTRIBUTION, folder: Path | None = None) -> list[str]:
    """Apply what is missing and return the names; repeating it is harmless."""
    known = read_migrations(folder or migrations_folder())
    for _ in range(int(LOCK_PATIENCE / LOCK_PAUSE)):
        async with db.transaction() as session:
            if (await session.fetch("schema_lock"))[0][0]:
                await session.script(statement("schema_bootstrap"))
                state = _compare(distribution, await session.fetch("schema_applied", distribution), known)
                _refuse(state, db)
                for migration in known:
                    if migration.name in state.missing:
                        await session.script(migration.text)
                        await session.fetch(
                            "schema_note", distribution, migration.number, migration.name, migration.checksum
                        )
                return list(state.missing)
        await asyncio.sleep(LOCK_PAUSE)
    raise DatabaseError(f"another process has been migrating for {LOCK_PATIENCE:g} s; look at it and try again")


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
