"""The commands about schedules end to end: `brain` as a process, a real database, real workflow files."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brain_core import Cron
from brain_core.store import triggers
from brain_core.store.database import Database
from brain_core.store.migrate import schema_state
from brain_core.store.triggers import NewTrigger


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


def test_pause_and_resume(ok):
    ok("register", "plain.py", "--cron", "0 9 * * *", "--timezone", "Asia/Tokyo")
    text = ok("pause", "plain", "--until", "2200-01-01T00:00+00:00")
    assert re.fullmatch(r"paused  plain since 20.*\+09:00; until 2200-01-01 09:00:00\+09:00\n", text)
    assert ok("pause", "plain") == text
    assert re.search(r"paused since 20.*\+09:00 until 2200-01-01 09:00:00\+09:00$", ok("list").strip())
    assert ok("resume", "plain").startswith("active  plain: plain at 09:00 (Asia/Tokyo)\nnext        20")
    assert ok("resume", "plain").startswith("active  plain: ")
    assert "; resume it: brain resume plain\n" in ok("pause", "plain")


def test_a_while_is_a_while_by_the_clock_of_the_database(here, ok, database_url):
    """The clock here may be wrong; that of the database is judged by in all else too (G5)."""
    ok("register", "plain.py", "--cron", "0 9 * * *")

    async def ahead() -> None:
        async with await Database.open(database_url) as db, db.session() as session:
            await session.script(
                "CREATE SCHEMA ahead; CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz VOLATILE "
                "BEGIN ATOMIC SELECT pg_catalog.clock_timestamp() + interval '1000 days'; END;"
            )
            (name,) = await session.connection.fetchrow("SELECT current_database()")
            await session.script(f'ALTER DATABASE "{name}" SET search_path = ahead, pg_catalog, public')

    asyncio.run(ahead())
    before = datetime.now(UTC)
    row = json.loads(ok("pause", "plain", "--until", "30m", "--json"))
    assert timedelta(999) < datetime.fromisoformat(row["resume_at"]) - before < timedelta(1001)
    length = datetime.fromisoformat(row["resume_at"]) - datetime.fromisoformat(row["paused_at"])
    assert abs(length - timedelta(minutes=30)) < timedelta(minutes=5)
    assert timedelta(999) < datetime.fromisoformat(json.loads(ok("forecast", "--json"))["until"]) - before
    (audit,) = json.loads(ok("audit", "--json", "--since", "1d"))
    assert timedelta(998) < datetime.fromisoformat(audit["since"]) - before
    # A moment that is given is that one.
    given = (before + timedelta(2000)).isoformat()
    row = json.loads(ok("pause", "plain", "--until", given, "--json"))
    assert datetime.fromisoformat(row["resume_at"]) == before + timedelta(2000)
    code, out, err = here("pause", "plain", "--until", (before + timedelta(500)).isoformat())
    assert (code, out) == (2, "")
    assert "is over; give a time to come" in err


WRONG = [
    (["pause", "plan"], 1, "nothing is registered as 'plan'; did you mean 'plain'?"),
    (["resume", "other"], 1, "nothing is registered as 'other'; `brain list` lists what is"),
    (["unregister", "plan"], 1, "did you mean 'plain'?"),
    (["edit", "plan", "--overlap", "allow"], 1, "did you mean 'plain'?"),
    (["trigger", "plan"], 1, "did you mean 'plain'?"),
    (["fires", "plan"], 1, "did you mean 'plain'?"),
    (["audit", "plan"], 1, "did you mean 'plain'?"),
    (["forecast", "plan"], 1, "did you mean 'plain'?"),
    (["watch", "--workflow", "plan"], 1, "nothing is registered for the workflow 'plan'; did you mean 'plain'?"),
    (["pause", "plain", "--until", "2020-01-01"], 2, "--until '2020-01-01' is over; give a time to come"),
    (["pause", "plain", "--until", "soon"], 2, "is neither a time from now"),
    (["edit", "plain"], 2, "there is nothing to change; give at least one of --cron, --timezone, --webhook, --scheme"),
    (["edit", "plain", "--cron", "x"], 1, "cron expression 'x'"),
    (["edit", "plain", "-i", "n=1"], 2, "the workflow has no input 'n'"),
    (["trigger", "plain", "-i", "n=1"], 2, "the workflow has no input 'n'"),
    (["fires", "plain", "--since", "soon"], 2, "--since 'soon' is neither an age"),
    (["audit", "--since", "soon"], 2, "--since 'soon' is neither an age"),
    (["forecast", "--until", "yesterday"], 2, "--until 'yesterday' is neither a time from now"),
    (["watch", "--max-age", "26"], 2, "--max-age '26' is no duration; write for example 90m, 26h or 7d"),
    (["prune", "--days", "x"], 2, "'--days'"),
    (["prune", "--keep-last", "-1"], 2, "'--keep-last'"),
]


def test_what_cannot_be_done_is_one_line_with_the_nearest_name(here):
    assert here("register", "plain.py", "--cron", "0 9 * * *")[0] == 0
    before = here("list", "--json")
    for arguments, code, part in WRONG:
        found, out, err = here(*arguments)
        assert (found, out, err.count("\n")) == (code, "", 1), (arguments, err)
        assert err.startswith("brain: error: "), arguments
        assert part in err, arguments
    assert here("list", "--json") == before


def _register_in_the_past(url: str, file: Path, ago: timedelta) -> datetime:
    """Register a schedule of every ten minutes as if it had been done a while ago; return its first instant."""

    async def register() -> datetime:
        async with await Database.open(url) as db:
            at = await triggers.clock(db) - ago
            trigger = Cron("*/10 * * * *", timezone="UTC")
            due = trigger.next_after(at)
            new = NewTrigger(
                name="plain",
                type="cron",
                config=trigger.model_dump(mode="json"),
                workflow_name="plain",
                file=str(file),
                host="",
                inputs={},
                planned_steps=[{"name": "say", "type": "function"}],
                next_due_at=due,
            )
            await triggers.register(db, new, at)
            assert due is not None
            return due

    return asyncio.run(register())


def test_overdue_is_seen_from_outside_and_ends_with_an_edit(here, ok, files, database_url):
    first = _register_in_the_past(database_url, files / "plain.py", timedelta(days=1))
    code, out, err = here("list")
    assert re.search(r"^plain .* overdue ", out, flags=re.MULTILINE)
    assert (code, err) == (0, "no daemon runs; start one: brain daemon\n")
    code, out, err = here("watch")
    assert code == 1
    assert out.startswith("late  plain (plain): overdue since ")
    assert err == "0 of 1 schedule as they should be\n"
    (one,) = json.loads(here("watch", "--json", "--max-age", "1h")[1])
    assert (one["overdue"], one["last_success_at"]) == (True, None)
    assert "no success since it was registered" in one["problem"]
    assert ok("audit") == ""
    ok("edit", "plain", "--catch-up", "none")
    assert here("watch")[0] == 0
    (line,) = json.loads(ok("fires", "plain", "--json"))
    assert (line["outcome"], line["run_id"], line["open"]) == ("merged", None, False)
    assert datetime.fromisoformat(line["due_at"]) == first
    table = ok("fires", "plain").splitlines()
    assert table[0].split() == ["DUE", "UNTIL", "OUTCOME", "RUN", "REASON"]
    assert "merged" in table[1]
    (audit,) = json.loads(ok("audit", "plain", "--json"))
    assert (audit["holds"], audit["findings"], audit["impossible"]) == (True, [], None)


def test_the_ledger_of_what_is_unregistered_can_be_seen(here, ok, files, database_url):
    _register_in_the_past(database_url, files / "plain.py", timedelta(days=1))
    ok("unregister", "plain")
    code, out, err = here("fires", "plain", "--json")
    assert (code, [one["outcome"] for one in json.loads(out)]) == (0, ["merged"])
    assert re.fullmatch(r"'plain' is unregistered since 20\S+ \S+\n", err)
    code, out, again = here("audit", "plain", "--json")
    (audit,) = json.loads(out)
    assert (code, audit["findings"], audit["holds"]) == (0, [], True)
    assert again == err
    assert here("forecast", "plain")[0] == 1
    ok("register", "plain.py", "--cron", "0 9 * * *")
    assert here("fires", "plain") == (0, "", "nothing has come due\n")


def test_watch_changes_nothing_not_even_the_schema(brain, empty_database_url, files):
    done = brain("watch", env={"THE_BRAIN_DATABASE_URL": empty_database_url})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)

    async def state() -> str:
        async with await Database.open(empty_database_url) as db:
            return (await schema_state(db)).state

    assert asyncio.run(state()) == "fresh"


def test_forecast(ok):
    ok("register", "plain.py", "--cron", "*/10 * * * *")
    ok("register", "own.py", "--cron", "*/20 * * * *")
    found = json.loads(ok("forecast", "--until", "2h", "--limit", "3", "--json"))
    assert len(found["instants"]) == 3
    assert {one["name"]: one["instants"] for one in found["schedules"]} == {"plain": 12, "own": 6}
    assert [one["instants"] for one in found["busiest"]] == [2] * 5
    text = ok("forecast", "--until", "2h", "--limit", "3").splitlines()
    assert text[0].split() == ["DUE", "NAME", "NOTE"]
    assert text[4].startswith("and 15 more until ")
    assert text[5].startswith("busy      2 at ")
    ok("pause", "own")
    assert json.loads(ok("forecast", "own", "--json"))["left_out"] == [
        {"name": "own", "reason": "paused, with no time to resume at"}
    ]


def test_prune(ok):
    ids = [json.loads(ok("run", "plain.py", "--json"))["id"] for _ in range(3)]
    assert ok("prune") == "deleted 0 runs\n"
    assert ok("prune", "--days", "0", "--keep-last", "1", "--dry-run") == "would delete 2 runs\n"
    assert len(json.loads(ok("history", "--json"))) == 3
    pruned = json.loads(ok("prune", "--days", "0", "--keep-last", "1", "--json"))
    assert (pruned["runs"], pruned["dry_run"]) == (2, False)
    assert [one["id"] for one in json.loads(ok("history", "--json"))] == ids[-1:]


@pytest.fixture
def daemon(environment, files):
    """A daemon that runs while the test does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "brain_core", "daemon"], env=environment, cwd=files, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)


