"""The named statements of `sql/*.sql`, read when the first one is asked for."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_ENTRY = re.compile(r"^-- (name|part): (\w+)\n(.*?)(?=^-- (?:name|part): |\Z)", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)


def statement(name: str) -> str:
    """Return the text of a statement by its name."""
    return all_statements()[name]


@cache
def all_statements() -> dict[str, str]:
    """Return every statement by name.

    A file is a list of `-- name: x`, a comment with its purpose, and the SQL. A text that several statements share
    stands before them as `-- part: x`; a line `-- include: x` is replaced by it.
    """
    found: dict[str, str] = {}
    for file in sorted(_FOLDER.glob("*.sql")):
        parts: dict[str, str] = {}
        for kind, name, text in _ENTRY.findall(file.read_text(encoding="utf-8")):
            if kind == "name" and name in found:
                raise AssertionError(f"two statements are named {name}")
            # Split at its includes, a text has the names of parts at its odd places.
            pieces = [parts[piece] if odd % 2 else piece for odd, piece in enumerate(_INCLUDE.split(text))]
            (found if kind == "name" else parts)[name] = "".join(pieces).strip().removesuffix(";")
    return found
