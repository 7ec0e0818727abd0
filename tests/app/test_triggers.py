"""`brain.triggers` on a real database: what each act leaves in the ledger, and what it refuses."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from brain_core import Cron, Trigger
from brain_core.app import load_plan
from brain_core.audit import Outcome
from brain_core.engine.events import RunStarted
from brain_core.engine.sweep import worker_identity
from brain_core.errors import InputError, TriggerNotFound, TriggerRefused, UsageError
from brain_core.store import daemon, fires, queue, runs, triggers, workers
from brain_core.store.fires import Fire, LedgerRow

DAY = timedelta(days=1)
SELDOM = "0 0 29 2 *"
"""Not due while a test goes on, as one of every ten minutes may be."""


async def _plan(brain, flow):
    return (await load_plan(brain.settings, brain.plugins, flow))[0]


async def _past(brain, ago: timedelta) -> datetime:
    return await triggers.clock(brain.db) - ago


async def test_register_writes_what_was_asked(brain, flow):
    plan = await _plan(brain, flow)
    done = await brain.triggers.register(
        plan, Cron("0 9 * * 1-5", timezone="Europe/Berlin"), inputs={"n": 3}, catch_up="all", catch_up_max=4
    )
    row = (await brain.triggers.get("flow")).row
    assert (row.name, row.type, row.workflow_name, row.file) == ("flow", "cron", "flow", str(flow))
    assert row.config == {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
    # Only what was given: a default of the file is that of the day of the run.
    assert row.inputs == {"n": 3}
    assert (row.catch_up, row.catch_up_max, row.overlap, row.state) == ("all", 4, "skip", "active")
    assert done.trigger.next[0] == row.next_due_at
    assert row.next_due_at > row.created_at
    assert done.trigger.words == "at 09:00 on Monday to Friday (Europe/Berlin)"


async def test_a_taken_name_is_refused_and_nothing_is_overwritten(brain, flow):
    plan = await _plan(brain, flow)
    await brain.triggers.register(plan, Cron("0 9 * * *"), inputs={"n": 1})
    before = (await brain.triggers.get("flow")).row
    with pytest.raises(TriggerRefused) as caught:
        await brain.triggers.register(plan, Cron("0 10 * * *"), inputs={"n": 2})
    assert "change it: brain edit flow, end it: brain unregister flow" in str(caught.value)
    assert (await brain.triggers.get("flow")).row == before


async def test_many_at_once_give_one(brain, flow):
    plan = await _plan(brain, flow)
    answers = await asyncio.gather(
        *(brain.triggers.register(plan, Cron("0 9 * * *"), inputs={"n": n}) for n in range(8)), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, TriggerRefused)]
    assert len(refused) == 7
    assert len(await brain.triggers.listing()) == 1


async def test_a_refused_trigger_writes_nothing(brain, flow):
    plan = await _plan(brain, flow)
    for trigger in (Cron("0 0 31 2 *"), Cron("0 9 * * *", timezone="Nowhere")):
        with pytest.raises(TriggerRefused):
            await brain.triggers.register(plan, trigger)
    with pytest.raises(UsageError, match="is not a name"):
        await brain.triggers.register(plan, Cron("0 9 * * *"), name="a b")
    assert await brain.triggers.listing() == []


async def test_edit_settles_what_waited_and_fires_nothing_past(brain, registered_at):
    row = await registered_at("old", await _past(brain, DAY))
    after = await brain.triggers.edit(row, trigger=Cron("*/7 * * * *", timezone="UTC"))
    assert after.row.next_due_at > await _past(brain, timedelta(seconds=5))
    (line,) = await brain.triggers.fires("old")
    assert (line.outcome, line.due_at, line.reason) == ("merged", row.next_due_at, "edited before it was fired")
    assert line.until is not None
    (audit,) = await brain.triggers.audit()
    assert audit.holds
    # The next instant is past the newly written revision, so that the audit does look at the whole day before.
    assert audit.until - audit.since >= DAY


async def test_edit_keeps_what_is_not_given(brain, registered_at):
    row = await registered_at("old", await _past(brain, DAY), catch_up="all", catch_up_max=5)
    after = (await brain.triggers.edit(row, overlap="allow")).row
    assert (after.config, after.inputs, after.catch_up, after.catch_up_max) == (row.config, row.inputs, "all", 5)
    after = (await brain.triggers.edit(after, inputs={"who": "5"})).row
    assert (after.inputs, after.overlap) == ({"n": 1, "who": "5"}, "allow")
    with pytest.raises(InputError, match="'n' has to be int"):
        await brain.triggers.edit(after, inputs={"n": "x"})


async def test_an_edit_that_changes_nothing_writes_no_revision(brain, registered_at):
    row = await registered_at("old", await _past(brain, timedelta(0)), SELDOM)
    after = await brain.triggers.edit(row, trigger=Cron(SELDOM, timezone="UTC"), catch_up="latest")
    assert after.row == row
    assert len(await fires.revisions(brain.db, row.id)) == 1


async def test_a_fire_in_between_does_not_hinder_a_change(brain, registered_at):
    row = await registered_at("old", await _past(brain, DAY))
    due = row.next_due_at
    following = due + timedelta(minutes=10)
    await fires.fire(brain.db, [Fire(row.id, 1, due, [due], None, following)], due)
    # By the row of before: the first instant has its outcome by now.
    await brain.triggers.edit(row, trigger=Cron("*/7 * * * *", timezone="UTC"))
    merged, fired = await brain.triggers.fires("old")
    assert [(one.outcome, one.due_at) for one in (merged, fired)] == [("merged", following), ("fired", due)]
    assert (await brain.triggers.audit())[0].holds
    await queue.cancel_request(brain.db, fired.run_id, "the test is over")


async def test_an_edit_of_what_somebody_else_has_changed_is_refused(brain, registered_at):
    row = await registered_at("old", await _past(brain, timedelta(0)))
    first = await brain.triggers.edit(row, overlap="allow")
    with pytest.raises(TriggerRefused, match="'old' was changed by somebody else meanwhile"):
        await brain.triggers.edit(row, catch_up="none")
    assert (await brain.triggers.get("old")).row == first.row


async def test_a_pause_skips_and_ends_at_the_next_instant_from_now(brain, registered_at):
    past = await _past(brain, DAY)
    row = await registered_at("old", past)
    # Paused a day ago, with its first instant then.
    await triggers.pause(brain.db, "old", past + timedelta(seconds=1), row.next_due_at)
    assert (await brain.triggers.audit())[0].holds
    resumed = (await brain.triggers.resume("old")).row
    assert (resumed.state, resumed.paused_at) == ("active", None)
    assert resumed.next_due_at > await _past(brain, timedelta(seconds=5))
    (line,) = await brain.triggers.fires("old")
    assert (line.outcome, line.due_at) == ("skipped_paused", row.next_due_at)
    assert not line.open
    assert line.until == resumed.next_due_at - timedelta(minutes=10)
    assert (await brain.triggers.audit())[0].holds


async def test_pause_and_resume_are_idempotent(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)), SELDOM)
    first = (await brain.triggers.pause("old")).row
    assert (await brain.triggers.pause("old")).row == first
    until = datetime(2200, 1, 1, tzinfo=UTC)
    assert (await brain.triggers.pause("old", resume_at=until)).row.resume_at == until
    assert (await brain.triggers.pause("old")).row.resume_at == until
    resumed = (await brain.triggers.resume("old")).row
    assert (await brain.triggers.resume("old")).row == resumed
    # A pause that skipped nothing leaves nothing.
    assert await brain.triggers.fires("old") == []


async def test_unregister_keeps_the_history_and_frees_the_name(brain, flow, registered_at):
    row = await registered_at("old", await _past(brain, DAY))
    run = await brain.triggers.fire_now("old", {})
    await brain.triggers.unregister("old")
    (line,) = await fires.ledger(brain.db, row.id)
    assert (line.outcome, line.reason) == ("merged", "unregistered before it was fired")
    assert (await brain.show(run.id)).id == run.id
    with pytest.raises(TriggerNotFound):
        await brain.triggers.get("old")
    await brain.triggers.register(await _plan(brain, flow), Cron("0 9 * * *"), name="old", inputs={"n": 1})
    assert await brain.triggers.fires("old") == []
    await queue.cancel_request(brain.db, runs.UUID(run.id), "the test is over")


async def test_fire_now_takes_its_inputs_over_those_of_the_schedule(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)), inputs={"n": 1, "who": "7"})
    run = await brain.triggers.fire_now("old", {"n": "2"})
    assert (run.status, run.inputs["n"], run.inputs["who"]) == ("queued", 2, "7")
    assert run.trigger == {"type": "manual", "name": "old"}
    paused = await brain.triggers.pause("old")
    again = await brain.triggers.fire_now("old", {})
    assert (await brain.triggers.get("old")).row == paused.row
    assert [one.id for one in await brain.history(status="queued")] == [again.id, run.id]
    with pytest.raises(InputError, match="no input 'm'"):
        await brain.triggers.fire_now("old", {"m": "2"})


async def test_fire_now_ends_what_a_dead_process_left(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)))
    left = await brain.triggers.fire_now("old", {})
    await queue.claim(brain.db, worker_identity("run", 15.0)._replace(process_started="0"), 1, known=())
    await brain.triggers.fire_now("old", {})
    assert (await brain.show(left.id)).status == "failed"


async def test_fire_now_of_a_file_that_is_elsewhere(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)), file="/nowhere/flow.py", host="another-host")
    assert (await brain.triggers.fire_now("old", {})).status == "queued"
    with pytest.raises(TriggerRefused, match=r"/nowhere/flow\.py is on another-host"):
        await brain.triggers.fire_now("old", {"n": "2"})


async def test_follow_returns_the_run_that_has_ended(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)))
    run = await brain.triggers.fire_now("old", {})
    events: list[Any] = []
    notes: list[str] = []
    looked = asyncio.Event()

    def watch(event: Any) -> None:
        events.append(event)
        looked.set()

    following = asyncio.create_task(brain.triggers.follow(run.id, watch=watch, note=notes.append))
    await looked.wait()
    await queue.cancel_request(brain.db, runs.UUID(run.id), "enough")
    assert (await following).status == "cancelled"
    assert isinstance(events[0], RunStarted)
    assert ["no daemon runs" in note for note in notes] == [True]


async def test_an_audit_finds_a_hole(brain, registered_at):
    row = await registered_at("old", await _past(brain, DAY))
    first = row.next_due_at
    later = first + timedelta(minutes=30)
    # A wrong tick, which skips two instants.
    await fires.fire(brain.db, [Fire(row.id, 1, first, [first], None, later)], first)
    (audit,) = await brain.triggers.audit("old")
    assert [(one.problem, one.at) for one in audit.findings] == [
        ("hole", first + timedelta(minutes=10)),
        ("hole", first + timedelta(minutes=20)),
    ]
    assert (await brain.triggers.audit("old", since=first + timedelta(minutes=20)))[0].holds
    (run,) = await brain.history()
    await queue.cancel_request(brain.db, runs.UUID(run.id), "the test is over")


async def test_an_audit_of_a_long_ledger_holds_a_page_of_it_at_a_time(brain, registered_at, monkeypatch):
    row = await registered_at("old", await _past(brain, 30 * DAY))
    last = row.next_due_at + timedelta(minutes=10) * 599
    async with brain.db.session() as session:
        await session.connection.execute(
            "INSERT INTO brain.fires (trigger_id, due_at, outcome, reason, revision) "
            "SELECT $1, due, 'skipped_overlap', 'test', 1 FROM generate_series($2, $3, interval '10 minutes') AS due",
            *(row.id, row.next_due_at, last),
        )
        await session.connection.execute(
            "UPDATE brain.triggers SET next_due_at = $2 WHERE id = $1", row.id, last + timedelta(minutes=10)
        )
    monkeypatch.setattr("brain_core.app.trigger_reports._PAGE", 100)
    fetch, held = brain.db.fetch, []

    async def watched(name, *args, **more):
        held.append(sum(type(one) in (LedgerRow, Outcome) for one in gc.get_objects()))
        return await fetch(name, *args, **more)

    monkeypatch.setattr(brain.db, "fetch", watched)
    (audit,) = await brain.triggers.audit()
    assert audit.holds
    assert len(held) > 6
    assert max(held) - held[0] < 300
    async with brain.db.session() as session:
        await session.connection.execute("SET session_replication_role = replica")
        gaps = [row.next_due_at + timedelta(minutes=10) * number for number in (0, 9, 10, 300)]
        await session.connection.execute("DELETE FROM brain.fires WHERE due_at = ANY ($1)", gaps)
        await session.connection.execute("SET session_replication_role = DEFAULT")
    (audit,) = await brain.triggers.audit()
    assert [(one.problem, one.at) for one in audit.findings] == [("hole", gap) for gap in gaps]


async def test_an_audit_since_the_middle_of_a_range_holds(brain, registered_at):
    row = await registered_at("old", await _past(brain, DAY))
    await brain.triggers.edit(row, trigger=Cron("*/7 * * * *", timezone="UTC"))
    assert (await brain.triggers.audit(since=await _past(brain, DAY / 2)))[0].holds


async def test_watch(brain, registered_at):
    await registered_at("late", await _past(brain, DAY))
    await registered_at("young", await _past(brain, timedelta(0)), workflow_name="other")
    paused = await registered_at("paused", await _past(brain, DAY))
    await brain.triggers.pause(paused.name)
    found = {one.name: one for one in await brain.triggers.watched()}
    assert {name: one.overdue for name, one in found.items()} == {"late": True, "paused": False, "young": False}
    assert found["late"].problem.startswith("overdue since ")
    aged = {one.name: one.problem for one in await brain.triggers.watched(max_age=timedelta(hours=26))}
    assert aged == {"late": found["late"].problem, "paused": None, "young": None}
    aged = {one.name: one.problem for one in await brain.triggers.watched(max_age=timedelta(hours=23))}
    assert "no success since it was registered" in aged["late"]
    assert "no success since it was registered" in aged["paused"]
    assert aged["young"] is None
    assert [one.name for one in await brain.triggers.watched(["other"])] == ["young"]
    with pytest.raises(TriggerNotFound, match="did you mean 'other'"):
        await brain.triggers.watched(["othr"])


async def test_a_type_that_is_gone_costs_its_schedules_alone(brain, registered_at):
    await registered_at("here", await _past(brain, timedelta(0)))
    await registered_at("gone", await _past(brain, DAY), type="tide", config={"tide": "high"})
    listed = {one.row.name: one.words for one in await brain.triggers.listing()}
    assert listed["gone"] == "tide {'tide': 'high'}"
    assert listed["here"].startswith("every 10 minutes")
    audits = {one.name: one for one in await brain.triggers.audit()}
    assert audits["here"].holds
    assert "'tide'" in audits["gone"].impossible
    outlook = await brain.triggers.forecast(until=datetime.now(UTC) + DAY, limit=10)
    assert list(outlook.left_out) == ["gone"]
    assert outlook.forecast.counts["here"] > 100
    with pytest.raises(TriggerRefused, match="'gone' is of the type 'tide', which no active plugin brings"):
        await brain.triggers.resume("gone")
    assert (await brain.triggers.pause("gone")).row.state == "paused"
    await brain.triggers.unregister("gone")


class Broken(Trigger):
    """A type whose every method fails."""

    type_name: ClassVar[str] = "broken"
    broken: str

    def describe(self) -> str:
        raise RuntimeError("no words")

    def notes(self) -> list[str]:
        raise RuntimeError("no notes")

    def on_register(self, registration: Any) -> list[str]:
        raise RuntimeError("no lines")


async def test_a_type_that_raises_is_named(brain, flow):
    done = await brain.triggers.register(await _plan(brain, flow), Broken(broken="x"), name="b")
    assert done.trigger.words == (
        "broken {'broken': 'x'} (trigger type 'broken': describe() raised RuntimeError: no words)"
    )
    assert done.trigger.notes == ("trigger type 'broken': notes() raised RuntimeError: no notes",)
    assert done.lines == ("trigger type 'broken': on_register() raised RuntimeError: no lines",)


async def test_forecast_judges_overlaps_by_past_runs(brain, registered_at):
    await registered_at("old", await _past(brain, timedelta(0)))
    until = datetime.now(UTC) + timedelta(hours=2)
    assert (await brain.triggers.forecast(until=until, limit=5)).seconds == {"old": None}
    await brain.triggers.pause("old")
    assert (await brain.triggers.forecast(until=until, limit=5)).left_out == {
        "old": "paused, with no time to resume at"
    }
    await brain.triggers.pause("old", resume_at=until - timedelta(minutes=30))
    found = await brain.triggers.forecast(until=until, limit=100)
    assert found.forecast.counts == {"old": 3}


async def test_all_that_goes_one_after_the_other_says_so(brain, flow):
    plan, daily = await _plan(brain, flow), Cron("0 9 * * *")
    one = await brain.triggers.register(plan, daily, name="one", catch_up="all", catch_up_max=4)
    assert one.trigger.notes == (
        "after an outage the runs of the last 4 instants are queued at once, and with --overlap skip they go one after "
        "the other; what comes due meanwhile is skipped",
    )
    assert (await brain.triggers.edit(one.trigger.row, overlap="allow")).notes == ()
    assert (await brain.triggers.register(plan, daily, name="two", catch_up="all", catch_up_max=1)).trigger.notes == ()


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("act", ["edit", "unregister"])
async def test_what_was_due_by_a_type_that_is_not_here_leaves_no_hole(brain, registered_at, paused, act):
    row = await registered_at("old", await _past(brain, DAY), type="gone")
    if paused:
        row = (await brain.triggers.pause("old")).row
    before = await triggers.clock(brain.db)
    if act == "edit":
        await brain.triggers.edit(row, trigger=Cron("0 9 * * *"))
    else:
        await brain.triggers.unregister("old")
    stretch = (await fires.ledger(brain.db, row.id))[-1]
    assert stretch.due_at == (row.skipping_from if paused else row.next_due_at)
    assert before <= stretch.until <= await triggers.clock(brain.db)


async def test_a_parked_run_is_told_by_the_watch(brain, flow):
    await brain.triggers.register(await _plan(brain, flow), Cron("0 9 * * *"), inputs={"n": 1})
    run = await brain.triggers.fire_now("flow", {})
    assert [one.problem for one in await brain.triggers.watched()] == [None]
    worker = worker_identity("daemon", 15.0)
    (claimed,) = await queue.claim(brain.db, worker, 1, known=())
    await daemon.park(brain.db, worker.id, claimed.run_id, claimed.claim, "why")
    await workers.stop(brain.db, worker.id)
    assert [one.problem for one in await brain.triggers.watched()] == [
        f"run {run.short_id} is parked; let it go on: brain resume-run {run.short_id}, "
        f"or end it: brain cancel {run.short_id}"
    ]
