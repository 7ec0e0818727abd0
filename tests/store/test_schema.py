"""The schema: migrating, each constraint broken on purpose, every statement prepared, and the plans of the hot ones."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from brain_core.errors import DatabaseError, DatabaseUnreachable, RunNotFound, SchemaTooNew
from brain_core.store import runs
from brain_core.store.database import Database
from brain_core.store.migrate import ensure_schema, migrate, migrations_folder, schema_state
from brain_core.store.statements import all_statements

_SCRIPTS = {"schema_bootstrap", "check_settings"}


async def test_fresh_then_repeated(empty_database_url: str) -> None:
    names = [file.stem for file in sorted(migrations_folder().glob("*.sql"))]
    async with await Database.open(empty_database_url) as database:
        assert (await schema_state(database)).state == "fresh"
        assert await migrate(database) == names
        assert await migrate(database) == []
        await ensure_schema(database)
        state = await schema_state(database)
        assert (state.state, list(state.applied), state.missing) == ("current", names, ())


def test_several_processes_at_once_migrate_once(empty_database_url: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from brain_core.store.database import Database\n"
        "from brain_core.store.migrate import migrate\n"
        "async def main():\n"
        "    async with await Database.open(sys.argv[1]) as db: print(*await migrate(db))\n"
        "asyncio.run(main())\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, empty_database_url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sorted(map(bool, said)) == [False, False, False, True]


async def test_a_newer_schema_is_refused(db: Database, make: Any) -> None:
    await make.sql(
        db,
        "INSERT INTO brain.schema_migrations (distribution, number, name, checksum) "
        "VALUES ('brain-core', 9999, '9999_later', 'x')",
    )
    for attempt in (ensure_schema, migrate):
        with pytest.raises(SchemaTooNew, match=r"^database 'brain_test_\w+' at .*9999_later"):
            await attempt(db)


async def test_a_changed_migration_is_refused(db: Database, make: Any) -> None:
    await make.sql(db, "UPDATE brain.schema_migrations SET checksum = 'other'")
    for attempt in (ensure_schema, migrate):
        with pytest.raises(DatabaseError, match=r"^database 'brain_test_\w+' at .*0001_runs.*THE_BRAIN_DATABASE_URL"):
            await attempt(db)


async def test_a_failing_migration_leaves_nothing(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE brain.good (id int);")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE brain.bad (id nonsense);")
    async with await Database.open(empty_database_url) as database:
        with pytest.raises(DatabaseError, match="nonsense"):
            await migrate(database, distribution="other", folder=tmp_path)
        assert (await schema_state(database, distribution="other", folder=tmp_path)).state == "fresh"


_BREAKS = {
    "runs_status_known": "UPDATE brain.runs SET status = 'done'",
    "runs_ended_iff_final": "UPDATE brain.runs SET ended_at = now()",
    "runs_ends_after_start": "UPDATE brain.runs SET status = 'failed', error = 'x', "
    "ended_at = started_at - interval '1 s'",
    "runs_running_is_owned": "UPDATE brain.runs SET worker_id = NULL",
    "runs_success_has_started": "UPDATE brain.runs SET status = 'success', started_at = NULL, ended_at = now()",
    "runs_failure_has_error": "UPDATE brain.runs SET status = 'failed', ended_at = now()",
    "runs_success_has_no_error": "UPDATE brain.runs SET status = 'success', error = 'x', ended_at = now()",
    "runs_plan_has_steps": "UPDATE brain.runs SET planned_steps = '[]'",
    "runs_position_in_plan": "UPDATE brain.runs SET position = 2",
    "runs_claim_counts_up": "INSERT INTO brain.runs (id, created_at, status, workflow_name, file, claim, "
    "planned_steps) VALUES (gen_random_uuid(), now(), 'queued', 'w', 'f', -1, '[{}]')",
    "G13.*cannot be a success": "UPDATE brain.runs SET status = 'success', ended_at = now()",
    "cannot be created as a success": "INSERT INTO brain.runs (id, created_at, status, workflow_name, file, "
    "planned_steps) VALUES (gen_random_uuid(), now(), 'success', 'w', 'f', '[{}]')",
    "runs_due_has_trigger": "UPDATE brain.runs SET due_at = now()",
    "runs_takeovers_count": "UPDATE brain.runs SET takeovers = -1",
    "runs_parked_iff_reason": "UPDATE brain.runs SET status = 'parked', worker_id = NULL",
    "runs_waiting_is_free": "UPDATE brain.runs SET status = 'queued'",
    "runs_cancel_has_time": "UPDATE brain.runs SET cancel_reason = 'x'",
    "workflow_versions_on_interrupt_known": "INSERT INTO brain.workflow_versions (digest, sources, on_interrupt) "
    "VALUES ('d', '{}', 'hope')",
    "workers_numbers_count": "UPDATE brain.workers SET concurrency = 0",
    "G19": "INSERT INTO brain.runs (id, created_at, status, workflow_name, file, digest, planned_steps) "
    "VALUES (gen_random_uuid(), now(), 'queued', 'w', 'f', 'unknown', '[{}]')",
    "step_runs_pkey": "INSERT INTO brain.step_runs SELECT * FROM brain.step_runs",
    "G13: INSERT of a step into run .* not there": "INSERT INTO brain.step_runs (run_id, position, attempt, claim, "
    "started_at, ended_at, name, type, status) VALUES (gen_random_uuid(), 0, 1, 1, now(), now(), 'a', 't', 'success')",
    "step_runs_status_known": ("step", "now(), now()", "'done', NULL", "0, 2"),
    "step_runs_ended_iff_not_running": ("step", "now(), NULL", "'success', NULL", "0, 2"),
    "step_runs_ends_after_start": ("step", "now(), now() - interval '1 s'", "'success', NULL", "0, 2"),
    "step_runs_failure_has_error": ("step", "now(), now()", "'failed', NULL", "0, 2"),
    "step_runs_counted": ("step", "now(), now()", "'success', NULL", "0, 0"),
    "G13: UPDATE of step_runs": "UPDATE brain.step_runs SET output = '1'",
    "G13: UPDATE of runs": "UPDATE brain.runs SET id = gen_random_uuid()",
    "G13: DELETE of step_runs": "DELETE FROM brain.step_runs",
    "G13: DELETE of workflow_versions": "DELETE FROM brain.workflow_versions",
    "workers_kind_known": "UPDATE brain.workers SET kind = 'person'",
    "workers_lease_positive": "UPDATE brain.workers SET lease = 0",
    "workers_reason_iff_stopped": "UPDATE brain.workers SET stopped_at = now()",
    "deliveries_run_id_fkey": "INSERT INTO brain.deliveries (run_id, receiver) VALUES (gen_random_uuid(), 'mail')",
    "deliveries_status_known": "INSERT INTO brain.deliveries (run_id, receiver, status, ended_at) "
    "SELECT id, 'mail', 'lost', now() FROM brain.runs",
    "deliveries_ended_iff_not_open": "INSERT INTO brain.deliveries (run_id, receiver, ended_at) "
    "SELECT id, 'mail', now() FROM brain.runs",
    "deliveries_error_iff_failed": "INSERT INTO brain.deliveries (run_id, receiver, error) "
    "SELECT id, 'mail', 'x' FROM brain.runs",
    "deliveries_pkey": "INSERT INTO brain.deliveries (run_id, receiver) "
    "SELECT id, 'mail' FROM brain.runs, (VALUES (1), (2)) v",
}


@pytest.mark.parametrize("rule", _BREAKS)
async def test_the_database_itself_refuses(db: Database, make: Any, rule: str) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    text = _BREAKS[rule]
    if isinstance(text, tuple):
        text = (
            "INSERT INTO brain.step_runs "
            "(run_id, claim, started_at, ended_at, status, error, position, attempt, name, type) "
            f"SELECT id, 1, {text[1]}, {text[2]}, {text[3]}, 'one', 't' FROM brain.runs"
        )
    with pytest.raises(DatabaseError, match=rule):
        await make.sql(db, text)


async def test_every_constraint_names_its_rule_and_is_broken_here(db: Database, make: Any) -> None:
    rows = await make.sql(
        db,
        "SELECT c.conname AS name, obj_description(c.oid, 'pg_constraint') AS says FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace "
        "WHERE n.nspname = 'brain' AND c.contype IN ('c', 'f') AND t.relname <> ALL ($1)",
        ["worker_sightings", "triggers", "trigger_revisions", "fires", "run_events"],
    )
    assert len(rows) > 20
    for row in rows:
        assert re.match(r"G\d+: ", row["says"] or ""), row["name"]
        assert row["name"] in _BREAKS


@pytest.mark.parametrize("status", ["success", "failed", "cancelled"])
async def test_a_final_run_never_changes(db: Database, make: Any, status: str) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    await recorder.finish_step(make.step(begun.run_id, 1, "two"))
    await make.sql(
        db,
        "UPDATE brain.runs SET status = $1, ended_at = now(), error = nullif($2, '')",
        status,
        "x"[status == "success" :],
    )
    for change in ("status = 'running', ended_at = NULL", "error = 'other'", "inputs = '{\"a\": 1}'", "claim = 9"):
        with pytest.raises(DatabaseError, match="G13: UPDATE of runs"):
            await make.sql(db, f"UPDATE brain.runs SET {change}")
    await make.sql(db, "DELETE FROM brain.runs")
    assert await make.sql(db, "SELECT FROM brain.step_runs") == []


async def test_the_last_attempt_decides(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start(steps=("one",))
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one", status="failed", error="x"))
    await recorder.finish_step(make.step(begun.run_id, 0, "one", attempt=2))
    await make.sql(db, "UPDATE brain.runs SET status = 'success', ended_at = now()")
    assert [s.attempt for s in (await runs.get(db, begun.run_id)).steps] == [1, 2]


async def test_every_statement_prepares(db: Database) -> None:
    async with db.session() as session:
        for name, text in all_statements().items():
            assert text.startswith("--"), f"{name} has no purpose"
            if name not in _SCRIPTS:
                await session.connection.prepare(text)


async def _plan(db: Database, name: str, *args: str) -> str:
    """The plan that a prepared statement keeps, whatever its values."""
    async with db.session() as session:
        # asyncpg writes $1, and so does PREPARE.
        await session.script(f"PREPARE hot AS {all_statements()[name]}")
        values = f"({', '.join(args)})" if args else ""
        rows = await session.connection.fetch(f"EXPLAIN EXECUTE hot{values}")
        return "\n".join(row[0] for row in rows)


async def test_previous_is_one_read_of_the_partial_index(db: Database, make: Any) -> None:
    await make.run_once(make.recorder(db))
    plan = await _plan(db, "run_previous", "'flow'")
    assert plan.count("runs_previous") == 1
    assert "Index Cond: (workflow_name" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


_PAGE = ("'9999-12-31'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'0001-01-01'", "20")


@pytest.mark.parametrize(
    ("name", "args", "index"),
    [
        ("run_history", _PAGE, "runs_history"),
        ("run_history_of_workflow", (*_PAGE, "'flow'"), "runs_history_of_workflow"),
        ("run_history_of_status", (*_PAGE, "'failed'"), "runs_not_successful"),
        ("run_history_of_successes", _PAGE, "runs_history"),
        ("run_history_of_workflow_status", (*_PAGE, "'flow'", "'failed'"), "runs_history_of_workflow"),
        ("run_find", (_PAGE[1], _PAGE[1], "6"), "runs_pkey"),
        ("run_steps", (_PAGE[1],), "step_runs_pkey"),
        ("delivery_list", ("20",), "deliveries_not_done"),
        ("worker_candidates", (), "workers_live"),
        ("trigger_get", ("'nightly'",), "triggers_name"),
        ("live_read", (_PAGE[1], "0", "20"), "run_events_pkey"),
        ("fires_ledger", (_PAGE[1], "'0001-01-01'", "20", "'9999-12-31'"), "fires_pkey"),
        ("worker_beat", (_PAGE[1],), "runs_in_hand"),
        ("figures", ("'{queued}'",), "runs_not_successful"),
        ("figures", ("'{queued}'",), "triggers_due"),
    ],
)
async def test_hot_reads_use_their_index(db: Database, name: str, args: tuple[str, ...], index: str) -> None:
    plan = await _plan(db, name, *args)
    assert f"using {index} on" in plan
    assert "Seq Scan" not in plan
    if name.startswith("run_history"):
        assert "Sort" not in plan


@pytest.mark.parametrize("name", ["record", "record_changes"])
async def test_the_recorders_plan_for_an_empty_table_fits_a_large_one(db: Database, name: str) -> None:
    text = all_statements()[name]
    count = max(int(number) for number in re.findall(r"\$(\d+)", text))
    plan = await _plan(db, name, *["NULL"] * count)
    assert "Index Scan on runs_pkey" in plan or "Index Scan using runs_pkey" in plan
    assert "Index Cond: (id = ANY" in plan
    assert "runs_not_successful" not in plan
    assert "Hash Join" in plan
    assert "Seq Scan" not in plan


async def test_previous_history_and_find(db: Database, make: Any) -> None:
    assert await runs.previous(db, "flow") is None
    recorder = make.recorder(db)
    first, second = await make.run_once(recorder), await make.run_once(recorder)
    await make.run_once(recorder, workflow="other")
    begun = make.start()
    await recorder.start_run(begun)
    assert await runs.previous(db, "flow") == (str(second), {"one": "out of one", "two": "out of two"})
    listed = await runs.history(db, limit=2)
    assert [run.workflow for run in listed] == ["flow", "other"]
    rest = await runs.history(db, before=(listed[-1].created_at, runs.UUID(listed[-1].id)))
    assert [run.id for run in rest] == [str(second), str(first)]
    assert len(await runs.history(db, runs.RunFilter(workflow="flow"))) == 3
    assert [run.id for run in await runs.history(db, runs.RunFilter(status="running"))] == [str(begun.run_id)]
    assert len(await runs.history(db, runs.RunFilter(status="success", since=listed[-1].created_at))) == 1
    assert len(await runs.history(db, runs.RunFilter(workflow="flow", status="success"))) == 2
    assert (await runs.find(db, str(first)[:13])).id == str(first)
    for wrong in ("", "zz", "0" * 33, str(uuid4())):
        with pytest.raises(RunNotFound):
            await runs.find(db, wrong)
    for last in (1, 2):
        await recorder.start_run(make.start(run_id=runs.UUID(f"abcdef00-0000-4000-8000-00000000000{last}")))
    with pytest.raises(RunNotFound, match=r"several.*000001 \(flow\).*000002 \(flow\)"):
        await runs.find(db, "ABCDEF")


@pytest.mark.breaks_history
async def test_the_check_sees_every_lie(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    await make.run_once(recorder)
    begun = make.start()
    await recorder.start_run(begun)
    assert await runs.check_history(db) == []
    lies = {
        "ended_iff_final": "UPDATE brain.runs SET ended_at = now() WHERE status = 'running'",
        "ends_after_start": "UPDATE brain.runs SET ended_at = started_at - interval '1 h' WHERE status = 'success'",
        "running_without_owner": "UPDATE brain.runs SET worker_id = gen_random_uuid() WHERE status = 'running'",
        "running_owner_stopped": "UPDATE brain.workers SET stopped_at = now(), stop_reason = 'x'",
        "running_owner_silent": "UPDATE brain.workers SET beat_at = now() - interval '46 s'",
        "success_incomplete": "DELETE FROM brain.step_runs WHERE position = 1",
        "position_beyond_plan": "UPDATE brain.runs SET position = 7",
        "step_beyond_plan": "UPDATE brain.step_runs SET position = 2 WHERE position = 1",
        "step_not_as_planned": "UPDATE brain.step_runs SET name = 'three' WHERE position = 1",
        "step_after_end": "UPDATE brain.step_runs SET ended_at = now() + interval '1 h' WHERE position = 1",
        "step_before_start": "UPDATE brain.step_runs SET started_at = now() - interval '1 h'",
        "step_running_in_final": "UPDATE brain.step_runs SET status = 'running', ended_at = NULL WHERE position = 1",
        "step_of_later_claim": "UPDATE brain.step_runs SET claim = 2",
        "delivery_before_end": "INSERT INTO brain.deliveries (run_id, receiver) SELECT id, 'm' FROM brain.runs "
        "WHERE status = 'running'",
    }
    source = all_statements()["check_history"]
    assert set(re.findall(r"SELECT '(\w+)'", source)) == set(lies)
    for rule, lie in lies.items():
        async with db.session() as session:
            text = (
                "BEGIN; SET LOCAL session_replication_role = replica;"
                "ALTER TABLE brain.runs DROP CONSTRAINT runs_ended_iff_final, DROP CONSTRAINT runs_ends_after_start, "
                "DROP CONSTRAINT runs_position_in_plan;" + lie
            )
            await session.script(text)
            found = {row["rule"] for row in await session.fetch("check_history", runs.SILENT_SECONDS)}
            await session.script("ROLLBACK")
        assert rule in found, f"{rule} was not seen, but {found}"
    assert await runs.check_history(db) == []


async def test_the_public_views_show_runs_and_steps(db: Database, make: Any) -> None:
    await make.run_once(make.recorder(db))
    [row] = await make.sql(db, "SELECT workflow, status, version, planned_steps FROM brain_v1.runs")
    assert (row["workflow"], row["status"], row["version"]) == ("flow", "success", "digest")
    assert len(await make.sql(db, "SELECT name, output, log, details FROM brain_v1.step_runs")) == 2


async def test_what_cannot_be_reached_is_one_line_without_the_password(server_url: str, tmp_path: Path) -> None:
    missing = urlsplit(server_url)._replace(path="/not_there").geturl()
    for url, said in (
        (missing, "not_there"),
        ("postgresql://me:se%20cret@127.0.0.1:1/x", "database 'x' at 127.0.0.1:1"),
        (f"postgresql://me:secret@/x?host={tmp_path}", "No such file"),
        ("postgresql://me:secret@127.0.0.1:port/x", "cannot be read"),
        ("mysql://me:secret@127.0.0.1/x", "cannot be read"),
    ):
        with pytest.raises(DatabaseUnreachable) as caught:
            await Database.open(url)
        line = str(caught.value)
        assert said in line
        assert "cret" not in line
        assert "\n" not in line


async def test_a_wrong_password_is_said(server_url: str, db: Database, make: Any) -> None:
    """A listener that speaks just enough of the protocol to say what a server says to a wrong password."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(DatabaseUnreachable, match=r'refuses the login.*password authentication failed for user "me"'):
        await Database.open(f"postgresql://me:secret@127.0.0.1:{port}/x?sslmode=disable")
    server.close()


async def test_a_statement_that_is_refused_leaves_the_connection_usable(db: Database, make: Any) -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        await make.sql(db, "SELECT 1 / 0")
    assert await make.sql(db, "SELECT 1")


async def test_a_cancelled_statement_costs_its_connection_and_nothing_else(db: Database, make: Any) -> None:
    waiting = asyncio.ensure_future(make.sql(db, "SELECT pg_sleep(60)"))
    watched = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    while not await make.sql(db, watched):
        pass
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await make.sql(db, "SELECT 1 AS one"))[0]["one"] == 1


async def test_concurrent_statements_share_few_connections(database_url: str, make: Any) -> None:
    async with await Database.open(database_url, pool_size=3) as database:
        await asyncio.gather(*(make.sql(database, "SELECT 1") for _ in range(50)))
        here = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        assert (await make.sql(database, here))[0]["n"] <= 3
