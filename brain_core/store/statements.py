"""The named statements of `sql/*.sql`, read when the first one is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from brain_core.sqlfiles import read_statements

_FOLDER = Path(__file__).parent / "sql"


def statement(name: str) -> str:
    """Return the text of a statement by its name."""
    return all_statements()[name]


@cache
def all_statements() -> dict[str, str]:
    """Return every statement by name."""
    return read_statements(_FOLDER)
