"""The queue: claims, what a lost reply leaves, files that are not here, cancelling, and putting back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.errors import ClaimLost, DatabaseError, DatabaseUnreachable, RunNotFound
from brain_core.run import PlannedStep
from brain_core.store import daemon, deliveries, fires, queue, runs, triggers, workers
from brain_core.store.database import Database
from brain_core.store.queue import NewRun

STEPS = (PlannedStep("one", "noop"), PlannedStep("two", "noop"))


async def _queue(db: Database, count: int = 1, **changes: Any) -> list[UUID]:
    facts: dict[str, Any] = {"workflow": "flow", "file": "/flow.py", "planned": STEPS, "inputs": {"a": 1}}
    return [await queue.enqueue(db, NewRun(**(facts | changes))) for _ in range(count)]


async def test_a_claim_takes_the_oldest_and_makes_them_the_workers(db: Database, make: Any) -> None:
    queued, me = await _queue(db, 5), make.worker()
    claimed = await queue.claim(db, me, 3)
    assert [one.run_id for one in claimed] == queued[:3]
    one = claimed[0]
    assert (one.workflow, one.file, one.planned, one.inputs) == ("flow", "/flow.py", STEPS, {"a": 1})
    assert (one.claim, one.position, one.takeovers, one.resumed, one.trigger) == (1, 0, 0, False, None)
    run = await runs.get(db, queued[0])
    assert (run.status, run.started_at) == ("running", one.started_at)
    assert await workers.candidates(db) == [me]
    recorder = make.recorder(db, worker=me)
    await recorder.finish_step(make.step(one.run_id, 0, "one"))
    await recorder.finish_run(make.success(one.run_id))
    assert [one.run_id for one in await queue.claim(db, me, 9)] == queued[3:]
    assert await queue.claim(db, me, 9) == []


@pytest.mark.parametrize("absent", [(), ("/other.py",)], ids=["all files", "a file is absent"])
@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_instants_that_fired_together_run_one_after_the_other_unless_they_may_overlap(
    db: Database, make: Any, overlap: Any, absent: Any
) -> None:
    """What `catch_up=all` makes up for (G4); a run that waits for its turn holds up no other."""
    instants = [datetime(2026, 1, 5, hour, tzinfo=UTC) for hour in range(5)]
    trigger = triggers.NewTrigger(
        name="all",
        type="test",
        config={},
        workflow_name="flow",
        file="/flow.py",
        host="",
        inputs={},
        planned_steps=[{"name": "one", "type": "noop"}, {"name": "two", "type": "noop"}],
        next_due_at=instants[0],
        catch_up="all",
        catch_up_max=5,
        overlap=overlap,
    )
    row = await triggers.register(db, trigger, instants[0])
    fired = await fires.fire(db, [fires.Fire(row.id, 1, instants[0], instants, None, None)], instants[-1])
    assert [one.outcome for one in fired] == ["fired"] * 5
    [other] = await _queue(db)
    me = make.worker()
    recorder = make.recorder(db, worker=me)

    async def claimed_now() -> list[datetime | None]:
        got = await queue.claim(db, me, 9, absent)
        return sorted((one.due_at for one in got if one.run_id != other), key=str)

    assert await claimed_now() == (instants[:1] if overlap == "skip" else instants)
    assert (await runs.get(db, other)).status == "running"
    if overlap == "allow":
        return
    for one, following in zip(fired, [*instants[1:], None], strict=True):
        assert await claimed_now() == []
        assert one.run_id is not None
        if one is fired[1]:
            await daemon.park(db, me.id, one.run_id, 1, "somebody has to decide")
            assert await claimed_now() == []
            await queue.cancel_request(db, one.run_id, "not this one")
        else:
            await recorder.finish_step(make.step(one.run_id, 0, "one"))
            await recorder.finish_run(make.success(one.run_id))
        assert await claimed_now() == ([] if following is None else [following])


async def test_an_id_that_is_there_is_the_same_run(db: Database) -> None:
    run_id = uuid4()
    for inputs in ({"a": 1}, {"a": 2}):
        assert await _queue(db, run_id=run_id, inputs=inputs) == [run_id]
    assert await runs.counts(db) == {"queued": 1}
    assert (await runs.get(db, run_id)).inputs == {"a": 1}


@pytest.mark.parametrize("absent", [(), ("/other.py",)], ids=["all files", "a file is absent"])
async def test_workers_that_claim_at_once_never_share_a_run(database_url: str, make: Any, absent: Any) -> None:
    async with await Database.open(database_url, pool_size=4) as database:
        queued = await _queue(database, 60)
        me = [make.worker() for _ in range(4)]
        got: list[UUID] = []
        while len(got) < 60:
            told = await asyncio.gather(*(queue.claim(database, one, 7, absent) for one in me))
            got += [claimed.run_id for part in told for claimed in part]
        assert sorted(got) == sorted(queued)


async def test_what_a_lost_reply_has_claimed_is_found_again(db: Database, make: Any) -> None:
    queued, me = await _queue(db, 6), make.worker()
    [kept] = await queue.claim(db, me, 1, known=[])
    await queue.claim(db, me, 3, known=[kept.run_id])  # and nobody heard of it
    again = await queue.claim(db, me, 4, known=[kept.run_id])
    assert [one.run_id for one in again] == queued[1:5]
    assert {one.claim for one in again} == {1}
    assert await queue.claim(db, me, 0, known=[kept.run_id, *queued[1:5]]) == []
    assert [one.run_id for one in await queue.claim(db, me, 9, ["/x.py"], known=queued[:5])] == queued[5:]
    assert await queue.claim(db, make.worker(), 9, known=[]) == [], "and it is nobody else's"


async def test_without_what_is_known_a_lost_reply_is_raised(db: Database, make: Any) -> None:
    await _queue(db, 4)
    me = make.worker()
    async with await Database.open(db.url) as losing:
        async with losing.session() as session:
            connection = session.connection
        fetch = type(connection).fetch

        async def cut(*args: Any, **options: Any) -> Any:
            await fetch(*args, **options)
            connection.terminate()
            return await fetch(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(connection), "fetch", cut)
            with pytest.raises(DatabaseUnreachable):
                await queue.claim(losing, me, 2)
    assert await runs.counts(db) == {"queued": 2, "running": 2}
    assert len(await queue.claim(db, me, 2, known=[])) == 2
    assert await runs.counts(db) == {"queued": 2, "running": 2}


async def test_a_worker_that_was_given_up_claims_nothing(db: Database, make: Any) -> None:
    await _queue(db, 2)
    me = make.worker()
    await queue.claim(db, me, 1)
    await workers.settle(db, [me.id], "gone", [])
    assert await queue.claim(db, me, 1) == []
    assert await runs.counts(db) == {"queued": 1, "failed": 1}


async def test_runs_of_absent_files_are_left_to_others_unless_queued_for_this_host(db: Database, make: Any) -> None:
    me = make.worker(host="here")
    await daemon.beat(db, make.worker(host="there"), 1, 0, 0.0, [])
    [there] = await _queue(db, file="/absent.py", host="there")
    [nowhere] = await _queue(db, file="/absent.py")
    [here] = await _queue(db, file="/absent.py", host="here")
    [gone] = await _queue(db, file="/absent.py", host="gone")
    [present] = await _queue(db, file="/present.py", host="there")
    assert [one.run_id for one in await queue.claim(db, me, 9, ["/absent.py"])] == [here, gone, present]
    assert {one.run_id for one in await queue.claim(db, me, 9)} == {there, nowhere}


async def test_the_previous_run_is_pinned_at_the_first_start_only(db: Database, make: Any) -> None:
    me, recorder = make.worker(), make.recorder(db)
    first, second = await _queue(db, 2)
    [claimed] = await queue.claim(db, me, 1)
    assert claimed.previous_run_id is None
    await queue.release(db, me.id, [(first, 1)])
    success = await make.run_once(recorder)
    [claimed] = await queue.claim(db, me, 1)
    assert (claimed.run_id, claimed.claim, claimed.previous_run_id) == (first, 2, success)
    await make.run_once(recorder)
    await make.recorder(db, worker=me).finish_step(make.step(first, 0, "one", claim=2))
    await queue.release(db, me.id, [(first, 2)])
    [claimed] = await queue.claim(db, me, 1)
    assert (claimed.run_id, claimed.previous_run_id, claimed.resumed, claimed.position) == (first, success, True, 1)
    [claimed] = await queue.claim(db, me, 1)
    assert claimed.run_id == second
    assert claimed.previous_run_id not in (None, success)


async def test_what_was_released_is_queued_and_its_claim_is_lost(db: Database, make: Any) -> None:
    [run_id], me = await _queue(db), make.worker()
    await queue.claim(db, me, 1)
    assert await queue.release(db, uuid4(), [(run_id, 1)]) == []
    assert await queue.release(db, me.id, [(run_id, 2)]) == []
    assert await queue.release(db, me.id, [(run_id, 1)]) == [run_id]
    assert await queue.release(db, me.id, [(run_id, 1)]) == []
    run = await runs.get(db, run_id)
    assert (run.status, run.started_at) == ("queued", None)
    with pytest.raises(ClaimLost):
        await make.recorder(db, worker=me).finish_step(make.step(run_id, 0, "one"))


@pytest.mark.parametrize("status", ["queued", "parked"])
async def test_what_waits_is_cancelled_at_once_and_told_of(db: Database, make: Any, status: str) -> None:
    recorder = make.recorder(db)
    recorder.add_version("told", {"flow.py": "…"}, on_finished=True)
    await recorder.start_run(begun := make.start(digest="told"))
    [run_id] = await _queue(db, digest="told")
    if status == "parked":
        await queue.claim(db, make.worker(), 1)
        await make.sql(
            db,
            "UPDATE brain.runs SET status = 'parked', parked_reason = 'x', worker_id = NULL WHERE id = $1",
            run_id,
        )
    for _ in range(2):
        assert await queue.cancel_request(db, run_id, "not needed", ["mail"]) == "cancelled"
    run = await runs.get(db, run_id)
    assert (run.status, run.error) == ("cancelled", "not needed")
    assert sorted(one.receiver for one in await deliveries.list_deliveries(db)) == ["mail", "workflow"]
    assert (await runs.get(db, begun.run_id)).status == "running"


async def test_what_runs_is_asked_to_end(db: Database, make: Any) -> None:
    me = make.worker()
    [run_id, other] = await _queue(db, 2)
    await queue.claim(db, me, 2)
    for reason in ("first", "second"):
        assert await queue.cancel_request(db, run_id, reason, ["mail"]) == "requested"
    beat = await workers.beat(db, me.id)
    assert beat is not None
    assert beat.cancels == {run_id: "first"}
    assert await deliveries.list_deliveries(db) == []
    await make.sql(db, "UPDATE brain.runs SET status = 'failed', error = 'x', ended_at = now() WHERE id = $1", other)
    assert await queue.cancel_request(db, other, "late") == "over"
    with pytest.raises(RunNotFound):
        await queue.cancel_request(db, uuid4(), "nobody")


async def test_a_parked_run_goes_on_when_a_person_says_so(db: Database, make: Any) -> None:
    [run_id] = await _queue(db)
    await queue.claim(db, make.worker(), 1)
    assert not await queue.unpark(db, run_id)
    await make.sql(db, "UPDATE brain.runs SET status = 'parked', parked_reason = 'x', worker_id = NULL, takeovers = 3")
    for _ in range(2):
        assert await queue.unpark(db, run_id)
    [claimed] = await queue.claim(db, make.worker(), 1)
    assert (claimed.claim, claimed.takeovers) == (2, 0)


async def test_an_unknown_source_is_left_out_and_a_known_one_kept(db: Database, make: Any) -> None:
    await make.run_once(make.recorder(db))
    [unknown], [known] = await _queue(db, digest="unknown"), await _queue(db, digest="digest")
    assert (await runs.get(db, unknown)).version is None
    assert (await runs.get(db, known)).version == "digest"


async def test_whoever_listens_hears_of_what_is_queued(db: Database, database_url: str) -> None:
    heard = asyncio.Event()
    async with await Database.open(database_url) as other, other.session() as session:
        await session.connection.add_listener("brain", lambda *_: heard.set())
        [run_id] = await _queue(db)
        await heard.wait()
        heard.clear()
        await queue.cancel_request(db, run_id, "x")
        await heard.wait()
        await session.connection.reset()


async def test_a_run_that_cannot_be_queued_is_refused(db: Database) -> None:
    with pytest.raises(DatabaseError, match="runs_plan_has_steps"):
        await _queue(db, planned=())
