"""`daemon_tick` with clocks that stand still: what one cycle does at a moment (G1-G4, G7, G8, G18)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from brain_core import Cron, Trigger
from brain_core.audit import Finding, Outcome, Stretch, audit
from brain_core.engine.tick import TickReport, daemon_tick
from brain_core.schedule import last_until
from brain_core.store import fires, runs, triggers
from brain_core.store.database import Database
from brain_core.store.fires import LedgerRow
from brain_core.store.triggers import NewTrigger, TriggerEdit, TriggerRow

START = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
MINUTE, HOUR, DAY, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=365)
_LAST = datetime.max.replace(tzinfo=UTC)


class Minutely(Trigger):
    """Due every so many minutes."""

    type_name: ClassVar[str] = "minutely"
    minutely: int = 1

    def next_after(self, instant: datetime) -> datetime:
        step = timedelta(minutes=self.minutely)
        return START.replace(second=0) + ((instant - START.replace(second=0)) // step + 1) * step


class Broken(Trigger):
    """Raises as soon as it is asked."""

    type_name: ClassVar[str] = "broken"
    broken: str = ""

    def next_after(self, instant: datetime) -> datetime:
        raise OSError("no file descriptor left")


@dataclass
class Ticked:
    """A brain for ticks, and what the tests do with its schedules."""

    db: Database
    trigger_types: dict[str, type[Trigger]] = field(
        default_factory=lambda: {"minutely": Minutely, "broken": Broken, "cron": Cron}
    )
    receivers: Sequence[str] = ()
    me: UUID = field(default_factory=uuid4)
    registered: list[UUID] = field(default_factory=list)

    async def add(self, trigger: Trigger | None = None, name: str = "flow", at: datetime = START, **more: Any) -> UUID:
        trigger = trigger or Minutely()
        kind = type(trigger)
        new = NewTrigger(
            name=name,
            type=more.pop("type", kind.type_name),
            config=trigger.model_dump(mode="json"),
            workflow_name=name,
            file=f"/{name}.py",
            host="here",
            inputs={},
            planned_steps=[{"name": "one", "type": "noop"}],
            next_due_at=more.pop("next_due_at", None) or trigger.next_after(at),
            **more,
        )
        row = await triggers.register(self.db, new, at)
        self.registered.append(row.id)
        return row.id

    async def tick(self, now: datetime) -> TickReport:
        return await daemon_tick(self, now, me=self.me)

    async def row(self, name: str = "flow") -> TriggerRow:
        return await triggers.get(self.db, name)

    async def ledger(self, trigger_id: UUID) -> list[LedgerRow]:
        return (await fires.ledger(self.db, trigger_id))[::-1]

    async def outcomes(self, trigger_id: UUID) -> list[tuple[str, datetime, datetime | None]]:
        return [(row.outcome, row.due_at, row.until) for row in await self.ledger(trigger_id)]

    async def finish_runs(self) -> None:
        await self.sql(
            "UPDATE brain.runs SET status = 'cancelled', ended_at = clock_timestamp() WHERE status = 'queued'"
        )

    async def sql(self, text: str, *args: Any) -> list[Any]:
        async with self.db.session() as session:
            rows: list[Any] = await session.connection.fetch(text, *args)
            return rows

    async def findings(self, trigger_id: UUID) -> list[Finding]:
        """Recompute the instants of a schedule by its revisions and hold its ledger against them."""
        (facts,) = await self.sql("SELECT next_due_at FROM brain.triggers WHERE id = $1", trigger_id)
        end = _LAST if facts["next_due_at"] is None else facts["next_due_at"] - timedelta(microseconds=1)
        stretches, ends = [], [START]
        for revision in await fires.revisions(self.db, trigger_id):
            kind = self.trigger_types.get(revision.type)
            if kind is None or revision.state == "deleted":
                continue
            one = kind.model_validate(revision.config)
            until = revision.valid_until or (end if end != _LAST else revision.valid_from + DAY)
            stretches.append(Stretch(one.next_after, revision.valid_from, until))
            ends.append(until)
        ledger = [
            Outcome(row.due_at, _LAST if row.open else row.until, row.outcome) for row in await self.ledger(trigger_id)
        ]
        return audit(stretches, ledger, START - YEAR, max(ends))


@pytest.fixture
async def brain(db: Database) -> AsyncIterator[Ticked]:
    """Afterwards no schedule of it has a hole, a double or a stranger in its ledger (G2)."""
    made = Ticked(db)
    yield made
    for trigger_id in made.registered:
        (row,) = await made.sql("SELECT type FROM brain.triggers WHERE id = $1", trigger_id)
        if row["type"] in ("minutely", "cron"):
            assert await made.findings(trigger_id) == []


async def test_what_is_due_fires_once_and_goes_on(brain: Ticked) -> None:
    one = await brain.add()
    due = START.replace(second=0) + MINUTE
    report = await brain.tick(due)
    assert [(fired.name, fired.outcome, fired.due_at) for fired in report.fired] == [("flow", "fired", due)]
    assert await brain.outcomes(one) == [("fired", due, None)]
    assert (await brain.row()).next_due_at == due + MINUTE
    (run,) = await runs.history(brain.db)
    assert (run.status, run.workflow) == ("queued", "flow")
    assert run.trigger == {"type": "minutely", "name": "flow", "due_at": due.isoformat()}
    assert (await brain.tick(due)).fired == (await brain.tick(due + MINUTE / 2)).fired == []


async def test_nothing_is_early_not_by_a_microsecond(brain: Ticked) -> None:
    one = await brain.add()
    due = START.replace(second=0) + MINUTE
    assert (await brain.tick(due - timedelta(microseconds=1))).fired == await brain.ledger(one) == []
    assert len((await brain.tick(due)).fired) == 1


async def test_a_clock_that_goes_back_fires_nothing_twice(brain: Ticked) -> None:
    await brain.add()
    due = START.replace(second=0) + 5 * MINUTE
    assert (len((await brain.tick(due)).fired), (await brain.tick(due - 3 * MINUTE)).fired) == (2, [])
    assert (await brain.row()).next_due_at == due + MINUTE


async def test_a_gap_fires_its_last_instant_and_merges_the_rest(brain: Ticked) -> None:
    one = await brain.add()
    first = START.replace(second=0) + MINUTE
    report = await brain.tick(START + HOUR)
    last = first + HOUR - MINUTE
    assert await brain.outcomes(one) == [("merged", first, last - MINUTE), ("fired", last, None)]
    assert {fired.outcome for fired in report.fired} == {"merged", "fired"}
    assert len(await runs.history(brain.db)) == 1


async def test_a_year_costs_no_more_queries_than_an_hour(brain: Ticked) -> None:
    asked: list[str] = []
    fetch = brain.db.fetch

    async def counted(name: str, *args: Any, **more: Any) -> list[Any]:
        asked.append(name)
        return await fetch(name, *args, **more)

    brain.db.fetch = counted  # type: ignore[method-assign]
    costs = []
    for gap in (HOUR, YEAR):
        await brain.add(name=f"after_{gap.days}")
        asked.clear()
        assert len((await brain.tick(START + gap)).fired) >= 2
        costs.append(list(asked))
    assert costs[0] == costs[1]
    assert len(costs[0]) <= 5


async def test_a_schedule_never_gives_up(brain: Ticked) -> None:
    one = await brain.add(overlap="allow")
    for years in range(1, 40):
        await brain.tick(START + years * YEAR)
    assert len([row for row in await brain.ledger(one) if row.outcome == "fired"]) == 39


@pytest.mark.parametrize(
    ("policy", "late", "wanted"),
    [
        ("latest", 3 * MINUTE, ["merged", "fired"]),
        ("none", 3 * MINUTE, ["merged", "fired"]),
        ("none", 3 * MINUTE + timedelta(seconds=61), ["merged"]),
        ("all", 3 * MINUTE, ["merged", "fired", "fired"]),
    ],
)
async def test_policies(brain: Ticked, policy: Any, late: timedelta, wanted: list[str]) -> None:
    most = 2 if policy == "all" else None
    one = await brain.add(Minutely(minutely=10), catch_up=policy, catch_up_max=most, overlap="allow")
    third = START.replace(second=0) + 30 * MINUTE
    await brain.tick(third + late - 3 * MINUTE)
    assert [row.outcome for row in await brain.ledger(one)] == wanted


async def test_an_earlier_run_that_goes_on_is_not_overlapped(brain: Ticked) -> None:
    one = await brain.add()
    due = START.replace(second=0) + MINUTE
    await brain.tick(due)
    await brain.tick(due + MINUTE)
    (run,) = await runs.history(brain.db)
    first, second = await brain.ledger(one)
    assert (first.outcome, second.outcome) == ("fired", "skipped_overlap")
    assert second.reason == f"run {run.short_id} is queued"
    await brain.finish_runs()
    await brain.tick(due + 2 * MINUTE)
    assert (await brain.ledger(one))[-1].outcome == "fired"


async def test_overlap_may_be_allowed(brain: Ticked) -> None:
    await brain.add(overlap="allow")
    for minutes in (1, 2, 3):
        await brain.tick(START + minutes * MINUTE)
    assert [run.status for run in await runs.history(brain.db)] == ["queued"] * 3


async def test_a_paused_schedule_fires_nothing_and_goes_on_after_now(brain: Ticked) -> None:
    one = await brain.add()
    await triggers.pause(brain.db, "flow", START, Minutely().next_after(START))
    assert (await brain.tick(START + HOUR)).fired == []
    now = START + HOUR
    row = await brain.row()
    assert row.skipping_from is not None
    skipped = last_until(Minutely().next_after, row.skipping_from, now)
    await triggers.resume(brain.db, "flow", now, skipped, Minutely().next_after(now))
    assert (await brain.tick(now)).fired == []
    assert len((await brain.tick(now + MINUTE)).fired) == 1
    assert [row.outcome for row in await brain.ledger(one)] == ["skipped_paused", "fired"]


@pytest.mark.parametrize("gap", [timedelta(0), timedelta(seconds=10), HOUR, YEAR])
async def test_a_pause_ends_by_itself_and_fires_nothing_of_it(brain: Ticked, gap: timedelta) -> None:
    one = await brain.add()
    until = START + 10 * MINUTE
    await triggers.pause(brain.db, "flow", START, Minutely().next_after(START), until)
    assert (await brain.tick(until - timedelta(microseconds=1))).resumed == []
    report = await brain.tick(until + gap)
    assert (report.resumed, report.fired) == (["flow"], [])
    row = await brain.row()
    assert row.state == "active"
    assert row.next_due_at == Minutely().next_after(until + gap)
    assert (await brain.tick(row.next_due_at)).fired[0].outcome == "fired"
    assert [row.outcome for row in await brain.ledger(one)] == ["skipped_paused", "fired"]


async def test_a_pause_that_began_overdue_skips_what_was_due_too(brain: Ticked) -> None:
    one = await brain.add()
    late = START + HOUR
    await triggers.pause(brain.db, "flow", late, Minutely().next_after(late), late + 10 * MINUTE)
    assert (await brain.tick(late + 10 * MINUTE)).resumed == ["flow"]
    (row,) = await brain.ledger(one)
    assert (row.outcome, row.due_at) == ("skipped_paused", START.replace(second=0) + MINUTE)
    assert row.until == START.replace(second=0) + HOUR + 10 * MINUTE


async def test_an_edit_never_fires_the_past(brain: Ticked) -> None:
    one = await brain.add(Minutely(minutely=60))
    now = START + 10 * MINUTE
    new = Minutely(minutely=5)
    change = TriggerEdit(config=new.model_dump(mode="json"))
    await triggers.edit(brain.db, "flow", now, change, new.next_after(now))
    assert (await brain.tick(now)).fired == []
    report = await brain.tick(START.replace(second=0) + 15 * MINUTE)
    assert [fired.due_at for fired in report.fired] == [START.replace(second=0) + 15 * MINUTE]
    assert [row.outcome for row in await brain.ledger(one)] == ["fired"]


async def test_a_deleted_schedule_is_left_alone(brain: Ticked) -> None:
    await brain.add()
    await triggers.unregister(brain.db, "flow", START)
    assert (await brain.tick(START + HOUR)).fired == []
    assert await runs.history(brain.db) == []


async def test_one_that_raises_leaves_the_others(brain: Ticked) -> None:
    bad = await brain.add(Broken(), "bad", next_due_at=START)
    await brain.add(name="good")
    report = await brain.tick(START + MINUTE)
    assert [fired.name for fired in report.fired] == ["good"]
    assert list(report.problems) == [bad]
    assert report.problems[bad] == "bad: its next instant cannot be found: OSError: no file descriptor left"
    assert (await brain.row("bad")).next_due_at == START, "it stays due"


async def test_many_that_raise_hold_nobody_up(brain: Ticked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_core.engine.tick.BATCH", 3)
    bad = {await brain.add(Broken(), f"bad{number}", next_due_at=START) for number in range(7)}
    good = {await brain.add(name=f"good{number}") for number in range(7)}
    report = await brain.tick(START + MINUTE)
    assert set(report.problems) == bad
    assert {fired.trigger_id for fired in report.fired} == good


async def test_a_type_that_is_not_here_waits_for_a_daemon_that_has_it(brain: Ticked) -> None:
    one = await brain.add()
    await brain.add(name="other", type="elsewhere")
    report = await brain.tick(START + MINUTE)
    assert [fired.trigger_id for fired in report.fired] == [one]
    assert report.problems == {}
    assert (await brain.row("other")).next_due_at == START.replace(second=0) + MINUTE


async def test_a_pause_whose_type_raises_holds_nobody_up(brain: Ticked) -> None:
    bad = await brain.add(Broken(), "bad", next_due_at=START)
    await triggers.pause(brain.db, "bad", START, None, START + MINUTE)
    await brain.add(name="good")
    report = await brain.tick(START + MINUTE)
    assert [fired.name for fired in report.fired] == ["good"]
    assert report.problems[bad].startswith("bad: cannot be resumed: OSError")


async def test_what_the_database_refuses_stays_one_bad_thing(brain: Ticked) -> None:
    ids = [await brain.add(name=f"flow{number}") for number in range(5)]
    await brain.sql("ALTER TABLE brain.runs ADD CONSTRAINT no_third CHECK (workflow_name <> 'flow2')")
    report = await brain.tick(START + MINUTE)
    assert {fired.trigger_id for fired in report.fired} == {*ids} - {ids[2]}
    assert list(report.problems) == [ids[2]]
    assert report.problems[ids[2]].startswith("flow2: cannot be fired: ")


async def test_one_that_somebody_holds_is_left_for_the_next_cycle(
    brain: Ticked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brain_core.engine.tick.BATCH", 1)
    held, free = await brain.add(name="held"), await brain.add(name="free")
    async with brain.db.transaction() as session:
        await session.connection.execute("SELECT FROM brain.triggers WHERE id = $1 FOR UPDATE", held)
        report = await brain.tick(START + MINUTE)
        assert [fired.trigger_id for fired in report.fired] == [free]
        assert report.held == {held}
    assert [fired.trigger_id for fired in (await brain.tick(START + MINUTE)).fired] == [held]


async def test_ticks_at_once_from_many_connections_fire_once(brain: Ticked, database_url: str) -> None:
    ids = [await brain.add(name=f"flow{number}") for number in range(50)]
    others = [await Database.open(database_url) for _ in range(4)]
    try:
        for minutes in (1, 2, 30):
            now = START + minutes * MINUTE
            reports = await asyncio.gather(*(Ticked(db).tick(now) for db in others))
            last = await brain.tick(now)
            fired = [one for report in (*reports, last) for one in report.fired if one.outcome == "fired"]
            assert sorted(one.trigger_id for one in fired) == sorted(ids)
            await brain.finish_runs()
    finally:
        for db in others:
            await db.close()
    doubles = await brain.sql(
        "SELECT trigger_id, due_at FROM brain.runs WHERE due_at IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert doubles == []


@pytest.mark.parametrize(
    ("day", "expression", "wanted"),
    [
        # 02:30 does not exist: the first instant after the gap, once.
        (datetime(2026, 3, 29, tzinfo=UTC), "30 2 * * *", ["2026-03-29T01:00:00+00:00"]),
        # 02:30 comes twice: the first one only.
        (datetime(2026, 10, 25, tzinfo=UTC), "30 2 * * *", ["2026-10-25T00:30:00+00:00"]),
        # Every half hour follows real time, four of them in the two hours that are called 2 o'clock.
        (
            datetime(2026, 10, 25, tzinfo=UTC),
            "*/30 * * * *",
            [f"2026-10-25T{hour:02}:{minute:02}:00+00:00" for hour in range(3) for minute in (0, 30)][1:],
        ),
    ],
)
async def test_shifts_of_the_clock(brain: Ticked, day: datetime, expression: str, wanted: list[str]) -> None:
    cron = Cron(expression, timezone="Europe/Berlin")
    one = await brain.add(cron, at=day, overlap="allow")
    now = day
    while now < day + 3 * HOUR - 30 * MINUTE:
        now += 10 * MINUTE
        await brain.tick(now)
    fired = [row for row in await brain.ledger(one) if row.outcome == "fired"]
    assert [row.due_at.isoformat() for row in fired] == wanted
    assert {row.outcome for row in await brain.ledger(one)} == {"fired"}
    stored = [
        json.loads(row["trigger"])["due_at"]
        for row in await brain.sql("SELECT trigger FROM brain.runs ORDER BY due_at")
    ]
    assert stored == wanted
