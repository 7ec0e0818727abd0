"""Queries of steps in runner processes: across the link, to a real PostgreSQL, and back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from brain_core.engine.processes.asking import AT_ONCE
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.queries import Queries
from brain_core.engine.runner import Ask, StepReply, StepRequest
from brain_core.errors import RunnerDied
from brain_core.store.codec import decode
from brain_core.store.database import Database

RUN = "6f1cbd1e-8b52-4a34-8d41-4dd1b7d5d6fc"

STATEMENTS = {
    "echo": "SELECT $1::json",
    "rows": "SELECT to_json(repeat('é', ($1::json ->> 'size')::int)) "
    "FROM generate_series(1, ($1::json ->> 'rows')::int)",
    "divide": "SELECT to_json(1 / ($1::json ->> 'by')::int)",
    "note": "INSERT INTO last_words VALUES ($1::json ->> 'said')",
    "lock": "SELECT to_json(1) FROM pg_advisory_lock(4242) WHERE $1::json IS NOT NULL",
    "waiting": "SELECT to_json(count(*)) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE datname = current_database() AND objid = 4242 AND NOT granted AND $1::json IS NOT NULL",
}


class Fixed:
    def statement(self, name: str) -> str:
        return STATEMENTS[name]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with await Database.open(database_url) as db:
        yield db


@pytest.fixture
def ask(db: Database) -> Ask:
    return Queries(db, Fixed()).ask


@pytest.fixture
def run(pool: RunnerPool, flow: Callable[..., Path], ask: Ask) -> Callable[[str], Awaitable[Any]]:
    """Run a step with this body in a runner process; return its output, and fail with its error."""

    async def run(body: str, ask: Ask | None = ask) -> Any:
        reply = await reply_to(pool, flow, body, ask)
        assert reply.error is None, reply.log
        return decode(reply.output or "null")

    return run


async def reply_to(pool: RunnerPool, flow: Callable[..., Path], body: str, ask: Ask | None) -> StepReply:
    file = flow(f"class Asks(Step):\n    async def run(self, ctx):\n        {body}\n", "Asks")
    runner = await pool.runner_for(file)
    try:
        return await runner.run_step(StepRequest(RUN, 0, 1), print, ask)
    finally:
        pool.give_back(runner)


async def test_rows_come_back_from_the_daemon(run: Callable[..., Awaitable[Any]]) -> None:
    assert await run("return await ctx.query('echo', {'a': ['\\0', '\\ud800', float('nan')]})") == [
        {"a": ["\\x00", "\\ud800", "NaN"]}
    ]
    assert await run("return await ctx.query('rows', {'rows': 0, 'size': 0})") == []


async def test_hundreds_at_once_each_get_their_own(run: Callable[..., Awaitable[Any]]) -> None:
    body = "return await asyncio.gather(*(ctx.query('echo', {'n': n}) for n in range(300)))"
    assert await run(body) == [[{"n": n}] for n in range(300)]


async def test_a_plain_step_may_ask_from_its_thread(run: Callable[..., Awaitable[Any]]) -> None:
    body = "return await asyncio.to_thread(lambda: asyncio.run(ctx.query('echo', {'n': 1})))"
    assert await run(body) == [{"n": 1}]


async def test_large_values_and_rows_cross(run: Callable[..., Awaitable[Any]]) -> None:
    assert await run("return len((await ctx.query('echo', {'x': 'é' * 8_000_000}))[0]['x'])") == 8_000_000
    assert await run("return len(await ctx.query('rows', {'rows': 8, 'size': 1_000_000}))") == 8


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("'divide', {'by': 0}", "statement 'divide' failed: database .* refused: division by zero"),
        ("'echo', {'x': 'x' * 20_000_000}", "statement 'echo': what it is given is more than 16,777,216 bytes"),
        ("'rows', {'rows': 20, 'size': 1_000_000}", "statement 'rows' failed: it returned more than 16,777,216"),
    ],
)
async def test_errors_come_out_in_the_step(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, call: str, says: str
) -> None:
    reply = await reply_to(pool, flow, f"return await ctx.query({call})", ask)
    assert (reply.status, reply.log) == ("failed", "")
    assert re.match(says, reply.error or ""), reply.error


async def test_a_step_may_catch_what_a_query_says(run: Callable[..., Awaitable[Any]]) -> None:
    body = (
        "from brain_core import StepFailed\n"
        "        try:\n            await ctx.query('divide', {'by': 0})\n"
        "        except StepFailed:\n            return await ctx.query('divide', {'by': 1})"
    )
    assert await run(body) == [1]


async def test_a_bug_in_the_daemon_is_the_steps_error(pool: RunnerPool, flow: Callable[..., Path], ask: Ask) -> None:
    reply = await reply_to(pool, flow, "return await ctx.query('unknown')", ask)
    assert reply.error == "the query failed in the daemon: KeyError: 'unknown'"


async def test_without_tables_a_query_says_so(pool: RunnerPool, flow: Callable[..., Path]) -> None:
    reply = await reply_to(pool, flow, "return await ctx.query('echo')", None)
    assert reply.error == "statement 'echo' cannot run: no plugin here brings tables"


WAITING = """
SELECT count(*)::int FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND objid = 4242 AND NOT granted
"""


async def waiting(db: Database, wanted: int) -> None:
    """Return when so many queries wait for the lock."""
    async with asyncio.timeout(30), db.session() as session:
        while await session.connection.fetchval(WAITING) != wanted:  # noqa: ASYNC110 - a fact of another process
            await asyncio.sleep(0.01)


async def test_a_cancelled_step_takes_its_query_along(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, db: Database
) -> None:
    async with db.session() as holder:
        await holder.connection.execute("SELECT pg_advisory_lock(4242)")
        task = asyncio.ensure_future(reply_to(pool, flow, "return await ctx.query('lock')", ask))
        await waiting(db, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiting(db, 0)


async def test_a_query_that_is_given_up_ends_and_the_step_goes_on(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, db: Database
) -> None:
    body = (
        "try:\n            await asyncio.wait_for(ctx.query('lock'), 0.2)\n"
        "        except TimeoutError:\n            pass\n"
        # While the step goes on: its end would take the query along anyway, and a daemon its own time limit.
        "        async with asyncio.timeout(45):\n"
        "            while await ctx.query('waiting') != [0]:\n                pass\n"
        "        return await ctx.query('echo', {'n': 1})"
    )
    async with db.session() as holder:
        await holder.connection.execute("SELECT pg_advisory_lock(4242)")
        assert decode((await reply_to(pool, flow, body, ask)).output or "") == [{"n": 1}]
        await waiting(db, 0)


async def test_what_a_step_still_asks_when_it_ends_is_of_no_use_to_anybody(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, db: Database
) -> None:
    body = (
        "global left\n        left = asyncio.ensure_future(ctx.query('lock'))\n"
        "        while await ctx.query('waiting') != [1]:\n            pass"
    )
    async with db.session() as holder:
        await holder.connection.execute("SELECT pg_advisory_lock(4242)")
        assert (await reply_to(pool, flow, body, ask)).status == "success"
        await waiting(db, 0)


async def test_so_many_are_on_their_way_at_once_and_no_more(pool: RunnerPool, flow: Callable[..., Path]) -> None:
    on_their_way = most = 0
    full = asyncio.Event()

    async def ask(name: str, values: str) -> str:
        nonlocal on_their_way, most
        on_their_way += 1
        most = max(most, on_their_way)
        if on_their_way == AT_ONCE:
            full.set()
        await full.wait()
        on_their_way -= 1
        return "[]"

    body = "await asyncio.gather(*(ctx.query('echo', {'n': n}) for n in range(100)))"
    assert (await reply_to(pool, flow, body, ask)).status == "success"
    assert most == AT_ONCE


async def test_a_step_that_is_cancelled_may_still_ask(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, db: Database
) -> None:
    """A plugin closes its row of an attempt that was cancelled."""
    async with db.session() as session:
        await session.connection.execute("CREATE TABLE last_words (said text)")
    body = (
        "try:\n            await ctx.query('lock')\n"
        "        except asyncio.CancelledError:\n            await ctx.query('note', {'said': 'cancelled'})\n"
        "            raise"
    )
    async with db.session() as holder:
        await holder.connection.execute("SELECT pg_advisory_lock(4242)")
        task = asyncio.ensure_future(reply_to(pool, flow, body, ask))
        await waiting(db, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await holder.connection.fetchval("SELECT said FROM last_words") == "cancelled"


async def test_a_process_that_dies_while_it_asks(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, db: Database
) -> None:
    async with db.session() as holder:
        await holder.connection.execute("SELECT pg_advisory_lock(4242)")
        task = asyncio.ensure_future(reply_to(pool, flow, "return await ctx.query('lock')", ask))
        await waiting(db, 1)
        os.kill(pool.pids[0], signal.SIGKILL)
        with pytest.raises(RunnerDied):
            await task
        await waiting(db, 0)


async def test_what_is_left_of_a_step_asks_in_vain(
    pool: RunnerPool, flow: Callable[..., Path], ask: Ask, fifo: Callable[[str], Path]
) -> None:
    """A task that a step leaves behind is told that the step has ended; nothing hangs."""
    said = fifo("said")
    body = (
        "async def later():\n"
        "            await asyncio.sleep(0)\n"
        "            while True:\n"
        "                try:\n                    await ctx.query('echo')\n"
        "                except Exception as error:\n"
        f"                    Path({str(said)!r}).write_text(str(error))\n                    return\n"
        "        global task\n        task = asyncio.ensure_future(later())\n        return 1"
    )
    assert (await reply_to(pool, flow, body, ask)).output == "1"
    text = await asyncio.wait_for(asyncio.to_thread(said.read_text), 30)
    assert text == "a query came to nothing: the step that asks has ended"
