"""The named statements of `sql/*.sql`, read when the first one is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_MARK = "-- name: "


def statement(name: str) -> str:
    """Return the text of a statement by its name."""
    return all_statements()[name]


@cache
def all_statements() -> dict[str, str]:
    """Return every statement by name. A file is a list of `-- name: x`, a comment with its purpose, and the SQL."""
    found: dict[str, str] = {}
    for file in sorted(_FOLDER.glob("*.sql")):
        for part in file.read_text(encoding="utf-8").split(_MARK)[1:]:
            name, _, text = part.partition("\n")
            if name.strip() in found:
                raise AssertionError(f"two statements are named {name.strip()}")
            found[name.strip()] = text.strip().removesuffix(";")
    return found
