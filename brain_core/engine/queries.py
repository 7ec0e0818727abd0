"""What `ctx.query` reaches: a plugin's named statement, run on the database of the process that records the run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Protocol

from brain_core.engine.runner import Ask
from brain_core.errors import DatabaseError, DatabaseUnreachable, StepFailed
from brain_core.placeholders import Json
from brain_core.store.codec import decode, encode
from brain_core.store.database import Database, NoAnswer
from brain_core.store.plugin_statements import run_statement
from brain_core.store.trouble import is_nobodys_fault
from brain_core.tables import Query

MAX_QUERY = 16 * 1024 * 1024
"""How large the values of a query may be, and its answer: bytes of JSON."""
PATIENCE = 30.0
SECONDS = 30.0
"""How long one statement may take."""
AT_ONCE = 3
"""How many statements of plugins run at once; the others wait, so that a slow one leaves connections to the core."""
TRIES = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Statements(Protocol):
    """What queries need of the plugin manager."""

    def statement(self, name: str) -> str:
        """Return the text of a statement; PluginError when no active plugin has it."""
        ...


class Queries:
    """The queries of one process, in one event loop. A database that is away is waited for, `patience` seconds long."""

    def __init__(
        self, db: Database, statements: Statements, *, patience: float = PATIENCE, seconds: float = SECONDS
    ) -> None:
        self._db = db
        self._statements = statements
        self._patience = patience
        self._seconds = seconds
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, name: str, values: str) -> str:
        """Run a statement with a JSON object and return its rows as a JSON list, both as text.

        PluginError for a name that no active plugin has, StepFailed for what the statement or the database refuses,
        DatabaseUnreachable when the database stays away.
        """
        text = self._statements.statement(name)
        gives_up: float | None = None
        pause, tries = FIRST_PAUSE, 1
        while True:
            try:
                async with self._slots:
                    return await run_statement(self._db, text, values, max_chars=MAX_QUERY, seconds=self._seconds)
            except NoAnswer as error:
                # Slow, or a server that has vanished: another connection shows which.
                if tries == TRIES:
                    raise StepFailed(
                        f"statement '{name}' had no answer within {self._seconds:g} s, {TRIES} times"
                    ) from error
                tries += 1
            except DatabaseUnreachable as error:
                now = monotonic()
                gives_up = now + self._patience if gives_up is None else gives_up
                if now + pause > gives_up:
                    raise DatabaseUnreachable(f"statement '{name}': {error}") from error
            except DatabaseError as error:
                transient = is_nobodys_fault(error)
                if not transient or tries == TRIES:
                    raise StepFailed(f"statement '{name}' failed: {error}") from error
                tries += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def query_by(ask: Ask) -> Query:
    """Return the function that plugin code is given: values in, rows out, through the codec (G24)."""

    async def query(name: str, values: Mapping[str, Json] | None = None) -> list[Json]:
        try:
            text = encode(dict(values or {}), MAX_QUERY).text
        except StepFailed as error:
            said = str(error).replace("the output", "what it is given").removesuffix("; write it to a file")
            raise StepFailed(f"statement '{name}': {said}") from None
        answer = await ask(name, text)
        try:
            rows: list[Json] = decode(answer)
        except (ValueError, RecursionError):
            raise StepFailed(
                f"statement '{name}' returned what is no JSON; it has to return one column of json or jsonb"
            ) from None
        return rows

    return query


def ask_by(query: Query) -> Ask:
    """Return a query function as runners take it; its rows go through the codec as a database's would."""

    async def ask(name: str, values: str) -> str:
        return encode(list(await query(name, decode(values))), MAX_QUERY).text

    return ask
