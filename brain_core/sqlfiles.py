"""Reads folders of SQL: numbered migrations, and files of named statements. Holds no SQL and knows no database."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from brain_core.tables import Tables

_ENTRY = re.compile(r"^-- (name|part): (\w+)\n(.*?)(?=^-- (?:name|part): |\Z)", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_MIGRATION = re.compile(r"\d{4}_[a-z0-9_]+")
_PURPOSE = re.compile(r"-- *\S")


class Migration(NamedTuple):
    """One file `NNNN_name.sql`."""

    number: int
    name: str
    checksum: str
    text: str


class OwnTables(NamedTuple):
    """The tables of one plugin, read: what is applied under the name of its distribution, and what may be asked."""

    plugin: str
    distribution: str
    schema: str
    migrations: tuple[Migration, ...]
    statements: dict[str, str]


def read_tables(tables: Tables, plugin: str, distribution: str) -> OwnTables:
    """Read what a plugin says of its tables; ValueError or OSError for what cannot be used."""
    key = tables.schema.removeprefix("brain_")
    migrations = read_migrations(_folder("migrations", tables.migrations))
    for migration in migrations:
        if ends := _ends_transaction(migration.text):
            raise ValueError(
                f"{migration.name}.sql has {ends}; it is applied in a transaction with the note that it was"
            )
    statements = read_statements(_folder("statements", tables.statements), purposes=True)
    for name in statements:
        if not name.startswith(f"{key}_"):
            raise ValueError(f"the name of statement '{name}' has to begin with '{key}_'")
    return OwnTables(plugin, distribution, tables.schema, migrations, statements)


def _ends_transaction(text: str) -> str | None:
    """Return the first word outside of texts and bodies of functions that would begin or end a transaction."""
    # Made here: most processes read no tables of plugins.
    quoted = re.compile(r"--[^\n]*|/\*.*?\*/|'[^']*'|\"[^\"]*\"|(\$\w*\$).*?\1", re.DOTALL)
    ends = re.compile(
        r"(?:^|;)\s*(BEGIN(?!\s+ATOMIC)|COMMIT|ROLLBACK(?!\s+TO)|ABORT|START\s+TRANSACTION)\b", re.IGNORECASE
    )
    found = ends.search(quoted.sub(" ", text))
    return None if found is None else found[1]


def _folder(what: str, folder: object) -> Path:
    if not isinstance(folder, str | Path) or not Path(folder).is_dir():
        raise ValueError(f"{what} is {str(folder)!r}, which is no folder")
    return Path(folder)


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of a folder in their order; ValueError for a gap, a bad name or none at all."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        if not _MIGRATION.fullmatch(file.stem):
            raise ValueError(f"{file.name} is no migration's name; write 0001_name.sql, in small letters")
        text = file.read_text(encoding="utf-8")
        number = int(file.stem.partition("_")[0])
        if number != len(found) + 1:
            raise ValueError(f"{file.name} should be number {len(found) + 1:04}: they count up from 0001 without a gap")
        found.append(Migration(number, file.stem, hashlib.sha256(text.encode()).hexdigest(), text))
    if not found:
        raise ValueError(f"there are no migrations in {folder}")
    return tuple(found)


def read_statements(folder: Path, *, purposes: bool = False) -> dict[str, str]:
    """Return every statement of a folder by name; ValueError for two of one name, or (`purposes`) one without its line.

    A file is a list of `-- name: x`, a comment with its purpose, and the SQL. A text that several statements share
    stands before them as `-- part: x`; a line `-- include: x` is replaced by it.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        parts: dict[str, str] = {}
        for kind, name, text in _ENTRY.findall(file.read_text(encoding="utf-8")):
            if kind == "name" and name in found:
                raise ValueError(f"two statements are named {name}")
            if purposes and kind == "name" and not _PURPOSE.match(text):
                raise ValueError(f"statement {name} lacks its purpose: one comment line below its name")
            # Split at its includes, a text has the names of parts at its odd places.
            pieces = _INCLUDE.split(text)
            if missing := [piece for piece in pieces[1::2] if piece not in parts]:
                raise ValueError(f"statement {name} includes {missing[0]}, and no such part stands before it")
            pieces = [parts[piece] if odd % 2 else piece for odd, piece in enumerate(pieces)]
            (found if kind == "name" else parts)[name] = "".join(pieces).strip().removesuffix(";")
    return found
