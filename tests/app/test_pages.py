"""Pages of runs by patterns for their workflows, and pages of what became of instants: each row once, in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.app import Brain, paging
from brain_core.errors import TriggerNotFound, UsageError
from brain_core.run import PlannedStep
from brain_core.store import queue
from brain_core.store.patterns import matches_any
from brain_core.store.queue import NewRun
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

from .conftest import Since

THEN = datetime(2020, 1, 1, tzinfo=UTC)
WORKER = WorkerIdentity(uuid4(), "daemon", "host", "boot", "pids", 1, "1", "0", 3_600.0)
MINUTE = timedelta(minutes=1)
NAMES = ("abc", "abd", "x%", "x_y", "é")
PATTERNS: list[list[str]] = [
    ["*"],
    ["ab*"],
    ["ab?", "é"],
    ["x%"],
    ["x?*"],
    ["none", "abc"],
    ["none*"],
    ["*b*", "ab*"],
    [],
]


async def sql(brain: Brain, text: str, *args: Any) -> list[Any]:
    async with brain.db.session() as session:
        rows: list[Any] = await session.connection.fetch(text, *args)
        return rows


async def pages(brain: Brain, limit: int, **filters: Any) -> list[str]:
    """Return the ids of all runs, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = await brain.history_page(limit=limit, cursor=cursor, **filters)
        found += [run.id for run in page]
        assert len(page) == limit or cursor is None
        if cursor is None:
            return found


async def test_pages_of_runs_by_patterns(brain: Brain, registered_at: Since) -> None:
    mine = await registered_at("mine", THEN)
    plan = [PlannedStep("a", "x")]
    await brain.db.fetch("daemon_beat", *WORKER.row, 20, 0, 0.0, [])
    for number in range(40):
        await queue.enqueue(
            brain.db,
            NewRun(
                workflow=NAMES[number % 5],
                file="/w.py",
                planned=plan,
                trigger_id=mine.id if number % 3 == 0 else None,
                run_id=UUID(int=number),
            ),
        )
    # Four of each moment: the cursor has to tell them apart.
    await sql(
        brain,
        "UPDATE brain.runs SET created_at = $1::timestamptz + interval '1 minute' * "
        "(('x' || right(id::text, 2))::bit(8)::int / 4)",
        THEN,
    )
    for number in range(0, 40, 4):
        await queue.cancel_request(brain.db, UUID(int=number), "enough")
    await queue.claim(brain.db, WORKER, 20)
    claimed = await sql(brain, "SELECT id FROM brain.runs WHERE status = 'running'")
    recorder = Recorder(brain.db, WORKER)
    for row in claimed:
        step = StepEnd(row["id"], 1, 0, "a", "x", 1, "success", "1", None, "", "{}", 0.1, 0.0)
        await recorder.finish_run(RunEnd(row["id"], 1, "success", None, step))
    assert {one["status"] for one in await sql(brain, "SELECT DISTINCT status FROM brain.runs")} == {
        *("queued", "success", "cancelled")
    }
    rows = await sql(brain, "SELECT * FROM brain.runs ORDER BY created_at DESC, id DESC")
    middle = THEN + 5 * MINUTE
    for limit, patterns in product((1, 7, 100), PATTERNS):
        for status, trigger, since, until, workflow in (
            (None, None, None, None, None),
            ("success", None, None, None, None),
            ("cancelled", None, None, None, None),
            (None, "mine", None, None, None),
            ("cancelled", "mine", None, None, None),
            (None, None, middle, None, None),
            ("success", None, None, middle, None),
            (None, None, None, None, "abc"),
            ("success", None, None, None, "x%"),
            (None, "mine", None, None, "x_y"),
        ):
            expected = [
                str(row["id"])
                for row in rows
                if matches_any(patterns, row["workflow_name"])
                and status in (None, row["status"])
                and (trigger is None or row["trigger_id"] == mine.id)
                and (since is None or row["created_at"] >= since)
                and (until is None or row["created_at"] < until)
                and workflow in (None, row["workflow_name"])
            ]
            given = {"status": status, "trigger": trigger, "since": since, "until": until, "workflow": workflow}
            assert await pages(brain, limit, workflows=patterns, **given) == expected, (patterns, given)


async def fired(brain: Brain, **filters: Any) -> list[tuple[str, str, datetime]]:
    """Return (trigger, workflow, due) of all outcomes, page by page."""
    found: list[tuple[str, str, datetime]] = []
    cursor = None
    while True:
        page, cursor = await brain.fires_page(cursor=cursor, **filters)
        found += [(one.trigger, one.workflow, one.row.due_at) for one in page]
        assert len(page) == filters["limit"] or cursor is None
        if cursor is None:
            return found


