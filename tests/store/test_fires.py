"""Firing: each instant once, whoever fires at the same moment; overlap, ranges, repeats, one bad trigger among good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.store import daemon, fires, queue, runs, triggers, workers
from brain_core.store.database import Database
from brain_core.store.fires import Fire, Taker
from brain_core.store.statements import statement
from brain_core.store.triggers import NewTrigger, TriggerRow
from brain_core.store.workers import WorkerIdentity

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def new(name: str = "a", **changes: Any) -> NewTrigger:
    facts: dict[str, Any] = {
        "name": name,
        "type": "test",
        "config": {"every": 1},
        "workflow_name": "flow",
        "file": "/flow.py",
        "host": "here",
        "inputs": {"who": "ann"},
        "planned_steps": [{"name": "one", "type": "noop"}],
        "next_due_at": NOON,
    }
    return NewTrigger(**(facts | changes))


async def register(db: Database, name: str = "a", **changes: Any) -> TriggerRow:
    return await triggers.register(db, new(name, **changes), NOON - HOUR)


def at_noon(row: TriggerRow, **changes: Any) -> Fire:
    facts: dict[str, Any] = {
        "trigger_id": row.id,
        "revision": row.revision,
        "expected_due": NOON,
        "fire_due": (NOON,),
        "merged": None,
        "next_due_at": NOON + HOUR,
    }
    return Fire(**(facts | changes))


async def _ledger(db: Database, row: TriggerRow) -> list[tuple[datetime, datetime | None, str]]:
    return [(one.due_at, one.until, one.outcome) for one in await fires.ledger(db, row.id)]


async def test_a_fire_is_a_queued_run_a_ledger_row_and_the_next_instant(db: Database, make: Any) -> None:
    row = await register(db)
    fire = at_noon(row)
    [result] = await fires.fire(db, [fire], NOON)
    assert (result.name, result.due_at, result.outcome, result.run_id) == ("a", NOON, "fired", fire.run_ids[0])
    run = await runs.get(db, fire.run_ids[0])
    assert (run.status, run.workflow, run.file, run.inputs) == ("queued", "flow", "/flow.py", {"who": "ann"})
    assert run.trigger == {"type": "test", "name": "a", "due_at": "2026-05-01T12:00:00+00:00"}
    assert (await triggers.get(db, "a")).next_due_at == NOON + HOUR
    [entry] = await fires.ledger(db, row.id)
    assert (entry.outcome, entry.reason, entry.run_id, entry.revision, entry.open) == (
        "fired",
        "due",
        fire.run_ids[0],
        1,
        False,
    )


async def test_what_is_sent_twice_happens_once(db: Database) -> None:
    row = await register(db)
    fire = at_noon(row, merged=(NOON - HOUR, NOON - HOUR), expected_due=NOON)
    assert len(await fires.fire(db, [fire], NOON)) == 2
    assert await fires.fire(db, [fire], NOON) == []
    assert await runs.counts(db) == {"queued": 1}
    assert await _ledger(db, row) == [(NOON, None, "fired"), (NOON - HOUR, None, "merged")]


@pytest.mark.parametrize("sessions", [2, 4])
async def test_sessions_that_fire_the_same_triggers_fire_each_instant_once(
    database_url: str, make: Any, sessions: int
) -> None:
    async with await Database.open(database_url, pool_size=sessions) as database:
        rows = [await register(database, f"t{number}", overlap="allow") for number in range(200)]
        # Real connections first, so that the statements meet.
        await asyncio.gather(*(make.sql(database, "SELECT pg_sleep(0.01)") for _ in range(sessions)))
        due = NOON
        for hour in range(1, 6):
            later = NOON + hour * HOUR
            batches = []
            for session in range(sessions):
                mixed = rows[session * 7 :] + rows[: session * 7]
                mixed = mixed[::-1] if session % 2 else mixed
                # Each looks a minute later than the last, and so decides for another instant.
                decided = {"fire_due": (due + session * MINUTE,), "merged": (due, due) if session else None}
                batches.append([at_noon(row, expected_due=due, next_due_at=later, **decided) for row in mixed])
            told = await asyncio.gather(*(fires.fire(database, batch, due) for batch in batches))
            fired = [result for part in told for result in part if result.outcome != "merged"]
            # What is locked at this moment is left to the one who has locked it, so none is left over.
            assert sorted(result.trigger_id for result in fired) == sorted(row.id for row in rows)
            due = later
        assert await runs.counts(database) == {"queued": 1_000}
        assert await make.sql(
            database, "SELECT count(*), count(DISTINCT run_id) FROM brain.fires WHERE outcome = 'fired'"
        ) == [(1_000, 1_000)]


async def test_a_decision_that_comes_late_changes_nothing(db: Database) -> None:
    row = await register(db)
    gap = at_noon(row, merged=(NOON, NOON + 2 * HOUR), fire_due=(NOON + 3 * HOUR,), next_due_at=NOON + 4 * HOUR)
    late = at_noon(row, merged=(NOON, NOON), fire_due=(NOON + HOUR,), next_due_at=NOON + 2 * HOUR)
    assert len(await fires.fire(db, [gap], NOON + 3 * HOUR)) == 2
    assert await fires.fire(db, [late], NOON + HOUR) == []
    assert len(await _ledger(db, row)) == 2


async def test_a_trigger_that_somebody_holds_does_not_hold_up_the_others(
    db: Database, database_url: str, make: Any
) -> None:
    held, free = await register(db, "held"), await register(db, "free")
    async with await Database.open(database_url) as other, other.transaction() as session:
        await session.fetch("trigger_lock", "held")
        [result] = await fires.fire(db, [at_noon(held), at_noon(free)], NOON)
        assert result.name == "free"
    assert [row.name for row in await fires.due(db, NOON, 10, ["test"])] == ["held"]


@pytest.mark.parametrize("change", ["pause", "edit", "unregister", "fire"])
async def test_what_was_changed_meanwhile_does_not_fire(db: Database, change: str) -> None:
    row = await register(db)
    if change == "pause":
        await triggers.pause(db, "a", NOON, NOON + HOUR)
    elif change == "edit":
        await triggers.edit(db, "a", NOON - HOUR, triggers.TriggerEdit(overlap="allow"), NOON)
    elif change == "unregister":
        await triggers.unregister(db, "a", NOON)
    else:
        await fires.fire(db, [at_noon(row)], NOON)
    before = await runs.counts(db)
    assert await fires.fire(db, [at_noon(row)], NOON) == []
    assert await runs.counts(db) == before


@pytest.mark.parametrize("status", ["queued", "running", "parked", "failed"])
@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_overlap_is_decided_by_the_runs_that_go_on(db: Database, make: Any, status: str, overlap: Any) -> None:
    row = await register(db, overlap=overlap)
    [first] = await fires.fire(db, [at_noon(row)], NOON)
    if status in ("running", "parked"):
        await queue.claim(db, make.worker(), 1)
    if status == "parked":
        await make.sql(db, "UPDATE brain.runs SET status = 'parked', parked_reason = 'x', worker_id = NULL")
    if status == "failed":
        await make.sql(db, "UPDATE brain.runs SET status = 'failed', error = 'x', ended_at = now()")
    later = at_noon(row, expected_due=NOON + HOUR, fire_due=(NOON + HOUR,), next_due_at=None)
    [second] = await fires.fire(db, [later], NOON + HOUR)
    fires_again = overlap == "allow" or status == "failed"
    assert second.outcome == ("fired" if fires_again else "skipped_overlap")
    assert (second.run_id is not None) == fires_again
    [entry, _] = await fires.ledger(db, row.id)
    assert entry.reason == ("due" if fires_again else f"run {str(first.run_id)[:8]} is {status}")
    assert (await triggers.get(db, "a")).next_due_at is None


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_catching_up_on_all_fires_each_of_them(db: Database, overlap: Any) -> None:
    row = await register(db, overlap=overlap, catch_up="all", catch_up_max=2)
    fire = at_noon(
        row,
        merged=(NOON, NOON + 2 * HOUR),
        fire_due=(NOON + 3 * HOUR, NOON + 4 * HOUR),
        next_due_at=NOON + 5 * HOUR,
        reason="missed; catch_up is all",
    )
    results = await fires.fire(db, [fire], NOON + 4 * HOUR)
    assert [result.outcome for result in results] == ["merged", "fired", "fired"]
    assert (results[0].due_at, results[0].until) == (NOON, NOON + 2 * HOUR)
    assert [row.reason for row in await fires.ledger(db, row.id)][-1] == "missed; catch_up is all"


async def test_nothing_fires_where_all_is_merged(db: Database) -> None:
    row = await register(db)
    fire = at_noon(row, fire_due=(), merged=(NOON, NOON + HOUR), next_due_at=NOON + 2 * HOUR, reason="missed")
    [result] = await fires.fire(db, [fire], NOON + HOUR)
    assert result.outcome == "merged"
    assert await runs.counts(db) == {}
    assert await fires.fire(db, [], NOON) == []


async def test_one_bad_trigger_costs_the_others_nothing(db: Database, make: Any) -> None:
    rows = [await register(db, f"t{number}") for number in range(7)]
    gone = uuid4()
    await make.run_once(make.recorder(db))
    [run] = await runs.history(db)
    decided = [at_noon(row) for row in rows]
    # The id of a run that is there already.
    decided[3] = at_noon(rows[3], run_ids=(UUID(run.id),))
    decided.append(at_noon(rows[0], trigger_id=gone))
    results = await fires.fire(db, decided, NOON)
    assert sorted(result.outcome for result in results) == [*["fired"] * 6, "refused"]
    [refused] = [result for result in results if result.outcome == "refused"]
    assert refused.trigger_id == rows[3].id
    assert "duplicate key" in (refused.error or "")
    assert [row.name for row in await fires.due(db, NOON, 10, ["test"])] == ["t3"]


async def test_an_instant_that_has_an_outcome_does_not_get_another(db: Database, make: Any) -> None:
    """A clock that was set back: the trigger is due again at an instant that has fired."""
    row = await register(db)
    [first] = await fires.fire(db, [at_noon(row)], NOON)
    row = await triggers.edit(db, "a", NOON, triggers.TriggerEdit(overlap="allow"), NOON)
    assert await fires.fire(db, [at_noon(row)], NOON) == []
    assert (await triggers.get(db, "a")).next_due_at == NOON + HOUR, "it goes on all the same"
    assert [entry.run_id for entry in await fires.ledger(db, row.id)] == [first.run_id]
    assert await runs.counts(db) == {"queued": 1}


async def test_next_due_is_the_first_of_all_and_can_leave_some_out(db: Database) -> None:
    now, nothing = await fires.next_due(db, ["test"])
    assert nothing is None
    assert abs(now - datetime.now(UTC)) < HOUR
    first, second = await register(db, "first"), await register(db, "second", next_due_at=NOON + HOUR)
    await register(db, "untimed", next_due_at=None)
    assert (await fires.next_due(db, ["test"]))[1] == NOON
    assert (await fires.next_due(db, ["test"], [first.id]))[1] == NOON + HOUR
    assert (await fires.next_due(db, ["elsewhere"]))[1] is None, "nobody here can ask such a type"
    await triggers.pause(db, "second", NOON, NOON + HOUR, NOON - HOUR)
    assert (await fires.next_due(db, ["test"]))[1] == NOON - HOUR, "a pause that is to end counts"
    assert [row.id for row in await fires.resumable(db, NOON, 9, ["test"])] == [second.id]
    assert await fires.resumable(db, NOON - 2 * HOUR, 9, ["test"]) == []
    assert await fires.resumable(db, NOON, 9, ["elsewhere"]) == []
    assert await fires.resumable(db, NOON, 9, ["test"], [second.id]) == []


async def test_the_ledger_is_read_backwards_page_by_page_with_the_range_that_reaches_over(db: Database) -> None:
    row = await register(db)
    await fires.fire(db, [at_noon(row, merged=(NOON - 5 * HOUR, NOON - HOUR))], NOON)
    for hour in (1, 2):
        due = NOON + hour * HOUR
        await fires.fire(db, [at_noon(row, expected_due=due, fire_due=(due,), next_due_at=due + HOUR)], due)
    page = await fires.ledger(db, row.id, limit=2)
    assert [entry.due_at for entry in page] == [NOON + 2 * HOUR, NOON + HOUR]
    rest = await fires.ledger(db, row.id, before=page[-1].due_at)
    assert [entry.due_at for entry in rest] == [NOON, NOON - 5 * HOUR]
    since = await fires.ledger(db, row.id, NOON - 2 * HOUR)
    assert [entry.due_at for entry in since][-1] == NOON - 5 * HOUR
    assert [entry.due_at for entry in await fires.ledger(db, row.id, NOON)][-1] == NOON


class TestTaking:
    """A worker takes the runs that it fires in the commit that fires them."""

    async def test_a_run_of_its_host_begins_at_once(self, db: Database, make: Any) -> None:
        row, elsewhere = await register(db), await register(db, "b", host="there")
        anywhere = await register(db, "c", host="")
        me = await _alive(db, make)
        results = await fires.fire(db, [at_noon(row), at_noon(elsewhere), at_noon(anywhere)], NOON, _taker(me))
        taken = {result.name: result.taken for result in results}
        assert taken["b"] is None
        assert taken["c"] is not None
        run = taken["a"]
        assert run is not None
        assert (run.claim, run.file, run.inputs, run.trigger_id, run.due_at, run.resumed, run.position) == (
            1, "/flow.py", {"who": "ann"}, row.id, NOON, False, 0,
        )  # fmt: skip
        assert run.trigger == {"type": "test", "name": "a", "due_at": "2026-05-01T12:00:00+00:00"}
        assert await runs.counts(db) == {"queued": 1, "running": 2}
        known = [one.run_id for one in taken.values() if one is not None]
        assert [one.file for one in await queue.claim(db, me, 9, known=known)] == ["/flow.py"], "the one left to others"

    async def test_no_more_than_there_is_room_for(self, db: Database, make: Any) -> None:
        rows = [await register(db, f"t{number}") for number in range(5)]
        me = await _alive(db, make)
        results = await fires.fire(db, [at_noon(row) for row in rows], NOON, _taker(me, limit=2))
        assert sum(result.taken is not None for result in results) == 2
        assert await runs.counts(db) == {"queued": 3, "running": 2}

    async def test_runs_of_others_do_not_use_up_the_room(self, db: Database, make: Any) -> None:
        rows = [await register(db, f"t{number}", host="there" if number < 3 else "here") for number in range(4)]
        me = await _alive(db, make)
        results = await fires.fire(db, [at_noon(row) for row in rows], NOON, _taker(me, limit=1))
        assert [result.name for result in results if result.taken is not None] == ["t3"]

    async def test_it_reads_the_last_successful_run_as_of_this_moment(self, db: Database, make: Any) -> None:
        row = await register(db)
        me = await _alive(db, make)
        [first] = await fires.fire(db, [at_noon(row)], NOON, _taker(me))
        assert first.taken is not None
        assert first.taken.previous_run_id is None
        end = make.success(first.taken.run_id)._replace(last=make.step(first.taken.run_id, 0, "one"))
        await make.recorder(db, worker=me).finish_run(end)
        later = at_noon(row, expected_due=NOON + HOUR, fire_due=(NOON + HOUR,), next_due_at=None)
        [second] = await fires.fire(db, [later], NOON + HOUR, _taker(me))
        assert second.taken is not None
        assert second.taken.previous_run_id == first.run_id

    async def test_who_was_given_up_takes_nothing(self, db: Database, make: Any) -> None:
        row = await register(db)
        me = await _alive(db, make)
        await workers.settle(db, [me.id], "gone", [])
        [result] = await fires.fire(db, [at_noon(row)], NOON, _taker(me))
        assert (result.outcome, result.taken) == ("fired", None)
        assert await runs.counts(db) == {"queued": 1}

    async def test_while_its_row_is_held_the_runs_are_queued(self, db: Database, make: Any) -> None:
        row = await register(db)
        me = await _alive(db, make)
        async with db.transaction() as session:
            await session.connection.execute("SELECT FROM brain.workers FOR UPDATE")
            [result] = await fires.fire(db, [at_noon(row)], NOON, _taker(me))
        assert (result.outcome, result.taken) == ("fired", None)

    async def test_of_instants_that_must_not_overlap_it_takes_the_first(self, db: Database, make: Any) -> None:
        me = await _alive(db, make)
        for overlap, number in (("skip", 1), ("allow", 2)):
            row = await register(db, overlap, overlap=overlap, catch_up="all", catch_up_max=2)
            fire = at_noon(row, fire_due=(NOON, NOON + HOUR), next_due_at=NOON + 2 * HOUR)
            results = await fires.fire(db, [fire], NOON + HOUR, _taker(me))
            assert [result.outcome for result in results] == ["fired", "fired"]
            assert sum(result.taken is not None for result in results) == number

    async def test_what_a_lost_reply_has_taken_the_next_claim_finds(self, db: Database, make: Any) -> None:
        row = await register(db)
        me = await _alive(db, make)
        [lost] = await fires.fire(db, [at_noon(row)], NOON, _taker(me))
        assert await fires.fire(db, [at_noon(row)], NOON, _taker(me)) == []
        assert await queue.claim(db, me, 0, known=[]) == [lost.taken]

    async def test_what_reaches_the_database_early_has_not_begun_early(self, db: Database, make: Any) -> None:
        me = await _alive(db, make)
        due = await triggers.clock(db) + timedelta(seconds=1)
        row = await register(db, next_due_at=due)
        fire = at_noon(row, expected_due=due, fire_due=(due,), next_due_at=None)
        run, ids = fire.run_ids[0], f"'{{{row.id}}}'"
        given = (
            f"{ids}, '{{1}}', '{{{due}}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{due}}', {ids}, '{{{due}}}', "
            f"'{{{due:%H}}}', '{{{run}}}', '{{due}}', NULL, '{me.id}', 'here', 1"
        )
        async with db.session() as session:
            await session.connection.execute(f"PREPARE fire AS {statement('fires_fire')}")
            # One message to the server: it has come before the instant.
            await session.connection.execute(f"SELECT pg_sleep_until('{due}'); EXECUTE fire ({given})")
        begun = await runs.get(db, run)
        assert begun.status == "running"
        assert begun.started_at is not None
        assert due <= begun.created_at == begun.started_at

    async def test_what_the_database_refuses_does_not_count_as_room(self, db: Database, make: Any) -> None:
        rows = [await register(db, f"t{number}") for number in range(4)]
        me = await _alive(db, make)
        await make.sql(db, f"ALTER TABLE brain.fires ADD CHECK (trigger_id <> '{rows[1].id}')")
        results = await fires.fire(db, [at_noon(row) for row in rows], NOON, _taker(me, limit=2))
        assert sorted(result.outcome for result in results) == ["fired", "fired", "fired", "refused"]
        assert await runs.counts(db) == {"queued": 1, "running": 2}


async def _alive(db: Database, make: Any) -> WorkerIdentity:
    me: WorkerIdentity = make.worker(host="here")
    await daemon.beat(db, me, 10, 0, 0.0, [])
    return me


def _taker(worker: WorkerIdentity, limit: int = 10) -> Taker:
    return Taker(worker.id, worker.host, limit)
