"""`ctx.query` and what it reaches, over a real PostgreSQL: values, rows, refusals, a database that is away."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from brain_core import Query, Step, StepContext, StepFailed, Tables, Workflow
from brain_core.engine import queries
from brain_core.engine.queries import Queries, query_by
from brain_core.errors import DatabaseUnreachable, PluginError
from brain_core.store.database import Database
from brain_core.testing import check_tables, open_tables, run_step, run_workflow

MIGRATION = "CREATE SCHEMA brain_keep; CREATE TABLE brain_keep.kept (id bigserial PRIMARY KEY, value jsonb NOT NULL);"

STATEMENTS = """
-- name: keep_add
-- Keeps a value and gives it back.
INSERT INTO brain_keep.kept (value) VALUES (($1::json -> 'value')::jsonb) RETURNING value;

-- name: keep_silent
-- Keeps a value.
INSERT INTO brain_keep.kept (value) VALUES ($1::jsonb);

-- name: keep_all
-- What is kept, oldest first.
SELECT value FROM brain_keep.kept WHERE $1::json IS NOT NULL ORDER BY id;

-- name: keep_rows
-- As many rows as are asked for, each of so many characters.
SELECT to_json(repeat('x', ($1::json ->> 'size')::int)) FROM generate_series(1, ($1::json ->> 'rows')::int);

-- name: keep_nothing
-- A row without a value.
SELECT NULL::json WHERE $1::json IS NOT NULL;

-- name: keep_sleep
-- Takes its time.
SELECT to_json(1) FROM pg_sleep(($1::json ->> 'seconds')::float8);

-- name: keep_divide
-- Fails for zero.
SELECT to_json(1 / ($1::json ->> 'by')::int);
"""

WRONG = """
-- name: keep_no_parameter
-- Takes none.
SELECT to_json(1);

-- name: keep_two_parameters
-- Takes two.
SELECT to_json($1::text || $2::text);

-- name: keep_two_columns
-- Returns two.
SELECT to_json(1), $1::json;

-- name: keep_number
-- Returns no json.
SELECT 7 WHERE $1::json IS NOT NULL;

-- name: keep_text
-- Returns no json either.
SELECT 'plain'::text WHERE $1::json IS NOT NULL;

