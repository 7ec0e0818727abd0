"""What becomes of the runs of a dead worker: failed, queued again, cancelled, or parked (G10, G11, G16)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from brain_core.errors import ClaimLost
from brain_core.run import PlannedStep
from brain_core.store import deliveries, queue, runs, workers
from brain_core.store.database import Database
from brain_core.store.queue import NewRun

WHY = "the process is gone"


@pytest.fixture
async def resumable(db: Database, make: Any) -> UUID:
    """A queued run whose workflow says that it is to be resumed."""
    await make.sql(
        db,
        "INSERT INTO brain.workflow_versions (digest, sources, on_interrupt, on_finished) "
        "VALUES ('resumes', '{}', 'resume', true)",
    )
    steps = (PlannedStep("one", "noop"), PlannedStep("two", "noop"))
    return await queue.enqueue(db, NewRun("flow", "/flow.py", steps, digest="resumes"))


async def _die(db: Database, make: Any, run_id: UUID, *, host: str = "here", finish: str | None = None) -> Any:
    """Claim the run, finish a step if asked, and die."""
    me = make.worker(host=host)
    [claimed] = await queue.claim(db, me, 1)
    assert claimed.run_id == run_id
    if finish is not None:
        await make.recorder(db, worker=me).finish_step(
            make.step(run_id, claimed.position, finish, claim=claimed.claim, attempt=claimed.claim)
        )
    [settled] = await workers.settle(db, [me.id], WHY, ["mail"])
    assert settled.run_id == run_id
    return me, settled


async def test_a_run_is_queued_again_with_the_interrupted_attempt(db: Database, make: Any, resumable: UUID) -> None:
    dead, settled = await _die(db, make, resumable, host="far", finish="one")
    assert (settled.status, settled.parked_reason) == ("queued", None)
    run = await runs.get(db, resumable)
    assert (run.status, run.ended_at, run.error, run.position) == ("queued", None, None, 1)
    assert [(step.name, step.attempt, step.status, step.error) for step in run.steps] == [
        ("one", 1, "success", None),
        ("two", 1, "interrupted", WHY),
    ]
    assert await deliveries.list_deliveries(db) == []
    with pytest.raises(ClaimLost):
        await make.recorder(db, worker=dead).finish_run(make.success(resumable))
    me = make.worker()
    [claimed] = await queue.claim(db, me, 1)
    assert (claimed.claim, claimed.takeovers, claimed.resumed, claimed.position) == (3, 1, True, 1)
    assert (claimed.host, claimed.started_at) == ("far", run.started_at), "its file is known to be there"
    recorder = make.recorder(db, worker=me)
    await recorder.finish_step(make.step(resumable, 1, "two", claim=3, attempt=2))
    await make.sql(db, "UPDATE brain.runs SET status = 'success', ended_at = clock_timestamp()")


@pytest.mark.parametrize("digest", ["resumes", None])
async def test_a_worker_that_dies_before_its_first_step_is_no_exception(
    db: Database, make: Any, resumable: UUID, digest: str | None
) -> None:
    await make.sql(db, "UPDATE brain.runs SET digest = $1", digest)
    _, settled = await _die(db, make, resumable)
    run = await runs.get(db, resumable)
    assert [(step.name, step.attempt, step.status) for step in run.steps] == [("one", 1, "interrupted")]
    if digest is None:
        assert (settled.status, run.error) == ("failed", f"interrupted in step 'one' (1 of 2): {WHY}")
        assert [one.receiver for one in await deliveries.list_deliveries(db)] == ["mail"]
    else:
        assert (settled.status, run.error) == ("queued", None)


async def test_the_third_worker_that_dies_parks_the_run(db: Database, make: Any, resumable: UUID) -> None:
    for time in (1, 2, 3):
        _, settled = await _die(db, make, resumable)
        assert settled.status == ("queued" if time < 3 else "parked")
    said = f"its worker died 3 times, the last time interrupted in step 'one' (1 of 2): {WHY}"
    assert settled.parked_reason == said
    run = await runs.get(db, resumable)
    assert (run.status, [step.attempt for step in run.steps]) == ("parked", [1, 2, 3])
    assert await queue.claim(db, make.worker(), 1) == []
    assert await queue.unpark(db, resumable)
    _, settled = await _die(db, make, resumable)
    assert settled.status == "queued", "a person's word counts anew"


async def test_letting_go_in_good_order_is_not_counted(db: Database, make: Any, resumable: UUID) -> None:
    for _ in range(4):
        await queue.claim(db, me := make.worker(), 1)
        [settled] = await workers.settle(db, [me.id], "the daemon was stopped", [], died=False)
        assert settled.status == "queued"
    [claimed] = await queue.claim(db, make.worker(), 1)
    assert (claimed.takeovers, claimed.claim) == (0, 9)


async def test_a_run_that_was_to_be_cancelled_is(db: Database, make: Any, resumable: UUID) -> None:
    await queue.claim(db, me := make.worker(), 1)
    await queue.cancel_request(db, resumable, "not needed")
    assert [one.run_id for one in await workers.settle(db, [me.id], WHY, ["mail"])] == [resumable]
    run = await runs.get(db, resumable)
    assert (run.status, run.error) == ("cancelled", f"not needed (interrupted in step 'one' (1 of 2): {WHY})")
    assert sorted(one.receiver for one in await deliveries.list_deliveries(db)) == ["mail", "workflow"]


async def test_a_claim_beside_a_take_over_ends_running_or_queued_never_lost(database_url: str, make: Any) -> None:
    async with await Database.open(database_url, pool_size=6) as database:
        await make.sql(
            database,
            "INSERT INTO brain.workflow_versions (digest, sources, on_interrupt) VALUES ('resumes', '{}', 'resume')",
        )
        step = (PlannedStep("one", "noop"),)
        for _ in range(20):
            await queue.enqueue(database, NewRun("flow", "/flow.py", step, digest="resumes"))
        me = make.worker()
        await queue.claim(database, me, 1)
        await asyncio.gather(
            *(queue.claim(database, me, 2) for _ in range(4)), workers.settle(database, [me.id], WHY, [])
        )
        assert set(await runs.counts(database)) == {"queued"}
        assert await queue.claim(database, me, 5) == []


async def test_a_deadlock_with_another_process_is_tried_again(db: Database, make: Any) -> None:
    one, other = sorted((make.worker(), make.worker()), key=lambda worker: worker.id)
    for worker in (one, other):
        await make.recorder(db, worker=worker).start_run(make.start())
    lock = "UPDATE brain.workers SET host = host WHERE id = $1"
    async with db.transaction() as session:
        await session.script("SET LOCAL deadlock_timeout = '60s'")  # so that the other one gives in
        await session.connection.execute(lock, other.id)
        settling = asyncio.create_task(workers.settle(db, [one.id, other.id], "gone", []))
        # Not pg_stat_activity, which stands still inside a transaction.
        while not await session.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        await session.connection.execute(lock, one.id)
    settled = await settling
    assert {run.status for run in settled} == {"failed"}
    assert len(settled) == 2
