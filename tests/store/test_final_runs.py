"""Which status may follow which, and what the database refuses to do to a run that is over (G13)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from brain_core.errors import DatabaseError, RunNotFound
from brain_core.run import FINAL, LEGAL
from brain_core.store import runs
from brain_core.store.database import Database

_MADE = (
    "INSERT INTO brain.runs (id, created_at, started_at, ended_at, worker_id, claim, status, workflow_name, file, "
    "error, parked_reason, planned_steps) VALUES ('{id}', now(), now(), {ended}, {worker}, 1, '{status}', 'w', 'f', "
    """'x', {reason}, '[{{"name": "a", "type": "t"}}]')"""
)
_STEP = (
    "INSERT INTO brain.step_runs (run_id, position, attempt, claim, started_at, ended_at, name, type, status) "
    "VALUES ('{id}', 0, 1, 1, now(), now(), 'a', 't', 'success')"
)
_GOES = (
    "UPDATE brain.runs SET status = '{status}', error = {error}, ended_at = {ended}, worker_id = {worker}, "
    "parked_reason = {reason} WHERE id = '{id}'"
)


@pytest.mark.parametrize("before", LEGAL)
@pytest.mark.parametrize("after", LEGAL)
async def test_the_database_knows_which_status_may_follow_which(db: Database, before: str, after: str) -> None:
    def text(template: str, status: str) -> str:
        ended, error = "now()" if status in FINAL else "NULL", "NULL" if status == "success" else "'x'"
        worker = "NULL" if status in ("queued", "parked") else "gen_random_uuid()"
        reason = "'x'" if status == "parked" else "NULL"
        return template.format(id=run_id, status=status, ended=ended, error=error, worker=worker, reason=reason)

    run_id = uuid4()
    async with db.session() as session:
        # As one transaction, which may add a step to a run that it has ended itself; it is never committed.
        await session.script("BEGIN")
        first = "running" if before == "success" else before
        await session.script(f"{text(_MADE, first)}; {text(_STEP, '')}")
        if before == "success":
            await session.script(text(_GOES, before))
        try:
            await session.script(text(_GOES, after))
            allowed = True
        except asyncpg.IntegrityConstraintViolationError as error:
            allowed = not str(error).startswith("G13")
        await session.script("ROLLBACK")
    assert allowed == (after in LEGAL[before] or (after == before and before not in FINAL))


_AGAIN = (
    "INSERT INTO brain.step_runs (run_id, position, attempt, claim, started_at, ended_at, name, type, status) "
    "SELECT id, position, 2, claim, started_at, started_at, "
    "planned_steps -> position ->> 'name', 'noop', 'success' "
    "FROM brain.runs WHERE id = $1"
)


async def test_a_final_run_gets_no_more_steps(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    run_id = await make.run_once(recorder)
    with pytest.raises(DatabaseError, match=r"G13: INSERT of a step into run .* success"):
        await make.sql(db, _AGAIN, run_id)
    begun = make.start()
    await recorder.start_run(begun)
    await make.sql(db, _AGAIN, begun.run_id)
    assert [step.name for step in (await runs.get(db, begun.run_id)).steps] == ["one"]


async def test_a_step_that_races_with_the_end_of_its_run_waits_for_it_or_is_refused(
    db: Database, database_url: str, make: Any
) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    ending = await asyncpg.connect(database_url)
    late = await asyncpg.connect(database_url)
    try:
        await ending.execute("BEGIN")
        await ending.execute(
            "UPDATE brain.runs SET status = 'failed', error = 'x', ended_at = clock_timestamp() WHERE id = $1",
            begun.run_id,
        )
        insert = asyncio.create_task(late.execute(_AGAIN, begun.run_id))
        while not await ending.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not insert.done()
        await ending.execute("COMMIT")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="failed"):
            await insert
    finally:
        await ending.close()
        await late.close()


async def test_only_final_runs_can_be_deleted(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    done = await make.run_once(recorder, receivers=("mail",))
    await recorder.start_run(begun)
    with pytest.raises(DatabaseError, match=r"G13: DELETE of run .* which is running"):
        await make.sql(db, "DELETE FROM brain.runs")
    await make.sql(db, "DELETE FROM brain.runs WHERE status = 'success'")
    with pytest.raises(RunNotFound):
        await runs.get(db, done)
    assert await make.sql(db, "SELECT FROM brain.step_runs UNION ALL SELECT FROM brain.deliveries") == []


async def test_the_row_of_a_step_that_runs_is_read(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    row = _AGAIN.replace("'success'", "'running'").replace("started_at, started_at", "started_at, NULL")
    await make.sql(db, row, begun.run_id)
    (step,) = (await runs.get(db, begun.run_id)).steps
    assert (step.name, step.status, step.ended_at, step.seconds) == ("one", "running", None, None)
    await make.sql(db, "UPDATE brain.step_runs SET status = 'success', ended_at = started_at")
    await recorder.finish_run(make.success(begun.run_id))
