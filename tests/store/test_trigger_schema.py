"""The rules of triggers, their ledger and live output: each constraint broken on purpose, and plans on large tables."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from brain_core.errors import DatabaseError
from brain_core.store import daemon, fires, queue, triggers
from brain_core.store.database import Database
from brain_core.store.fires import Fire
from brain_core.store.statements import all_statements
from brain_core.store.triggers import NewTrigger

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

_TRIGGER = "UPDATE brain.triggers SET {} WHERE name = 'a'"
_FIRES = (
    "INSERT INTO brain.fires (trigger_id, due_at, until, outcome, reason, run_id, revision) "
    "SELECT id, {}, 1 FROM brain.triggers"
)
_EVENT = "INSERT INTO brain.run_events (run_id, seq, kind, text, total) VALUES (gen_random_uuid(), 1, {})"

_BREAKS = {
    "triggers_plan_has_steps": _TRIGGER.format("planned_steps = '[]'"),
    "triggers_catch_up_known": _TRIGGER.format("catch_up = 'most'"),
    "triggers_max_iff_all": _TRIGGER.format("catch_up = 'all'"),
    "triggers_overlap_known": _TRIGGER.format("overlap = 'maybe'"),
    "triggers_state_known": _TRIGGER.format("state = 'gone', next_due_at = NULL"),
    "triggers_due_only_active": _TRIGGER.format("state = 'paused', paused_at = now()"),
    "triggers_paused_iff_time": _TRIGGER.format("paused_at = now()"),
    "triggers_resume_only_paused": _TRIGGER.format("resume_at = now()"),
    "triggers_deleted_iff_time": _TRIGGER.format("deleted_at = now()"),
    "triggers_revision_counts": "INSERT INTO brain.triggers (id, name, type, config, workflow_name, file, "
    "planned_steps, created_at, revision) VALUES (gen_random_uuid(), 'b', 't', '{}', 'w', 'f', '[{}]', now(), 0)",
    "triggers_name": "INSERT INTO brain.triggers (id, name, type, config, workflow_name, file, "
    "planned_steps, created_at) VALUES (gen_random_uuid(), 'a', 't', '{}', 'w', 'f', '[{}]', now())",
    "G13: UPDATE of triggers": _TRIGGER.format("next_due_at = next_due_at - interval '1 s'"),
    "G13: DELETE of triggers": "DELETE FROM brain.triggers",
    "trigger_revisions_trigger_id_fkey": "UPDATE brain.trigger_revisions SET trigger_id = gen_random_uuid()",
    "trigger_revisions_reason_known": "UPDATE brain.trigger_revisions SET reason = 'x'",
    "trigger_revisions_in_order": "UPDATE brain.trigger_revisions SET valid_until = valid_from - interval '1 s'",
    "trigger_revisions_one_open": "INSERT INTO brain.trigger_revisions (trigger_id, revision, type, config, state, "
    "catch_up, overlap, valid_from, reason) SELECT id, 2, type, config, state, catch_up, overlap, now(), 'edited' "
    "FROM brain.triggers",
    "fires_pkey": _FIRES.format("'2026-05-01 12:00Z', NULL, 'merged', 'x', NULL"),
    "fires_outcome_known": _FIRES.format("now(), NULL, 'lost', 'x', NULL"),
    "fires_run_iff_fired": _FIRES.format("now(), NULL, 'fired', 'x', NULL"),
    "fires_range_in_order": _FIRES.format("now(), now() - interval '1 s', 'merged', 'x', NULL"),
    "fires_range_has_no_run": _FIRES.format("now(), now(), 'fired', 'x', gen_random_uuid()"),
    "fires_open_only_paused": _FIRES.format("now(), 'infinity', 'merged', 'x', NULL"),
    "fires_has_reason": _FIRES.format("now(), NULL, 'merged', '', NULL"),
    "G2: an outcome points to a trigger": "INSERT INTO brain.fires (trigger_id, due_at, outcome, reason, revision) "
    "VALUES (gen_random_uuid(), now(), 'merged', 'x', 1)",
    "G13: UPDATE of fires": "UPDATE brain.fires SET reason = 'y'",
    "G13: DELETE of fires": "DELETE FROM brain.fires",
    "runs_once_for_each_instant": "INSERT INTO brain.runs (id, created_at, status, workflow_name, file, planned_steps, "
    "trigger_id, due_at) SELECT gen_random_uuid(), now(), 'queued', 'w', 'f', '[{}]', trigger_id, due_at "
    "FROM brain.runs",
    "run_events_kind_known": _EVENT.format("'whisper', 'x', 1"),
    "run_events_total_counts": _EVENT.format("'live', 'xx', 1"),
}


@pytest.fixture
async def fired(db: Database) -> Database:
    """One trigger that has fired at noon."""
    row = await triggers.register(db, _new("a"), NOON - HOUR)
    [result] = await fires.fire(db, [Fire(row.id, 1, NOON, [NOON], None, NOON + HOUR)], NOON)
    assert result.outcome == "fired"
    return db


@pytest.mark.parametrize("rule", _BREAKS)
async def test_the_database_itself_refuses(fired: Database, make: Any, rule: str) -> None:
    with pytest.raises(DatabaseError, match=rule):
        await make.sql(fired, _BREAKS[rule])


async def test_every_constraint_names_its_rule_and_is_broken_here(db: Database, make: Any) -> None:
    rows = await make.sql(
        db,
        "SELECT c.conname AS name, obj_description(c.oid, 'pg_constraint') AS says FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = 'brain' "
        "AND c.contype IN ('c', 'f') AND t.relname IN ('triggers', 'trigger_revisions', 'fires', 'run_events')",
    )
    assert len(rows) > 15
    for row in rows:
        assert re.match(r"G\d+: ", row["says"] or ""), row["name"]
        assert row["name"] in _BREAKS


async def test_a_deleted_trigger_and_a_closed_revision_never_change(fired: Database, make: Any) -> None:
    await triggers.unregister(fired, "a", NOON + timedelta(minutes=1))
    for change in ("triggers SET name = 'b'", "triggers SET revision = 9"):
        with pytest.raises(DatabaseError, match="G13: UPDATE of triggers"):
            await make.sql(fired, f"UPDATE brain.{change}")
    with pytest.raises(DatabaseError, match="G13: UPDATE of trigger_revisions"):
        await make.sql(fired, "UPDATE brain.trigger_revisions SET type = 'x' WHERE revision = 1")


async def test_the_end_of_a_pause_is_written_once(fired: Database, make: Any) -> None:
    await triggers.pause(fired, "a", NOON + timedelta(minutes=1), NOON + HOUR)
    change = "UPDATE brain.fires SET {} WHERE outcome = 'skipped_paused'"
    for wrong in ("until = NULL", "until = now(), due_at = '2026-01-01'", "until = now(), outcome = 'merged'"):
        with pytest.raises(DatabaseError, match="G13: UPDATE of fires"):
            await make.sql(fired, change.format(wrong))
    await make.sql(fired, change.format("until = due_at"))
    with pytest.raises(DatabaseError, match="G13: UPDATE of fires"):
        await make.sql(fired, change.format("until = 'infinity'"))


async def test_the_public_views_show_triggers_and_fires(fired: Database, make: Any) -> None:
    [row] = await make.sql(
        fired, "SELECT name, workflow, overdue, last_run_status, last_success_at FROM brain_v1.triggers"
    )
    assert tuple(row) == ("a", "flow", True, "queued", None)
    [row] = await make.sql(fired, "SELECT name, next_due_at FROM brain_v1.overdue")
    assert tuple(row) == ("a", NOON + HOUR)
    [row] = await make.sql(fired, "SELECT trigger, due_at, outcome FROM brain_v1.fires")
    assert tuple(row) == ("a", NOON, "fired")
    [row] = await make.sql(
        fired, "SELECT due_at, trigger->>'name' AS name, trigger->>'due_at' AS at FROM brain_v1.runs"
    )
    assert tuple(row) == (NOON, "a", "2026-05-01T12:00:00+00:00")


# Plans: with figures of what was really read, on tables where reading more would be seen.

_MANY_TRIGGERS = """
INSERT INTO brain.triggers (id, name, type, config, workflow_name, file, planned_steps, created_at, next_due_at)
SELECT gen_random_uuid(), 'many-' || n, 'test', '{}', 'flow', '/flow.py', '[{"name": "one", "type": "noop"}]', now(),
       now() + n * interval '1 s'
