"""Triggers: registering, changing and deleting them; a state machine holds them against a plain model of the ledger."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brain_core.errors import TriggerNotFound, TriggerRefused
from brain_core.schedule import decide, last_until
from brain_core.store import fires, runs, triggers
from brain_core.store.database import Database
from brain_core.store.fires import Fire
from brain_core.store.triggers import NewTrigger, TriggerEdit, TriggerRow

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEPS = [{"name": "one", "type": "noop"}]


def new(name: str = "a", **changes: Any) -> NewTrigger:
    facts: dict[str, Any] = {
        "name": name,
        "type": "test",
        "config": {"every": 60},
        "workflow_name": "flow",
        "file": "/flow.py",
        "host": "here",
        "inputs": {},
        "planned_steps": STEPS,
        "next_due_at": NOON + HOUR,
    }
    return NewTrigger(**(facts | changes))


async def _ledger(db: Database, row: TriggerRow) -> list[tuple[datetime, datetime | None, str, bool]]:
    return [
        (one.due_at, None if one.open else one.until, one.outcome, one.open) for one in await fires.ledger(db, row.id)
    ]


async def _reasons(db: Database, row: TriggerRow) -> list[tuple[str, datetime, datetime | None]]:
    return [(one.reason, one.valid_from, one.valid_until) for one in await fires.revisions(db, row.id)]


async def test_a_registered_trigger_is_read_as_it_was_given(db: Database) -> None:
    given = new(inputs={"who": "ä\0"}, config={"cron": "0 9 * * *"}, catch_up="all", catch_up_max=3, overlap="allow")
    row = await triggers.register(db, given, NOON)
    assert row == await triggers.get(db, "a")
    for field in dataclasses.fields(NewTrigger):
        if field.name not in {"sources", "on_finished", "on_interrupt", "digest"}:
            assert getattr(row, field.name) == getattr(given, field.name), field.name
    assert (row.state, row.revision, row.created_at, row.skipping_from) == ("active", 1, NOON, None)
    assert row.config_text == '{"cron": "0 9 * * *"}'
    assert await _reasons(db, row) == [("registered", NOON, None)]


async def test_a_name_that_is_taken_is_refused_and_nothing_overwritten(db: Database) -> None:
    row = await triggers.register(db, first := new(), NOON)
    assert await triggers.register(db, first, NOON + HOUR) == row, "the same once more is the same"
    with pytest.raises(TriggerRefused, match="'a' already"):
        await triggers.register(db, new(file="/other.py"), NOON)
    assert await triggers.get(db, "a") == row
    assert len(await fires.revisions(db, row.id)) == 1


async def test_a_source_is_stored_with_its_trigger_or_left_out(db: Database, make: Any) -> None:
    assert (await triggers.register(db, new(digest="d"), NOON)).digest is None
    stored = new("b", digest="d", sources={"flow.py": "…"}, on_interrupt="resume", on_finished=True)
    assert (await triggers.register(db, stored, NOON)).digest == "d"
    assert (await triggers.register(db, new("c", digest="d"), NOON)).digest == "d"
    [version] = await make.sql(db, "SELECT digest, on_interrupt, on_finished FROM brain.workflow_versions")
    assert tuple(version) == ("d", "resume", True)


async def test_a_name_that_is_not_there_names_the_nearest(db: Database) -> None:
    await triggers.register(db, new("nightly"), NOON)
    with pytest.raises(TriggerNotFound, match="nothing is registered as 'nigthly'; did you mean 'nightly'"):
        await triggers.get(db, "nigthly")
    with pytest.raises(TriggerNotFound, match="brain list"):
        await triggers.pause(db, "weekly", NOON, None)


async def test_pausing_skips_from_what_was_not_fired_and_resuming_ends_it(db: Database) -> None:
    await triggers.register(db, new(), NOON)
    paused = await triggers.pause(db, "a", NOON + HOUR + HOUR / 2, NOON + 2 * HOUR)
    assert (paused.state, paused.next_due_at, paused.revision) == ("paused", None, 2)
    assert paused.skipping_from == NOON + HOUR, "it was due before the pause, and nobody had fired it"
    assert await _ledger(db, paused) == [(NOON + HOUR, None, "skipped_paused", True)]
    assert await triggers.pause(db, "a", NOON + 9 * HOUR, NOON + 10 * HOUR) == paused
    until = await triggers.pause(db, "a", NOON, None, NOON + 5 * HOUR)
    assert until == dataclasses.replace(paused, resume_at=NOON + 5 * HOUR)
    resumed = await triggers.resume(db, "a", NOON + 5 * HOUR, NOON + 5 * HOUR, NOON + 6 * HOUR)
    assert (resumed.state, resumed.next_due_at, resumed.resume_at) == ("active", NOON + 6 * HOUR, None)
    assert await triggers.resume(db, "a", NOON + 9 * HOUR, None, None) == resumed
    assert await _ledger(db, resumed) == [(NOON + HOUR, NOON + 5 * HOUR, "skipped_paused", False)]
    assert await _reasons(db, resumed) == [
        ("registered", NOON, NOON + 1.5 * HOUR),
        ("paused", NOON + 1.5 * HOUR, NOON + 5 * HOUR),
        ("resumed", NOON + 5 * HOUR, None),
    ]


async def test_a_pause_before_the_first_instant_leaves_nothing(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    await triggers.pause(db, "a", NOON, NOON + HOUR)
    await triggers.resume(db, "a", NOON + HOUR / 2, None, NOON + HOUR)
    assert await _ledger(db, row) == []


async def test_a_pause_that_skipped_only_what_was_late_ends_with_it(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    await triggers.pause(db, "a", NOON + HOUR, NOON + 2 * HOUR)
    await triggers.resume(db, "a", NOON + HOUR, None, NOON + 2 * HOUR)
    assert await _ledger(db, row) == [(NOON + HOUR, NOON + HOUR, "skipped_paused", False)]


async def test_an_edit_never_fires_what_is_past(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    now = NOON + 3.5 * HOUR
    change = TriggerEdit({"every": 90}, catch_up="none")
    edited = await triggers.edit(db, "a", now, change, NOON + 4 * HOUR, NOON + 3 * HOUR)
    assert (edited.config, edited.catch_up, edited.revision) == ({"every": 90}, "none", 2)
    assert edited.next_due_at == NOON + 4 * HOUR
    assert await _ledger(db, row) == [(NOON + HOUR, NOON + 3 * HOUR, "merged", False)]
    [entry] = await fires.ledger(db, row.id)
    assert (entry.reason, entry.revision) == ("edited before it was fired", 1)
    assert await triggers.edit(db, "a", now + HOUR, change, NOON + 9 * HOUR) == edited, "nothing to change"


async def test_a_paused_trigger_that_is_edited_stays_paused_by_what_is_new(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    await triggers.pause(db, "a", NOON, NOON + HOUR)
    edited = await triggers.edit(db, "a", NOON + HOUR, TriggerEdit({"every": 90}), NOON + 1.5 * HOUR, NOON + HOUR)
    assert (edited.state, edited.next_due_at, edited.skipping_from) == ("paused", None, NOON + 1.5 * HOUR)
    again = await triggers.edit(db, "a", NOON + HOUR, TriggerEdit({"every": 45}), NOON + 1.5 * HOUR)
    assert again.skipping_from == NOON + 1.5 * HOUR
    assert await _ledger(db, row) == [
        (NOON + 1.5 * HOUR, None, "skipped_paused", True),
        (NOON + HOUR, NOON + HOUR, "skipped_paused", False),
    ]


async def test_an_unregistered_trigger_keeps_its_ledger_and_frees_its_name(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    gone = await triggers.unregister(db, "a", NOON + 2 * HOUR, NOON + 2 * HOUR, trigger_id=row.id)
    assert (gone.state, gone.deleted_at, gone.next_due_at) == ("deleted", NOON + 2 * HOUR, None)
    assert await triggers.unregister(db, "a", NOON + 9 * HOUR, trigger_id=row.id) == gone
    with pytest.raises(TriggerNotFound):
        await triggers.unregister(db, "a", NOON)
    assert await _ledger(db, row) == [(NOON + HOUR, NOON + 2 * HOUR, "merged", False)]
    other = await triggers.register(db, new(), NOON)
    assert other.id != row.id
    assert [one.row.id for one in await triggers.list_all(db)] == [other.id]


async def test_a_clock_that_was_set_back_keeps_revisions_in_order(db: Database) -> None:
    row = await triggers.register(db, new(), NOON)
    await triggers.pause(db, "a", NOON - HOUR, NOON)
    assert await _reasons(db, row) == [("registered", NOON, NOON), ("paused", NOON, None)]


async def test_changes_at_once_come_one_after_the_other(database_url: str) -> None:
    async with await Database.open(database_url, pool_size=6) as database:
        row = await triggers.register(database, new(), NOON)
        await asyncio.gather(
            *(triggers.edit(database, "a", NOON, TriggerEdit({"every": n}), NOON + HOUR) for n in range(1, 13)),
            *(triggers.pause(database, "a", NOON, NOON + HOUR) for _ in range(3)),
        )
        kept = await fires.revisions(database, row.id)
        assert [one.revision for one in kept] == list(range(1, 15))
        assert [one.valid_until is None for one in kept] == [False] * 13 + [True]
        assert (await triggers.get(database, "a")).state == "paused"


async def test_what_was_computed_from_an_older_row_is_not_written(db: Database) -> None:
    old = await triggers.register(db, new(), NOON)
    await fires.fire(db, [Fire(old.id, 1, NOON + HOUR, [NOON + HOUR], None, NOON + 2 * HOUR)], NOON + HOUR)
    fired = await triggers.get(db, "a")
    for attempt in (
        triggers.pause(db, "a", NOON, NOON + HOUR, expected=old),
        triggers.edit(db, "a", NOON, TriggerEdit({"every": 5}), NOON + HOUR, expected=old),
        triggers.unregister(db, "a", NOON, expected=old),
    ):
        with pytest.raises(TriggerRefused, match="this very moment"):
            await attempt
    assert await triggers.get(db, "a") == fired
    paused = await triggers.pause(db, "a", NOON + HOUR, NOON + 2 * HOUR, expected=fired)
    await triggers.edit(db, "a", NOON + HOUR, TriggerEdit({"every": 5}), NOON + 2 * HOUR, expected=paused)
    with pytest.raises(TriggerRefused, match="this very moment"):
        await triggers.resume(db, "a", NOON + HOUR, None, NOON + 2 * HOUR, expected=paused)


async def test_the_list_shows_last_runs_and_what_is_overdue(db: Database, make: Any) -> None:
    row = await triggers.register(db, new(), NOON)
    await triggers.register(db, new("b", next_due_at=datetime.now(UTC) + HOUR), NOON)
    dues = [NOON + HOUR + number * MINUTE for number in range(9)]
    *_, result = await fires.fire(db, [Fire(row.id, 1, dues[0], dues, None, dues[0] + HOUR)], dues[-1])
    first, second = await triggers.list_all(db)
    assert (first.row.name, first.overdue, first.last_success_at) == ("a", True, None)
    assert first.last_run is not None
    assert (first.last_run.id, first.last_run.status) == (result.run_id, "queued"), "of those of one moment the latest"
    assert first.last_run.created_at == (await runs.get(db, str(result.run_id))).created_at
    assert (second.row.name, second.overdue, second.last_run) == ("b", False, None)
    assert [await triggers.listed(db, name) for name in ("a", "b")] == [first, second]
    await triggers.unregister(db, "b", NOON, None, expected=second.row)
    with pytest.raises(TriggerNotFound, match="'b'"):
        await triggers.listed(db, "b")


# A trigger whose instants are every `config["every"]` minutes, held against a model that walks minute by minute.

MINUTE = timedelta(minutes=1)


def _after(every: int) -> Any:
    return lambda instant: NOON + ((instant - NOON) // (every * MINUTE) + 1) * (every * MINUTE)


@dataclasses.dataclass
class _Model:
    row: TriggerRow
    every: int
    state: str
    since: datetime  # the last moment up to which every instant has an outcome that is written down here
    outcomes: dict[datetime, str] = dataclasses.field(default_factory=dict)

    def settle(self, until: datetime, outcome: str) -> None:
        """Every instant after `since` up to `until` gets this outcome."""
        at = _after(self.every)(self.since)
        while at <= until:
            self.outcomes[at] = outcome
            at = _after(self.every)(at)
        self.since = max(self.since, until)


class _Machine(RuleBasedStateMachine):
    """What people and daemons do to triggers, at a clock that only the rules move."""

    loop: asyncio.AbstractEventLoop
    db: Database

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.models: list[_Model] = []

    made = Bundle("made")

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def read(self, model: _Model) -> TriggerRow:
        model.row = self.run(triggers.get(self.db, model.row.name))
        return model.row

    @rule(minutes=st.integers(1, 400))
    def time_goes_on(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @initialize(target=made, every=st.integers(1, 90))
    def begin(self, every: int) -> _Model:
        return self.register(every, "allow")

    @precondition(lambda self: len(self.models) < 3)
    @rule(target=made, every=st.integers(1, 90), overlap=st.sampled_from(["skip", "allow"]))
    def register_another(self, every: int, overlap: Any) -> _Model:
        return self.register(every, overlap)

    def register(self, every: int, overlap: Any) -> _Model:
        given = new(f"t{uuid4()}", config={"every": every}, overlap=overlap, next_due_at=_after(every)(self.now))
        model = _Model(self.run(triggers.register(self.db, given, self.now)), every, "active", self.now)
        self.models.append(model)
        return model

    @rule(model=made, twice=st.booleans(), minutes=st.integers(0, 200))
    def fire(self, model: _Model, twice: bool, minutes: int) -> None:
        self.now += minutes * MINUTE
        if model.state != "active" or (due := self.read(model).next_due_at) is None or due > self.now:
            return
        decision = decide(_after(model.every), due, self.now, "latest")
        fire = Fire(model.row.id, model.row.revision, due, decision.fire, decision.merged, decision.next_due, "missed")
        busy = model.row.overlap == "skip" and any(outcome == "fired" for outcome in model.outcomes.values())
        results = self.run(fires.fire(self.db, [fire], self.now))
        if twice:
            assert self.run(fires.fire(self.db, [fire], self.now)) == []
        outcome = "skipped_overlap" if busy else "fired"
        assert [result.outcome for result in results if result.outcome != "merged"] == [outcome]
        model.settle(decision.fire[0] - MINUTE / 2, "merged")
        model.settle(self.now, outcome)

    @rule(model=made)
    def pause(self, model: _Model) -> None:
        if model.state == "deleted":
            return
        self.run(triggers.pause(self.db, self.read(model).name, self.now, _after(model.every)(self.now)))
        model.state = "paused"

    def last_due(self, model: _Model) -> datetime | None:
        first = model.row.next_due_at or model.row.skipping_from
        return None if first is None or first > self.now else last_until(_after(model.every), first, self.now)

    @rule(model=made)
    def resume(self, model: _Model) -> None:
        if model.state == "deleted":
            return
        row = self.read(model)
        self.run(triggers.resume(self.db, row.name, self.now, self.last_due(model), _after(model.every)(self.now)))
        if model.state == "paused":
            model.settle(self.now, "skipped_paused")
        model.state = "active"

    @rule(model=made, every=st.integers(1, 90))
    def edit(self, model: _Model, every: int) -> None:
        if model.state == "deleted" or every == model.every:
            return
        row = self.read(model)
        self.run(
            triggers.edit(
                self.db,
                row.name,
                self.now,
                TriggerEdit({"every": every}),
                _after(every)(self.now),
                self.last_due(model),
            )
        )
        model.settle(self.now, "skipped_paused" if model.state == "paused" else "merged")
        model.every = every

    @rule(model=made)
    def unregister(self, model: _Model) -> None:
        if model.state == "deleted":
            return
        row = self.read(model)
        self.run(triggers.unregister(self.db, row.name, self.now, self.last_due(model)))
        model.settle(self.now, "skipped_paused" if model.state == "paused" else "merged")
        model.state = "deleted"

    @invariant()
    def every_instant_has_its_outcome_once(self) -> None:
        for model in self.models:
            rows = self.run(fires.ledger(self.db, model.row.id, limit=10_000))
            for earlier, later in zip(rows[1:], rows, strict=False):
                assert (earlier.until or earlier.due_at) < later.due_at, "two outcomes for one instant"
            singles = {row.due_at: row.outcome for row in rows}
            for instant, outcome in model.outcomes.items():
                cover = [row for row in rows if row.due_at <= instant <= (row.until or row.due_at)]
                assert [row.outcome for row in cover] == [outcome], instant
            assert {row.due_at for row in rows if not row.open and row.due_at not in model.outcomes} <= {
                at for at in singles if at > model.since
            }
            counted = sum(outcome == "fired" for outcome in model.outcomes.values())
            assert sum(row.run_id is not None for row in rows) == counted


def test_the_ledger_is_that_of_a_plain_model(database_url: str) -> None:
    with asyncio.Runner() as runner:
        machine = type("Machine", (_Machine,), {"loop": runner.get_loop()})
        machine.db = runner.run(Database.open(database_url))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=50,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        counts = runner.run(runs.counts(machine.db))
        assert counts["queued"] > 40, f"{counts}: too little has fired to prove anything"
        runner.run(machine.db.close())
