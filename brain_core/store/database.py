"""Database: a few connections to one PostgreSQL, and statements called by name.

The pool is our own because asyncpg's resets a connection with a round trip each time that it is given back. Everything
here works behind a pooler in transaction mode when `pooler` says that there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from brain_core.errors import DatabaseError, DatabaseUnreachable
from brain_core.store.statements import statement
from brain_core.store.trouble import is_lost, one_line, place_of, refusal

if TYPE_CHECKING:
    from asyncpg import Connection, Record

CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 60.0
ANSWER_TIMEOUT = 5.0
_ANSWER_TIMEOUT_PER_ROW = 0.01
CLOSE_TIMEOUT = 2.0
_POOLER_SETTINGS = {"application_name": "brain"}
# A prepared statement keeps the plan that was best when its table was small, until somebody analyzes the table:
# thousands of runs later it would still read all of it. Every statement here asks for a few rows by an index, so
# nothing else is offered. A pooler refuses such settings; without prepared statements each plan is made anew anyway.
_SETTINGS = {
    **_POOLER_SETTINGS,
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_mergejoin": "off",
}


Renew: TypeAlias = Callable[[], Awaitable[str]]
"""Returns the URL to use from now on; called when no connection can be made. May start a server, and may be called from
the loops of several threads at once."""


class ConnectionLost(DatabaseUnreachable):
    """There was a connection and it broke; what was asked may have happened or not."""


class NoAnswer(DatabaseUnreachable):
    """There is a connection, and a statement had no answer in the time that it was given."""


class Session:
    """One connection, for as long as a block lasts."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    async def fetch(self, name: str, *args: Any, timeout: float | None = None) -> list[Record]:  # noqa: ASYNC109
        rows: list[Record] = await self.connection.fetch(statement(name), *args, timeout=timeout)
        return rows

    async def script(self, text: str) -> None:
        """Run a text of many statements, such as a migration."""
        await self.connection.execute(text)


