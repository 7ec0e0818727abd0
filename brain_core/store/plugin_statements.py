"""Runs the statements that plugins bring for tables of their own: one JSON object in, one JSON value a row out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from brain_core.errors import DatabaseError

if TYPE_CHECKING:
    from brain_core.store.database import Database


class StatementRefused(DatabaseError):
    """A plugin's statement is not as it has to be: its parameter, what it returns, or how much."""


async def run_statement(db: Database, text: str, values: str, *, max_chars: int, seconds: float) -> str:
    """Run a statement with a JSON object and return its rows as a JSON list.

    StatementRefused or DatabaseError says what was wrong with it, DatabaseUnreachable that it may have run or not.
    """
    import asyncpg

    async with db.session() as session:
        connection = session.connection
        try:
            rows = await connection.fetch(text, values, timeout=seconds)
        except (asyncio.CancelledError, TimeoutError):
            db.give_up(connection)
            raise
        except asyncpg.InterfaceError as error:
            if connection.is_closed():
                raise
            # Of asyncpg's own making, before anything was sent.
            raise StatementRefused(
                f"it has to take one parameter, $1::json ({str(error).partition(chr(10))[0]})"
            ) from None
    found: list[str] = []
    size = 2
    for row in rows:
        value = row[0] if len(row) == 1 else 0
        if value is not None and not isinstance(value, str):
            raise StatementRefused("it has to return one column of json or jsonb, or none")
        found.append("null" if value is None else value)
        size += len(found[-1]) + 1
        if size > max_chars:
            raise StatementRefused(f"it returned more than {max_chars:,} characters; ask for less, with a LIMIT")
    return f"[{','.join(found)}]"


async def check(db: Database, text: str) -> str | None:
    """Return what is wrong with a statement as the server understands it; None when nothing is."""
    try:
        async with db.session() as session:
            prepared = await session.connection.prepare(text)
            parameters = [one.name for one in prepared.get_parameters()]
            columns = [one.type.name for one in prepared.get_attributes()]
    except DatabaseError as error:
        return str(error)
    if parameters not in (["json"], ["jsonb"]):
        return f"takes ({', '.join(parameters)}); it has to take one parameter, $1::json"
    if columns not in ([], ["json"], ["jsonb"]):
        return f"returns ({', '.join(columns)}); it has to return one column of json or jsonb, or none"
    return None