def test_trigger_waits_as_run_does(brain, ok, files, daemon):
    ok("register", "flow.py", "--cron", "0 9 * * *", "-i", "n=1")
    done = brain("trigger", "flow", "-i", "n=5", "--wait")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"success  flow  run [0-9a-f]{8}  .*\n", done.stdout)
    assert "[1/1] say: success in " in done.stderr
    assert done.stderr.rstrip().endswith("ann 5")
    file = files / "flow.py"
    file.write_text(file.read_text().replace('return f"{who} {n}"', 'raise ValueError("no good")'))
    run = brain("trigger", "flow", "--wait", "--json")
    assert run.returncode == 1
    assert "no good" in json.loads(run.stdout)["error"]
    (listed,) = json.loads(ok("list", "--json"))
    assert listed["last_run"]["status"] == "failed"
    assert listed["last_success_at"] is not None
    assert ok("watch", "--max-age", "1h") == ""


def test_trigger_without_a_daemon_says_that_the_run_waits(environment, ok, brain, files):
    assert brain("register", "plain.py", "--cron", "0 9 * * *").stderr.endswith(
        "no daemon runs; start one: brain daemon\n"
    )
    done = brain("trigger", "plain")
    assert re.fullmatch(r"queued  plain  run [0-9a-f]{8}\n", done.stdout)
    assert re.fullmatch(r"run [0-9a-f]{8} waits: no daemon runs; start one with `brain daemon`\n", done.stderr)
    assert "\ntrigger   plain, by hand\n" in ok("show")
    assert re.search(r"  active  queued 20\d\d-\S+ \S+  queued  ", ok("list"))
    waiting = subprocess.Popen(
        [sys.executable, "-m", "brain_core", "trigger", "plain", "--wait"],
        env=environment,
        cwd=files,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    said = [waiting.stderr.readline(), waiting.stderr.readline()]
    assert "waits: no daemon runs; start one with `brain daemon`" in said[1]
    waiting.send_signal(signal.SIGINT)
    out, rest = waiting.communicate(timeout=180)
    assert (waiting.returncode, out) == (130, "")
    assert re.search(r"brain: run [0-9a-f]{8} goes on; end it with: brain cancel [0-9a-f]{8}\n", rest)
    assert [one["status"] for one in json.loads(ok("history", "--json"))] == ["queued"] * 2