class Database:
    """A PostgreSQL database. `open` connects once; more connections are made when needed, up to `pool_size`.

    Every failure is a DatabaseError: DatabaseUnreachable when the connection could not be made or was lost (what was
    asked may then have happened or not), else one that says what the server refused. `command_timeout` (seconds) bounds
    each statement, on a connection that nobody answers too. `renew` is asked when no connection can be made.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 4,
        pooler: bool = False,
        command_timeout: float = COMMAND_TIMEOUT,
        renew: Renew | None = None,
    ) -> None:
        self.url = url
        self._command_timeout = command_timeout
        self._pooler = pooler
        self._renew = renew
        self._idle: list[Connection[Any]] = []
        self._all: set[Connection[Any]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(pool_size)
        self.large = asyncio.Semaphore(max(1, pool_size // 2))
        """Held by who reads what may be as large as outputs are: many at once leave connections to everybody else."""

    @classmethod
    async def open(cls, url: str, **options: Any) -> Self:
        """Connect once; the options are those of the class."""
        database = cls(url, **options)
        database._idle.append(await database._connect())
        return database

    def sibling(self, *, pool_size: int, command_timeout: float) -> Database:
        """Return the same database with connections of its own, for the loop of another thread; none is made yet."""
        return Database(
            self.url, pool_size=pool_size, pooler=self._pooler, command_timeout=command_timeout, renew=self._renew
        )

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; those in use are cut."""
        idle, self._idle = self._idle, []
        for connection in idle:
            self._all.discard(connection)
            try:
                await connection.close(timeout=CLOSE_TIMEOUT)
            except _driver_errors():
                connection.terminate()
        for connection in tuple(self._all):
            self._drop(connection)
        if self._ending:
            await asyncio.wait(self._ending)

    async def fetch(self, name: str, *args: Any, timeout: float | None = None) -> list[Record]:  # noqa: ASYNC109
        """Run a named statement and return its rows; `timeout` (seconds) instead of the one of all commands.

        Every named statement can be repeated harmlessly (G17), and is, once, on a new connection when the one it went
        to was lost: an idle connection shows only then that its server has gone.
        """
        try:
            async with self.session() as session:
                return await session.fetch(name, *args, timeout=timeout)
        except ConnectionLost:
            async with self.session() as session:
                return await session.fetch(name, *args, timeout=timeout)

    async def fetchrow(self, name: str, *args: Any, timeout: float | None = None) -> Record | None:  # noqa: ASYNC109
        rows = await self.fetch(name, *args, timeout=timeout)
        return rows[0] if rows else None

    def answer_within(self, rows: int = 0) -> float:
        """Return after how many seconds a connection is taken for dead on which a daemon waits (G17).

        Its cycle waits for the answer to each statement, about so many rows; each of them can be sent again.
        """
        return min(self._command_timeout, ANSWER_TIMEOUT + rows * _ANSWER_TIMEOUT_PER_ROW)

    async def fetchval(self, name: str, *args: Any) -> Any:
        rows = await self.fetch(name, *args)
        return rows[0][0] if rows else None

    async def execute(self, name: str, *args: Any) -> None:
        await self.fetch(name, *args)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Hold one connection for a block; each statement in it is a transaction of its own."""
        async with self._slots:
            connection = await self._take()
            try:
                with _told(self.url):
                    yield Session(connection)
            except BaseException as error:
                # After a lost connection, a time limit or a cancellation the protocol may stand in the middle of an
                # answer: such a connection is never used again.
                if not isinstance(error, DatabaseError) or isinstance(error, DatabaseUnreachable):
                    self._drop(connection)
                raise
            finally:
                if connection.is_closed():
                    self._all.discard(connection)
                elif connection in self._all:
                    self._idle.append(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Hold one connection and one transaction for a block; an exception rolls it back."""
        async with self.session() as session, session.connection.transaction():
            yield session

    async def _take(self) -> Connection[Any]:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._all.discard(connection)
        return await self._connect()

    async def _connect(self) -> Connection[Any]:
        try:
            connection = await self._dial()
        except DatabaseUnreachable:
            if self._renew is None:
                raise
            try:
                self.url = await self._renew()
            except DatabaseError as error:
                # Who can wait tries again, as with any server that does not answer.
                raise DatabaseUnreachable(str(error)) from error
            connection = await self._dial()
        self._all.add(connection)
        return connection

    async def _dial(self) -> Connection[Any]:
        import asyncpg

        try:
            return await asyncpg.connect(
                self.url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=self._command_timeout,
                statement_cache_size=0 if self._pooler else 200,
                server_settings=_POOLER_SETTINGS if self._pooler else _SETTINGS,
            )
        except (*_driver_errors(), ValueError, OverflowError) as error:  # the last one is for a port above 65535
            raise DatabaseUnreachable(refusal(self.url, error)) from error

    def give_up(self, connection: Connection[Any]) -> None:
        """Close a connection whose statement was cancelled, in good order and without waiting for it.

        The driver tells the server so. Of a connection that is cut the server learns only when the statement has ended,
        which with its locks goes on there for as long as it takes.
        """
        self._all.discard(connection)
        task = asyncio.ensure_future(_closed(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _drop(self, connection: Connection[Any]) -> None:
        if connection in self._all:
            self._all.discard(connection)
            connection.terminate()


async def _closed(connection: Connection[Any]) -> None:
    try:
        await connection.close(timeout=CLOSE_TIMEOUT)
    except _driver_errors():
        connection.terminate()


def _driver_errors() -> tuple[Any, ...]:
    import asyncpg

    return (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what asyncpg and the system raise into errors of ours; everything else passes."""
    try:
        yield
    except _driver_errors() as error:
        if is_lost(error):
            # Not repeated at once: it has taken all the time that there was.
            kind = NoAnswer if isinstance(error, TimeoutError) else ConnectionLost
            raise kind(
                f"the connection to {place_of(url)} was lost ({one_line(error)}); "
                "what was being written may or may not be there"
            ) from error
        raise DatabaseError(f"{place_of(url)} refused: {one_line(error)}") from error
