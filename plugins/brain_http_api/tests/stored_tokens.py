"""A database of the test's own with the tables of the plugin, and tokens in it as the command makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from brain_http_api.plugin import brain_migrations
from brain_http_api.tokens import Scope, Tokens, digest_of, id_of, new_token

from brain_core.testing import open_tables

ENVIRONMENT = "the-token-of-the-environment"


class Lab:
    """The tables of the plugin in a database of the test's own; `asked` are the statements that were run, in order."""

    def __init__(self, query: Any, connection: asyncpg.Connection[Any]) -> None:
        self._query = query
        self.connection = connection
        self.asked: list[str] = []
        self.tokens = Tokens(self.query, ENVIRONMENT)

    async def query(self, name: str, values: Any = None) -> list[Any]:
        self.asked.append(name)
        rows: list[Any] = await self._query(name, values)
        return rows

    async def token(self, name: str = "ci", scope: Scope = "run", patterns: tuple[str, ...] = (), **more: Any) -> str:
        """Make a token as the command does; what is given more is then written over it."""
        token = new_token()
        facts = {"id": id_of(token), "digest": digest_of(token), "name": name, "scope": scope, "expires_at": None}
        (made,) = await self._query("http_api_token_create", {**facts, "patterns": list(patterns)})
        assert made["state"] == "active"
        if more:
            # Past any rule of the table: time goes by in no other way.
            await self.sql("ALTER TABLE brain_http_api.tokens DISABLE TRIGGER USER")
            changed = ", ".join(f"{column} = clock_timestamp() + $2::interval" for column in more)
            text = f"UPDATE brain_http_api.tokens SET created_at = '2020-01-01', {changed} WHERE id = $1"
            await self.sql(text, id_of(token), *more.values())
            await self.sql("ALTER TABLE brain_http_api.tokens ENABLE TRIGGER USER")
        return token

    async def sql(self, text: str, *args: Any) -> list[Any]:
        rows: list[Any] = await self.connection.fetch(text, *args)
        return rows


@asynccontextmanager
async def open_lab(database_url: str) -> AsyncIterator[Lab]:
    async with open_tables(database_url, brain_migrations()) as query:
        connection = await asyncpg.connect(database_url)
        try:
            made = Lab(query, connection)
            yield made
            await made.tokens.close()
        finally:
            await connection.close()