-- name: keep_no_table
-- Reads what is not there.
SELECT value FROM brain_keep.other WHERE $1::json IS NOT NULL;
"""


def tables_in(folder: Path, statements: str = STATEMENTS) -> Tables:
    for name, file, text in (("migrations", "0001_keep.sql", MIGRATION), ("sql", "keep.sql", statements)):
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    return Tables("brain_keep", folder / "migrations", folder / "sql")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return tables_in(tmp_path)


@pytest.fixture
async def query(database_url: str, tables: Tables) -> Any:
    async with open_tables(database_url, tables) as query:
        yield query


class Asks(Step):
    """Asks what the test wants."""

    statement: str = "keep_add"
    values: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it

    async def run(self, ctx: StepContext) -> Any:
        return await ctx.query(self.statement, self.values)


class AsksInThread(Asks):
    def run(self, ctx: StepContext) -> Any:  # type: ignore[override]
        return [asyncio.run(ctx.query(self.statement, self.values)), threading.current_thread().name]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("hello", "hello"),
        (None, None),
        ({"a": [1, 2.5, True, None]}, {"a": [1, 2.5, True, None]}),
        ("nul \0 there", "nul \\x00 there"),
        ("lone \ud800 there", "lone \\ud800 there"),
        ({"\0": "\udfff"}, {"\\x00": "\\udfff"}),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        (2**200, 2**200),
        ("'; DROP TABLE brain_keep.kept; --", "'; DROP TABLE brain_keep.kept; --"),
        ("ünï \U0001f9e0 \u2028", "ünï \U0001f9e0 \u2028"),
    ],
    ids=repr,
)
async def test_values_arrive_as_a_step_output_would(query: Query, value: Any, kept: Any) -> None:
    assert await query("keep_add", {"value": value}) == [kept]
    assert await query("keep_all") == [kept]


async def test_no_rows_and_rows_without_a_value(query: Query) -> None:
    assert await query("keep_silent", {"a": 1}) == []
    assert await query("keep_nothing") == [None]
    assert await query("keep_all", {}) == [{"a": 1}]


async def test_a_database_error_is_one_line_that_names_the_statement(query: Query) -> None:
    with pytest.raises(StepFailed, match=r"^statement 'keep_divide' failed: database .* refused: division by zero$"):
        await query("keep_divide", {"by": 0})
    assert await query("keep_divide", {"by": 1}) == [1]


async def test_an_unknown_name_is_refused(query: Query) -> None:
    with pytest.raises(PluginError, match="no statement 'keep_ad' in these tables"):
        await query("keep_ad")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"value": object()}, "statement 'keep_add': what it is given holds a object, which JSON cannot hold"),
        ({"value": "x" * 17_000_000}, "statement 'keep_add': what it is given is more than 16,777,216 bytes of JSON$"),
    ],
    ids=["object", "large"],
)
async def test_values_that_cannot_be_sent(query: Query, values: dict[str, Any], says: str) -> None:
    with pytest.raises(StepFailed, match=says):
        await query("keep_add", values)


async def test_an_answer_that_is_too_large(query: Query) -> None:
    assert len(await query("keep_rows", {"rows": 15, "size": 1_000_000})) == 15
    with pytest.raises(StepFailed, match=r"'keep_rows' failed: it returned more than 16,777,216 .*ask for less"):
        await query("keep_rows", {"rows": 17, "size": 1_000_000})


async def test_statements_that_are_not_as_they_have_to_be(database_url: str, tmp_path: Path) -> None:
    wrong = tables_in(tmp_path, WRONG)
    said = {
        "keep_no_parameter": "it has to take one parameter, \\$1::json",
        "keep_two_parameters": "it has to take one parameter, \\$1::json",
        "keep_two_columns": "it has to return one column of json or jsonb, or none",
        "keep_number": "it has to return one column of json or jsonb, or none",
        "keep_text": "returned what is no JSON; it has to return one column of json or jsonb",
        "keep_no_table": 'relation "brain_keep.other" does not exist',
    }
    async with open_tables(database_url, wrong) as query:
        for name, says in said.items():
            with pytest.raises(StepFailed, match=f"^statement '{name}' .*{says}"):
                await query(name, {"a": 1})
    problems = await check_tables(database_url, wrong)
    assert [each.partition(":")[0] for each in problems] == list(said)


async def test_statements_that_are_as_they_have_to_be(database_url: str, tables: Tables) -> None:
    assert await check_tables(database_url, tables) == []


async def test_tables_whose_files_cannot_be_used(database_url: str, tmp_path: Path) -> None:
    foreign = tables_in(tmp_path, STATEMENTS.replace("keep_all", "other_all"))
    with pytest.raises(PluginError, match="statement 'other_all' has to begin with 'keep_'"):
        await check_tables(database_url, foreign)


@pytest.mark.parametrize("kind", [Asks, AsksInThread])
async def test_a_step_asks(query: Query, kind: type[Asks]) -> None:
    reply = await run_step(kind(name="a", values={"value": "x"}), query=query)
    assert reply.error is None
    assert (reply.output if kind is Asks else reply.output[0]) == ["x"]


async def test_a_step_without_tables_is_told(tmp_path: Path) -> None:
    reply = await run_step(Asks(name="a"))
    assert (reply.status, reply.error) == ("failed", "statement 'keep_add' cannot run: no plugin here brings tables")


async def test_a_test_may_answer_itself() -> None:
    asked = []

    async def answer(name: str, values: Any = None) -> list[Any]:
        asked.append((name, values))
        return [(1, "\0")]

    reply = await run_step(Asks(name="a", values={"value": {1, 2}}), query=answer)
    assert reply.output == [[1, "\\x00"]]
    assert asked == [("keep_add", {"value": [1, 2]})]


async def test_a_workflow_with_tables(empty_database_url: str, tables: Tables) -> None:
    steps = [Asks(name="a", values={"value": 1}), Asks(name="b", statement="keep_all")]
    run = await run_workflow(Workflow(name="w", steps=steps), empty_database_url, tables=[tables])
    assert [step.output for step in run.steps] == [[1], [1]]
    failed = await run_workflow(
        Workflow(name="w", steps=[Asks(name="a", statement="keep_divide", values={"by": 0})]),
        empty_database_url,
        tables=[tables],
    )
    assert (failed.status, "statement 'keep_divide' failed" in (failed.error or "")) == ("failed", True)


class Fixed:
    """Statements of the test's own."""

    def __init__(self, **statements: str) -> None:
        self._statements = statements

    def statement(self, name: str) -> str:
        return self._statements[name]


async def test_a_hundred_at_once(query: Query) -> None:
    answers = await asyncio.gather(*(query("keep_add", {"value": number}) for number in range(100)))
    assert answers == [[number] for number in range(100)]


async def test_a_cancelled_query_ends_and_the_next_goes_on(query: Query) -> None:
    task = asyncio.ensure_future(query("keep_sleep", {"seconds": 60}))
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await query("keep_all") == []


