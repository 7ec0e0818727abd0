"""Beats, sightings, and taking over what the dead left."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from brain_core.store import deliveries, queue, runs, workers
from brain_core.store.database import Database


async def _begun(db: Database, make: Any, **options: Any) -> tuple[Any, Any]:
    recorder, begun = make.recorder(db, **options), make.start()
    await recorder.start_run(begun)
    return recorder, begun


async def test_a_beat_counts_and_says_whether_the_worker_still_counts(db: Database, make: Any) -> None:
    assert not await workers.beat(db, make.worker().id)
    recorder, begun = await _begun(db, make)
    assert await workers.beat(db, recorder.worker.id)
    await workers.settle(db, [recorder.worker.id], "gone", [])
    assert not await workers.beat(db, recorder.worker.id)
    assert (await runs.get(db, begun.run_id)).final


async def test_candidates_are_those_that_have_not_stopped(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    await make.run_once(recorder)
    assert await workers.candidates(db) == [recorder.worker]
    await workers.stop(db, recorder.worker.id)
    await workers.stop(db, recorder.worker.id)
    assert await workers.candidates(db) == []


async def test_take_over_ends_runs_with_the_interrupted_step_and_deliveries(db: Database, make: Any) -> None:
    recorder, begun = await _begun(db, make)
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    [settled] = await workers.settle(db, [recorder.worker.id], "the process is gone", ["mail"])
    assert (settled.run_id, settled.status) == (begun.run_id, "failed")
    run = await runs.get(db, begun.run_id)
    assert run.status == "failed"
    assert run.error == "interrupted in step 'two' (2 of 2): the process is gone"
    assert [(s.name, s.status, s.error) for s in run.steps] == [
        ("one", "success", None),
        ("two", "interrupted", "the process is gone"),
    ]
    assert [d.receiver for d in await deliveries.list_deliveries(db)] == ["mail"]
    claim = await make.sql(db, "SELECT claim FROM brain.runs")
    assert claim[0]["claim"] == 2
    assert await workers.settle(db, [recorder.worker.id], "again", ["mail"]) == []


async def test_two_sweepers_share_the_work(database_url: str, make: Any) -> None:
    async with await Database.open(database_url, pool_size=10) as database:
        recorder = make.recorder(database)
        begun = [make.start() for _ in range(50)]
        await asyncio.gather(*(recorder.start_run(one) for one in begun))
        ended = await asyncio.gather(
            *(workers.settle(database, [recorder.worker.id], "gone", ["mail"]) for _ in range(8))
        )
        ids = [run.run_id for part in ended for run in part]
        assert sorted(ids) == sorted(one.run_id for one in begun)


async def test_a_run_that_starts_while_its_worker_is_given_up_is_not_left_running(database_url: str, make: Any) -> None:
    async with await Database.open(database_url, pool_size=10) as database:
        recorder, _ = await _begun(database, make)
        starts = [recorder.start_run(make.start()) for _ in range(20)]
        await asyncio.gather(
            *starts, workers.settle(database, [recorder.worker.id], "gone", []), return_exceptions=True
        )
        assert "running" not in await runs.counts(database)


async def test_other_workers_keep_their_runs(db: Database, make: Any) -> None:
    dead, _ = await _begun(db, make)
    living, kept = await _begun(db, make)
    await workers.settle(db, [dead.worker.id], "gone", [])
    assert (await runs.get(db, kept.run_id)).status == "running"
    await living.finish_step(make.step(kept.run_id, 0, "one"))


async def test_a_beat_that_stands_still_for_a_lease_is_reported(db: Database, make: Any) -> None:
    # A short lease: the server has to be up for one.
    recorder, _ = await _begun(db, make, worker=make.worker(lease=0.25))
    me = recorder.worker.id
    assert await workers.observe(db, "boot", 100.0) == []
    assert await workers.observe(db, "boot", 100.24) == []
    assert await workers.observe(db, "other boot", 100.25) == []
    assert await workers.observe(db, "boot", 100.25) == [me]
    await workers.beat(db, me)
    assert await workers.observe(db, "boot", 101.0) == []
    assert await workers.observe(db, "boot", 101.24) == []
    assert await workers.observe(db, "boot", 101.25) == [me]


@pytest.mark.parametrize("back", [5.0, 99.0])
async def test_a_boot_clock_that_goes_back_starts_the_lease_anew(db: Database, make: Any, back: float) -> None:
    recorder, _ = await _begun(db, make, worker=make.worker(lease=0.25))
    await workers.observe(db, "boot", 100.0)
    assert await workers.observe(db, "boot", back) == []
    assert await workers.observe(db, "boot", back + 0.24) == []
    assert await workers.observe(db, "boot", back + 0.25) == [recorder.worker.id]


async def test_nobody_is_judged_while_the_server_is_up_for_less_than_a_lease(db: Database, make: Any) -> None:
    year = 365 * 86_400.0
    recorder, _ = await _begun(db, make, worker=make.worker(lease=year))
    await workers.observe(db, "boot", 100.0)
    assert await workers.observe(db, "boot", 100.0 + 2 * year) == []
    assert recorder.worker in await workers.candidates(db)


async def test_a_beat_hears_what_is_to_be_cancelled(db: Database, make: Any) -> None:
    recorder, begun = await _begun(db, make)
    beat = await workers.beat(db, recorder.worker.id)
    assert beat is not None
    assert beat.cancels == {}
    await queue.cancel_request(db, begun.run_id, "enough")
    beat = await workers.beat(db, recorder.worker.id)
    assert beat is not None
    assert beat.cancels == {begun.run_id: "enough"}


async def test_what_was_seen_of_a_stopped_worker_is_forgotten(db: Database, make: Any) -> None:
    recorder, _ = await _begun(db, make)
    await workers.observe(db, "boot", 1.0)
    await workers.settle(db, [recorder.worker.id], "gone", [])
    assert await make.sql(db, "SELECT FROM brain.worker_sightings") == []


def anyone(receiver: str, file: str | None) -> bool:
    return True


async def test_deliveries_of_the_living_are_left_to_them(db: Database, make: Any) -> None:
    recorder, me = make.recorder(db), make.worker()
    run_id = await make.run_once(recorder, receivers=("mail", "workflow"))
    assert await deliveries.open_for(db, me, anyone) == []
    assert await workers.candidates(db) == [recorder.worker], "nothing to claim, nobody to register"
    assert await deliveries.open_for(db, recorder.worker.id, anyone) == []
    await deliveries.done(db, run_id, "workflow")
    await workers.stop(db, recorder.worker.id)
    claims = await asyncio.gather(deliveries.open_for(db, me, anyone), deliveries.open_for(db, make.worker(), anyone))
    assert sorted(map(len, claims)) == [0, 1]
    assert [row for part in claims for row in part] == [(run_id, "mail")]


@pytest.mark.parametrize("theirs", ["worker_id = $2", "status = 'done', ended_at = now(), attempts = attempts"])
async def test_a_delivery_that_somebody_takes_or_makes_at_this_moment_is_not_claimed(
    db: Database, make: Any, theirs: str
) -> None:
    recorder, other = make.recorder(db), make.recorder(db)
    run_id = await make.run_once(recorder, receivers=("mail",))
    await make.run_once(other)
    await workers.stop(db, recorder.worker.id)
    async with db.transaction() as session:
        args = (run_id, other.worker.id) if "$2" in theirs else (run_id,)
        await session.connection.execute(f"UPDATE brain.deliveries SET {theirs} WHERE run_id = $1", *args)
        claiming = asyncio.create_task(deliveries.open_for(db, make.worker(), anyone))
        waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(20):
            while not await make.sql(db, waits):
                assert not claiming.done(), "it does not wait for the other"
    assert await claiming == []
    assert [row["attempts"] for row in await make.sql(db, "SELECT attempts FROM brain.deliveries")] == [0]


async def test_of_two_workflow_files_only_the_one_that_is_here_is_served(db: Database, make: Any) -> None:
    recorder, ids = make.recorder(db), {}
    for file in ("/there.py", "/here.py"):
        begun = make.start(file=file)
        await recorder.start_run(begun)
        await recorder.finish_step(make.step(begun.run_id, 0, "one"))
        await recorder.finish_run(make.success(begun.run_id, ("workflow",)))
        ids[file] = begun.run_id
    await workers.stop(db, recorder.worker.id)
    claimed = await deliveries.open_for(db, make.worker(), lambda receiver, file: file == "/here.py")
    assert claimed == [(ids["/here.py"], "workflow")]


async def test_of_two_deliveries_to_one_receiver_only_the_one_of_the_dead_is_taken(db: Database, make: Any) -> None:
    living, dead = make.recorder(db), make.recorder(db)
    await make.run_once(living, receivers=("mail",))
    run_id = await make.run_once(dead, receivers=("mail",))
    await workers.stop(db, dead.worker.id)
    assert await deliveries.open_for(db, make.worker(), anyone) == [(run_id, "mail")]


async def test_who_is_at_the_third_attempt_is_let_finish(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    run_id = await make.run_once(recorder, receivers=("mail",))
    await workers.stop(db, recorder.worker.id)
    for attempt in range(1, 4):
        me = make.worker()
        assert await deliveries.open_for(db, me, anyone) == [(run_id, "mail")]
        other = make.recorder(db)
        waiting = await make.run_once(other, receivers=("mail",))
        await workers.stop(db, other.worker.id)
        # Another delivery brings another process here, while this one is being made.
        assert await deliveries.open_for(db, make.worker(), anyone) == [(waiting, "mail")]
        await deliveries.done(db, waiting, "mail")
        [left] = await deliveries.list_deliveries(db)
        assert (left.status, left.attempts) == ("open", attempt)
        await workers.stop(db, me.id)
    # It was one process too many that ended in it; said when somebody next looks.
    assert await deliveries.open_for(db, make.worker(), anyone) == []
    [left] = await deliveries.list_deliveries(db)
    assert left.status == "failed"
    assert "3 attempts" in (left.error or "")


async def test_a_failed_delivery_is_listed_and_can_be_reopened(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    run_id = await make.run_once(recorder, receivers=("mail", "post"))
    await deliveries.failed(db, run_id, "mail", "no route")
    await deliveries.done(db, run_id, "post")
    await deliveries.failed(db, run_id, "post", "too late: it is done")
    [failed] = await deliveries.list_deliveries(db)
    assert (failed.receiver, failed.status, failed.error, failed.workflow) == ("mail", "failed", "no route", "flow")
    await deliveries.reopen(db, run_id)
    [opened] = await deliveries.list_deliveries(db)
    assert (opened.receiver, opened.status) == ("mail", "open")
    assert await deliveries.open_for(db, make.worker().id, anyone) == [(run_id, "mail")]


async def test_a_delivery_that_has_ended_does_not_change(db: Database, make: Any) -> None:
    run_id = await make.run_once(make.recorder(db), receivers=("mail", "post"))
    await deliveries.failed(db, run_id, "mail", "no route")
    await deliveries.done(db, run_id, "post")
    before = await make.sql(db, "SELECT * FROM brain.deliveries ORDER BY receiver")
    assert [row["status"] for row in before] == ["failed", "done"]
    for receiver in ("mail", "post"):
        await deliveries.done(db, run_id, receiver)
        await deliveries.failed(db, run_id, receiver, "again")
    assert await make.sql(db, "SELECT * FROM brain.deliveries ORDER BY receiver") == before


async def test_why_a_worker_stopped_is_said_once(db: Database, make: Any) -> None:
    silent, _ = await _begun(db, make)
    over = make.recorder(db)
    await make.run_once(over)
    await workers.stop(db, over.worker.id)
    await workers.settle(db, [silent.worker.id], "it was silent", [])
    query = "SELECT id, stopped_at, stop_reason FROM brain.workers"
    before = {row["id"]: tuple(row) for row in await make.sql(db, query)}
    assert (before[over.worker.id][2], before[silent.worker.id][2]) == ("ended", "it was silent")
    await workers.settle(db, [silent.worker.id, over.worker.id], "it is gone", [])
    assert {row["id"]: tuple(row) for row in await make.sql(db, query)} == before


async def test_only_what_a_process_can_serve_is_claimed(db: Database, make: Any) -> None:
    recorder, me = make.recorder(db), make.worker()
    run_id = await make.run_once(recorder, receivers=("mail", "post", "workflow"))
    await workers.stop(db, recorder.worker.id)
    asked = []

    def serves(receiver: str, file: str | None) -> bool:
        asked.append((receiver, file))
        return receiver == "post"

    assert await deliveries.open_for(db, me, serves) == [(run_id, "post")]
    assert sorted(asked) == [("mail", None), ("post", None), ("workflow", "/flow.py")]
    assert await deliveries.open_for(db, me, lambda receiver, file: file == "/flow.py", run_id=uuid4()) == []
    assert await deliveries.open_for(db, me, lambda receiver, file: file == "/flow.py") == [(run_id, "workflow")]
    left = {row.receiver: (row.status, row.attempts, row.owner) for row in await deliveries.list_deliveries(db)}
    assert left["mail"] == ("open", 0, None)
    assert left["post"] == ("open", 1, f"pid {me.pid} on {me.host}")


async def test_what_nobody_here_serves_is_asked_about_once(db: Database, make: Any) -> None:
    recorder, asked = make.recorder(db), []
    for _ in range(20):
        await make.run_once(recorder, receivers=("gone",))
    await workers.stop(db, recorder.worker.id)
    assert await deliveries.open_for(db, make.worker(), lambda *what: bool(asked.append(what))) == []
    assert asked == [("gone", None)]