FROM generate_series(1, 20000) AS n;
INSERT INTO brain.runs (id, created_at, status, workflow_name, file, host, planned_steps, started_at, ended_at, error,
    trigger_id, worker_id, claim)
SELECT gen_random_uuid(), now() - n * interval '1 s', s.status, 'flow', '/' || s.status || n % 3 || '.py', 'there',
       '[{"name": "one", "type": "noop"}]', CASE WHEN s.status <> 'queued' THEN now() - n * interval '1 s' END,
       CASE WHEN s.status = 'failed' THEN now() END, CASE WHEN s.status = 'failed' THEN 'x' END,
       CASE WHEN s.status = 'failed' THEN t.id END, CASE WHEN s.status = 'running' THEN gen_random_uuid() END, 1
FROM generate_series(1, 10000) AS n, (VALUES ('queued'), ('failed'), ('running')) AS s (status),
     (SELECT id FROM brain.triggers LIMIT 1) AS t;
INSERT INTO brain.workers (id, kind, host, boot_id, pid_namespace, pid, process_started, version, lease)
VALUES (gen_random_uuid(), 'daemon', 'there', 'b', 'n', 1, '1', '1', 15);
"""


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


async def _read(db: Database, name: str, *args: str) -> tuple[int, set[str]]:
    """How many rows the largest step of a statement reads, thrown away ones included, and which indexes it uses."""
    async with db.session() as session:
        await session.script(f"BEGIN; PREPARE hot AS {all_statements()[name]}")
        rows = await session.connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE hot({', '.join(args)})")
        await session.script("ROLLBACK; DEALLOCATE hot")
    nodes = _nodes(json.loads(rows[0][0])[0]["Plan"])
    removed = ("Rows Removed by Filter", "Rows Removed by Join Filter")
    most = max(
        (node["Actual Rows"] + sum(node.get(key, 0) for key in removed)) * node["Actual Loops"] for node in nodes
    )
    return int(most), {node["Index Name"] for node in nodes if "Index Name" in node and node["Actual Loops"]}


@pytest.mark.breaks_history
@pytest.mark.parametrize("analyzed", [False, True], ids=["no figures", "figures"])
async def test_hot_statements_read_what_they_return_on_large_tables(db: Database, make: Any, analyzed: bool) -> None:
    row = await triggers.register(db, _new("a"), NOON - HOUR)
    async with db.session() as session:
        await session.script(_MANY_TRIGGERS + ("ANALYZE;" if analyzed else ""))
    none = "'{}'"
    worker = [f"'{value}'" for value in make.worker(host="here").row[1:]]
    me = f"'{uuid4()}'"
    taker = await _taker(db, make)
    calls: dict[str, tuple[tuple[str, ...], set[str]]] = {
        "fires_due": (("'2026-06-01'", "1000", "'{test}'", none), {"triggers_due"}),
        "fires_next_due": (("'{test}'", none), {"triggers_due", "triggers_resume"}),
        "fires_resumable": (("now()", "10", "'{test}'", none), {"triggers_resume"}),
        "queue_claim": ((me, "10", none, none, *worker), {"runs_in_hand", "runs_queued", "runs_pkey"}),
        "queue_claim_elsewhere": (
            (me, "10", none, "'{/queued0.py}'", *worker),
            {"runs_in_hand", "runs_queued_by_file", "runs_pkey"},
        ),
        "fires_fire": (
            (
                *(f"'{{{value}}}'" for value in (row.id, 1, NOON.isoformat(), (NOON + HOUR).isoformat())),
                "'{NULL}'",
                "'{NULL}'",
                "'{x}'",
                *(f"'{{{value}}}'" for value in (row.id, NOON.isoformat(), "noon", uuid4(), "due")),
                "NULL",
                *taker,
            ),
            {"triggers_pkey", "runs_unfinished_of_trigger"},
        ),
        "worker_end_runs": ((f"'{{{uuid4()}}}'", "'x'", none, "'w'", "true", "3", "null"), {"runs_in_hand"}),
    }
    for name, (args, indexes) in calls.items():
        most, used = await _read(db, name, *args)
        assert most <= 40, f"{name} reads {most} rows"
        assert indexes <= used, f"{name} uses {used}"


@pytest.mark.breaks_history
@pytest.mark.parametrize("analyzed", [False, True], ids=["no figures", "figures"])
async def test_many_at_once_cost_no_more_each(db: Database, make: Any, analyzed: bool) -> None:
    async with db.session() as session:
        await session.script(_MANY_TRIGGERS + ("ANALYZE;" if analyzed else ""))
    rows = await fires.due(db, datetime(2099, 1, 1, tzinfo=UTC), 300, ["test"])
    dues = [f'"{row.next_due_at.isoformat()}"' for row in rows]

    def column(*values: Any) -> str:
        return "'{" + ",".join(map(str, values)) + "}'"

    ids, later = column(*(row.id for row in rows)), '"2099-01-01"'
    triggers_ = (ids, column(*[1] * 300), column(*dues), column(*[later] * 300), *[column(*["NULL"] * 300)] * 2)
    instants = (ids, column(*dues), column(*dues), column(*(uuid4() for _ in rows)), column(*["due"] * 300))
    nobody = (f"'{uuid4()}'", "''", "0")
    for taker in (nobody, await _taker(db, make)):
        most, _ = await _read(db, "fires_fire", *triggers_, column(*["x"] * 300), *instants, "NULL", *taker)
        assert 300 <= most <= 600
    worker = [f"'{value}'" for value in make.worker().row[1:]]
    for name, absent in (("queue_claim", "'{}'"), ("queue_claim_elsewhere", "'{/x.py}'")):
        most, _ = await _read(db, name, f"'{uuid4()}'", "300", "'{}'", absent, *worker)
        assert 300 <= most <= 1_000


@pytest.mark.breaks_history
async def test_a_trigger_that_comes_due_is_found_among_all(db: Database, make: Any) -> None:
    async with db.session() as session:
        await session.script(_MANY_TRIGGERS)
    now = await triggers.clock(db)
    assert await fires.due(db, now - HOUR, 10, ["test"]) == []
    found = await fires.due(db, now + timedelta(seconds=9), 5, ["test"])
    assert [row.name for row in found] == [f"many-{n}" for n in range(1, 6)]
    assert await fires.due(db, now + HOUR, 5, ["cron"]) == []
    rest = await fires.due(db, now + HOUR, 1, ["test"], [row.id for row in found])
    assert [row.name for row in rest] == ["many-6"]
    assert await queue.claim(db, make.worker(), 3, [f"/queued{n}.py" for n in range(3)]) == []


async def _taker(db: Database, make: Any) -> tuple[str, str, str]:
    """Return the arguments of `fires_fire` for a worker that takes what it fires."""
    worker = make.worker(host="here")
    await daemon.beat(db, worker, 1, 0, 0.0, [])
    return (f"'{worker.id}'", "'here'", "300")


def _new(name: str) -> NewTrigger:
    steps = [{"name": "one", "type": "noop"}]
    return NewTrigger(name, "test", {}, "flow", "/flow.py", "here", {}, steps, next_due_at=NOON)
