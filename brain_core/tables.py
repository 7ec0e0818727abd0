"""Tables: what a plugin says of the tables that it has; and the query function through which its code reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from typing import Any

    from brain_core.placeholders import Json


class Tables(NamedTuple):
    """A PostgreSQL schema of a plugin's own, returned by its hook `brain_migrations`.

    `schema` is `brain_` and the plugin's key in the configuration, such as `brain_llm`. `migrations` is a folder of
    `NNNN_name.sql`, numbered from 0001 without a gap, forward only; the first one makes the schema. `statements` is a
    folder of .sql files: `-- name: llm_x`, a line with the purpose, then one statement. A statement's name begins with
    the plugin's key and `_`; it takes one parameter, `$1::json` (an object), and returns rows of one json or jsonb
    column, or none. It may be run again when an answer is lost: repeating it has to be harmless.
    """

    schema: str
    migrations: Path
    statements: Path


class Query(Protocol):
    """Runs a named statement of an installed plugin's Tables and returns the value of each row.

    `values` are the statement's `$1`. What no column can hold (NUL, lone surrogates) becomes a visible escape, NaN a
    text, as in a step's output. BrainError says what was wrong; a database that is away is waited for. May be awaited
    in any event loop, several at once.
    """

    def __call__(self, name: str, values: Mapping[str, Json] | None = None) -> Coroutine[Any, Any, list[Json]]: ...