async def test_a_statement_without_an_end_is_given_up(database_url: str) -> None:
    slow = Fixed(slow="SELECT to_json(1) FROM pg_sleep(60) WHERE $1::json IS NOT NULL")
    async with await Database.open(database_url) as db:
        ask = Queries(db, slow, seconds=0.05).ask
        with pytest.raises(StepFailed, match=r"^statement 'slow' had no answer within 0\.05 s, 3 times$"):
            await ask("slow", "{}")


async def test_a_connection_that_is_lost_is_made_anew(database_url: str) -> None:
    """Each run of the statement ends its own connection but the last."""
    ends = "SELECT to_json(count(pg_terminate_backend(pg_backend_pid()))) WHERE ($1::json ->> 'end')::bool"
    fine = "SELECT $1::json"
    async with await Database.open(database_url) as db:
        asked = query_by(Queries(db, Fixed(ends=ends, fine=fine), patience=0.3).ask)
        with pytest.raises(DatabaseUnreachable, match=r"^statement 'ends': the connection to database .* was lost"):
            await asked("ends", {"end": True})
        assert await asked("fine", {"end": False}) == [{"end": False}]


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setattr(queries, "FIRST_PAUSE", 0.01)
    gone = "postgresql://127.0.0.1:9/none"
    tried = []

    async def renew() -> str:
        tried.append(1)
        return database_url if len(tried) > 2 else gone

    db = Database(gone, renew=renew)
    try:
        asked = query_by(Queries(db, Fixed(fine="SELECT $1::json"), patience=30).ask)
        assert await asked("fine", {"a": 1}) == [{"a": 1}]
        assert len(tried) == 3
    finally:
        await db.close()


async def test_a_database_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    db = Database("postgresql://127.0.0.1:9/none")
    asked = query_by(Queries(db, Fixed(fine="SELECT $1::json"), patience=0.1).ask)
    with pytest.raises(DatabaseUnreachable, match=r"^statement 'fine': no PostgreSQL answers for database 'none'"):
        await asked("fine")


async def test_a_serialization_failure_is_tried_again(database_url: str, tables: Tables) -> None:
    """The first try fails as a deadlock would, the second does not."""
    text = """
    SELECT to_json(brain_keep.flaky()) WHERE $1::json IS NOT NULL
    """
    migration = tables.migrations / "0002_flaky.sql"
    migration.write_text(
        """
        CREATE SEQUENCE brain_keep.tries;
        CREATE FUNCTION brain_keep.flaky() RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE tried bigint := nextval('brain_keep.tries');
        BEGIN
            IF tried < 3 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;
            RETURN tried;
        END $$;
        """
    )
    async with open_tables(database_url, tables), await Database.open(database_url) as db:
        assert await Queries(db, Fixed(flaky=text)).ask("flaky", "{}") == "[3]"


async def test_a_statement_without_an_answer_is_tried_so_often_and_no_more(database_url: str) -> None:
    # A sequence counts what is undone, too.
    slow = Fixed(slow="SELECT to_json(pg_sleep(60 * nextval('tried'))::text) WHERE $1::json IS NOT NULL")
    async with await Database.open(database_url) as db, db.session() as session:
        await session.connection.execute("CREATE SEQUENCE tried")
        with pytest.raises(StepFailed, match="3 times"):
            await Queries(db, slow, seconds=1.5).ask("slow", "{}")
        assert await session.connection.fetchval("SELECT last_value FROM tried") == queries.TRIES


async def test_statements_leave_connections_to_others(database_url: str) -> None:
    """As many wait for a lock as may run at once; who holds it finds a connection all the same."""
    waits = Fixed(waits="SELECT to_json(1) FROM pg_advisory_xact_lock(77) WHERE $1::json IS NOT NULL")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    async with (
        await Database.open(database_url) as db,
        await Database.open(database_url) as holder,
        holder.session() as session,
    ):
        await session.connection.execute("SELECT pg_advisory_lock(77)")
        ask = Queries(db, waits).ask
        asked = [asyncio.ensure_future(ask("waits", "{}")) for _ in range(20)]
        async with asyncio.timeout(30):
            while await session.connection.fetchval(waiting) < queries.AT_ONCE:
                pass
        async with asyncio.timeout(20), db.session() as other:
            assert await other.connection.fetchval(waiting) == queries.AT_ONCE
        await session.connection.execute("SELECT pg_advisory_unlock(77)")
        assert await asyncio.gather(*asked) == ["[1]"] * 20