async def test_pages_of_what_became_of_instants(brain: Brain, registered_at: Since) -> None:
    named = {}
    for name, workflow in (("one", "abc"), ("two", "x_y"), ("gone", "abd")):
        named[name] = await registered_at(name, THEN, workflow_name=workflow)
    rows = []
    for number in range(30):
        one = named[("one", "two", "gone")[number % 3]]
        # Three of each moment.
        due = THEN + (number // 3) * MINUTE
        outcome = ("merged", "skipped_overlap", "skipped_paused")[number % 7 % 3]
        await sql(
            brain,
            "INSERT INTO brain.fires (trigger_id, due_at, outcome, reason, revision) VALUES ($1, $2, $3, 'why', 1)",
            *(one.id, due, outcome),
        )
        rows.append((one, due, outcome))
    await sql(brain, "UPDATE brain.triggers SET next_due_at = NULL")
    await brain.triggers.unregister("gone")
    rows.sort(key=lambda row: (row[1], row[0].id), reverse=True)
    middle = THEN + 5 * MINUTE
    cases: list[tuple[Any, ...]] = [
        (None, None, None, None, None),
        ("one", None, None, None, None),
        ("gone", None, None, None, None),
        (None, "merged", None, None, None),
        ("two", "skipped_paused", None, None, None),
        (None, "nothing", None, None, None),
        (None, None, ["ab*"], None, None),
        (None, None, ["x_?"], None, None),
        (None, None, ["%"], None, None),
        (None, None, [], None, None),
        (None, None, None, middle, None),
        (None, None, None, None, middle),
        (None, "merged", ["ab?"], THEN + MINUTE, middle),
    ]
    for limit in (1, 4, 100):
        for trigger, outcome, patterns, since, until in cases:
            expected = [
                (one.name, one.workflow_name, due)
                for one, due, what in rows
                if trigger in (None, one.name)
                and outcome in (None, what)
                and (patterns is None or matches_any(patterns, one.workflow_name))
                and (since is None or due >= since)
                and (until is None or due < until)
            ]
            given = {"trigger": trigger, "outcome": outcome, "workflows": patterns, "since": since, "until": until}
            assert await fired(brain, limit=limit, **given) == expected, given
    ((first, *_), _) = await brain.fires_page(limit=1)
    assert (first.row.reason, first.row.run_id, first.row.revision, first.row.open) == ("why", None, 1, False)
    # What comes meanwhile does not shift the pages.
    page, cursor = await brain.fires_page(limit=5)
    await sql(
        brain,
        "INSERT INTO brain.fires (trigger_id, due_at, outcome, reason, revision) VALUES ($1, $2, 'merged', 'why', 1)",
        *(named["one"].id, THEN + 100 * MINUTE),
    )
    page += (await brain.fires_page(limit=5, cursor=cursor))[0]
    assert [one.row.due_at for one in page] == [due for _, due, _ in rows[:10]]


async def test_a_stretch_that_reaches_over_the_beginning_is_among_them(brain: Brain, registered_at: Since) -> None:
    row = await registered_at("one", THEN)
    for due, until in ((0, 1), (2, 8), (9, None)):
        await sql(
            brain,
            "INSERT INTO brain.fires (trigger_id, due_at, until, outcome, reason, revision) "
            "VALUES ($1, $2, $3, 'merged', 'why', 1)",
            *(row.id, THEN + due * MINUTE, None if until is None else THEN + until * MINUTE),
        )
    for since, expected in ((0, [9, 2, 0]), (1, [9, 2, 0]), (2, [9, 2]), (5, [9, 2]), (9, [9]), (10, [])):
        found = await fired(brain, limit=2, since=THEN + since * MINUTE)
        assert [due for _, _, due in found] == [THEN + due * MINUTE for due in expected]


async def test_what_cannot_be_paged_is_said(brain: Brain) -> None:
    for limit in (0, 1_001):
        with pytest.raises(UsageError, match="limit is"):
            await brain.fires_page(limit=limit)
    with pytest.raises(UsageError, match="is no cursor"):
        await brain.fires_page(cursor="x")
    with pytest.raises(TriggerNotFound):
        await brain.fires_page(trigger="nobody\0")
    assert await brain.fires_page(workflows=["\0*"], outcome="\0") == ([], None)
    assert await brain.history_page(workflows=["\0*"]) == ([], None)


async def test_a_page_of_large_runs_ends_early(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and deliveries may be a megabyte each: a page of a thousand would be read and answered as one piece."""
    monkeypatch.setattr(paging, "MAX_PAGE_BYTES", 10_000)
    # Small ones at first, of which many would fit, then large ones, and one that is larger than a page.
    sizes = [100] * 30 + [3_000] * 9 + [50_000] + [10] * 5
    plan = [PlannedStep("a", "x")]
    for number, size in enumerate(sizes):
        new = NewRun(workflow="w", file="/w.py", planned=plan, run_id=UUID(int=number))
        half = "x" * (size // 2)
        await queue.enqueue(brain.db, replace(new, inputs={"text": half}, trigger={"type": "http", "text": half}))
    await sql(brain, "UPDATE brain.runs SET created_at = $1", THEN)
    for limit in (1, 20, 21, 22, 1_000):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = await brain.history_page(limit=limit, cursor=cursor or None)
            assert 1 <= len(page) <= limit
            taken = sum(len(str(run.inputs)) + len(str(run.trigger)) for run in page)
            assert taken < 10_500 or len(page) == 1
            seen += [run.id for run in page]
        assert seen == [str(UUID(int=number)) for number in reversed(range(len(sizes)))]
