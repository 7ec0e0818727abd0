"""The commands about schedules end to end: `brain` as a process, a real database, real workflow files."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from brain_core import Cron
from brain_core.cli.main import main
from brain_core.store import triggers
from brain_core.store.database import Database
from brain_core.store.migrate import schema_state
from brain_core.store.triggers import NewTrigger

FLOW = """
from brain_core import FunctionStep, Workflow

print("imported")

def say(who, n):
    return f"{who} {n}"

workflow = Workflow(
    name="flow",
    inputs={"who": "ann", "n": int},
    steps=[FunctionStep(name="say", function=say, args={"who": "{inputs.who}", "n": "{inputs.n}"})],
)
"""

OWN = """
from brain_core import Cron, FunctionStep, Workflow

def say():
    return "hello"

workflow = Workflow(
    name="own", schedule=Cron("0 9 * * 1-5", timezone="Asia/Tokyo"), steps=[FunctionStep(name="say", function=say)]
)
"""

PLAIN = OWN.replace('schedule=Cron("0 9 * * 1-5", timezone="Asia/Tokyo"), ', "").replace("own", "plain")

TIDE = """
from datetime import timedelta
from typing import ClassVar
from pydantic import Field
from brain_core import Trigger, TriggerRefused, hookimpl

class Tide(Trigger):
    type_name: ClassVar[str] = "tide"
    tide: str = Field(description="The harbour.")
    hours: int = 12
    spring: bool = False
    name: str = ""

    def check(self):
        if self.tide == "inland":
            raise TriggerRefused("inland has no tide")

    def describe(self):
        return f"each tide at {self.tide}, {self.hours} {self.spring} {self.name!r}"

    def on_register(self, registration):
        return [f"{registration.trigger} of {registration.workflow} is told"]

    def next_after(self, instant):
        return instant + timedelta(hours=self.hours)

@hookimpl
def brain_trigger_types():
    return [Tide]
"""


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


@pytest.fixture
def files(brain, tmp_path: Path) -> Path:
    """The folder in which the commands run (`brain` has made it), with workflow files in it."""
    folder = tmp_path / "work"
    for name, text in {"flow.py": FLOW, "own.py": OWN, "plain.py": PLAIN, "broken.py": "workflow = 1\n"}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def here(environment, files, monkeypatch, capsys):
    """Call `brain` in this process, which is quicker; returns the exit code, and what it wrote to stdout and stderr."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(files)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def ok(brain, here):
    """Call `brain`, in a process of its own where an environment is given, and return its stdout; it has to succeed."""

    def call(*arguments: str, env: dict[str, str] | None = None) -> str:
        if env is None:
            code, out, err = here(*arguments)
        else:
            done = brain(*arguments, env=env)
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, err
        return out

    return call


def test_register_says_what_will_happen(ok):
    text = ok("register", "flow.py", "--cron", "0 9 13 * 5", "--timezone", "Europe/Berlin", "-i", "n=3", env={})
    lines = text.splitlines()
    assert lines[0] == "registered  flow: flow at 09:00 on day 13 of the month or on Friday (Europe/Berlin)"
    assert lines[1].startswith("note        day-of-month '13' and day-of-week '5' are both restricted")
    assert re.fullmatch(r"next        20\d\d-\d\d-\d\d 09:00:00\+0[12]:00", lines[2])
    assert lines[3].startswith("then        ")
    listed = ok("list", env={}).splitlines()
    assert listed[0].split() == ["NAME", "SCHEDULE", "STATE", "LAST", "RUN", "OUTCOME", "NEXT"]
    assert listed[1].startswith("flow  at 09:00 on day 13")
    assert listed[1].endswith(lines[2].removeprefix("next        "))


def test_json_has_its_documented_shape(ok):
    one = json.loads(ok("register", "flow.py", "--cron", "@daily", "-i", "n=3", "--catch-up", "all:2", "--json"))
    plain = {
        *("name", "type", "config", "schedule", "workflow", "file", "host", "inputs", "catch_up", "overlap", "state"),
        *("paused_at", "resume_at", "next_due_at", "created_at", "revision"),
    }
    assert set(one) == plain | {"notes", "next", "lines"}
    assert (one["config"], one["catch_up"]) == ({"cron": "@daily", "timezone": "UTC"}, "all:2")
    (listed,) = json.loads(ok("list", "--json"))
    assert set(listed) == plain | {"overdue", "last_success_at", "last_run"}
    assert (listed["last_run"], listed["overdue"]) == (None, False)
    assert set(json.loads(ok("pause", "flow", "--json"))) == plain
    assert set(json.loads(ok("resume", "flow", "--json"))) == plain | {"notes", "next"}
    assert set(json.loads(ok("edit", "flow", "--overlap", "allow", "--json"))) == plain | {"notes", "next"}
    assert json.loads(ok("unregister", "flow", "--json")) == {"name": "flow", "state": "deleted"}


def test_the_schedule_of_the_file_is_used_and_its_fields_replaced(ok):
    assert "at 09:00 on Monday to Friday (Asia/Tokyo)" in ok("register", "own.py")
    assert "Friday (Europe/Paris)" in ok("register", "own.py", "--name", "b", "--timezone", "Europe/Paris")
    # Another expression is the whole schedule, so that the zone of the file does not stay behind unseen.
    assert "at 10:00 (UTC)" in ok("register", "own.py", "--name", "c", "--cron", "0 10 * * *")


BAD = [
    (["flow.py"], 2, "input 'n' (int) is required; give it with --input n=…"),
    (["plain.py"], 2, "plain.py has no schedule of its own; give it --cron, or write schedule=… into the file"),
    (["plain.py", "--timezone", "UTC"], 2, "has no schedule of its own; give it --cron"),
    (["plain.py", "--cron", "0 9 * *"], 1, "it has 4 fields, and five are needed"),
    (["plain.py", "--cron", ""], 1, "cron expression '': it is empty"),
    (["plain.py", "--cron", "61 * * * *"], 1, "minute 61 is out of range; it goes from 0 to 59"),
    (["plain.py", "--cron", "0 0 31 2 *"], 1, "it never comes: there is no day 31 in Feb"),
    (["plain.py", "--cron", "@daily", "--timezone", "Europe/Berln"], 1, "did you mean 'Europe/Berlin'?"),
    (["plain.py", "--cron", "@daily", "--timezone", ""], 1, "time zone"),
    (["plain.py", "--cron", "@daily", "--name", "../x"], 2, "the name '../x' is not a name: letters, digits"),
    (["plain.py", "--cron", "@daily", "--name", ""], 2, "the name '' is not a name"),
    (["plain.py", "--cron", "@daily", "--catch-up", "all"], 2, "write all:N with N from 1 to 1,000, such as all:10"),
    (["plain.py", "--cron", "@daily", "--catch-up", "lastest"], 2, "did you mean 'latest'?"),
    (["plain.py", "--cron", "@daily", "--overlap", "skp"], 2, "is neither skip nor allow; did you mean 'skip'?"),
    (["plain.py", "--cron", "@daily", "-i", "who=ann"], 2, "the workflow has no input 'who' (declared: none)"),
    (["flow.py", "--cron", "@daily", "-i", "n=x"], 2, "input 'n' has to be int, and 'x' is not"),
    (["flow.py", "--cron", "@daily", "-i", "n"], 2, "--input 'n' is not NAME=VALUE"),
    (["flow.py", "--cron", "@daily", "-i", "n=1", "-i", "whom=x"], 2, "did you mean 'who'?"),
    (["nofile.py", "--cron", "@daily"], 1, "nofile.py: there is no such file"),
    (["plin.py", "--cron", "@daily"], 1, "did you mean 'plain.py'?"),
    (["broken.py", "--cron", "@daily"], 1, "broken.py"),
    (["plain.py", "--crn", "@daily"], 2, "no such option: --crn; did you mean '--cron'? See 'brain register --help'"),
    (["plain.py", "--cron"], 2, "option '--cron' requires an argument"),
    ([], 2, "missing argument 'FILE'"),
]


@pytest.mark.parametrize(("arguments", "code", "part"), BAD, ids=[" ".join(one[0]) or "nothing" for one in BAD])
def test_what_cannot_be_registered_is_one_line_and_writes_nothing(here, monkeypatch, arguments, code, part):
    # No database: everything is checked before one is looked for.
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    found, out, err = here("register", *arguments)
    said = [line for line in err.splitlines() if line != "imported"]
    assert (found, out, len(said)) == (code, "", 1), err
    assert said[0].startswith("brain: error: ")
    assert part in said[0]


def test_a_taken_name_is_refused_and_says_what_to_do(here, ok):
    ok("register", "plain.py", "--cron", "0 9 * * *")
    before = ok("list", "--json")
    code, out, err = here("register", "plain.py", "--cron", "0 10 * * *")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"brain: error: 'plain' is registered already \(.*plain\.py, at 09:00 \(UTC\)\) and stays as it is; "
        r"change it: brain edit plain, end it: brain unregister plain, or give another --name\n",
        err,
    )
    assert ok("list", "--json") == before


def test_what_is_registered_at_home_may_be_any_number_of_times(ok):
    for name in ("a", "b"):
        ok("register", "flow.py", "--cron", "0 9 * * *", "--name", name, "-i", "n=3", "-i", f"who={name}")
    assert [one["inputs"]["who"] for one in json.loads(ok("list", "--json"))] == ["a", "b"]


def test_without_the_cron_plugin_its_options_are_unknown(here, ok, files):
    ok("register", "plain.py", "--cron", "0 9 * * *")
    (files / "brain.toml").write_text('[plugins]\ndisable = ["cron"]\n')
    code, out, err = here("register", "plain.py", "--cron", "0 9 * * *")
    assert (code, out) == (2, "")
    assert err.startswith(
        "brain: error: no such option: --cron; the plugin 'cron' would bring it, which is disabled: "
        "[plugins] disable leaves it out; see: brain plugins check cron"
    )
    assert "it may be one of a plugin that is not active (cron)" in here("register", "plain.py", "--timezone", "UTC")[2]
    assert "no active plugin brings a trigger type (cron is disabled: " in here("register", "plain.py")[2]
    code, _, err = here("register", "own.py")
    assert code == 1
    assert "cron" in err
    assert "--cron" not in ok("register", "--help")
    # What is registered is seen all the same, and told apart.
    assert "cron {'cron': '0 9 * * *', 'timezone': 'UTC'}" in ok("list")
    code, out, err = here("audit")
    assert (code, err) == (1, "0 of 1 schedule without a hole\n")
    assert "'cron' is disabled" in out


def test_the_options_are_the_fields_of_an_outsiders_type(brain, ok, with_plugin):
    environment = with_plugin(TIDE)
    text = ok("register", "--help", env=environment)
    for option in ("--tide TIDE", "--hours HOURS", "--spring / --no-spring", "--tide-name NAME", "The harbour."):
        assert option in text
    text = ok("register", "plain.py", "--tide", "Emden", "--spring", "--tide-name", "x", env=environment)
    assert text.splitlines()[0] == "registered  plain: plain each tide at Emden, 12 True 'x'"
    assert text.splitlines()[-1] == "plain of plain is told"
    assert "Emden, 6 False 'x'" in ok("edit", "plain", "--hours", "6", "--no-spring", env=environment)
    # Another type starts from nothing.
    assert "at 09:00 (UTC)" in ok("edit", "plain", "--cron", "0 9 * * *", env=environment)
    for arguments, code, part in [
        (["--tide", "Emden", "--hours", "x"], 2, "--hours 'x': Input should be a valid integer"),
        (["--tide", "inland"], 1, "inland has no tide"),
        (["--tide", "Emden", "--cron", "@daily"], 2, "--cron and --tide exclude each other; choose one"),
        (["--tide", "Emden", "--timezone", "UTC"], 2, "--timezone belongs to a trigger of the type cron"),
        (["--hours", "3"], 2, "give it one of --cron, --tide"),
    ]:
        done = brain("register", "plain.py", "--name", "b", *arguments, env=environment)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert part in done.stderr


def test_pause_and_resume(ok):
    ok("register", "plain.py", "--cron", "0 9 * * *", "--timezone", "Asia/Tokyo")
    text = ok("pause", "plain", "--until", "2200-01-01T00:00+00:00")
    assert re.fullmatch(r"paused  plain since 20.*\+09:00; until 2200-01-01 09:00:00\+09:00\n", text)
    assert ok("pause", "plain") == text
    assert re.search(r"paused since 20.*\+09:00 until 2200-01-01 09:00:00\+09:00$", ok("list").strip())
    assert ok("resume", "plain").startswith("active  plain: plain at 09:00 (Asia/Tokyo)\nnext        20")
    assert ok("resume", "plain").startswith("active  plain: ")
    assert "; resume it: brain resume plain\n" in ok("pause", "plain")


WRONG = [
    (["pause", "plan"], 1, "there is no trigger 'plan'; did you mean 'plain'?"),
    (["resume", "other"], 1, "there is no trigger 'other'; `brain list` lists them"),
    (["unregister", "plan"], 1, "did you mean 'plain'?"),
    (["edit", "plan", "--overlap", "allow"], 1, "did you mean 'plain'?"),
    (["trigger", "plan"], 1, "did you mean 'plain'?"),
    (["fires", "plan"], 1, "did you mean 'plain'?"),
    (["audit", "plan"], 1, "did you mean 'plain'?"),
    (["forecast", "plan"], 1, "did you mean 'plain'?"),
    (["watch", "--workflow", "plan"], 1, "nothing is registered for the workflow 'plan'; did you mean 'plain'?"),
    (["pause", "plain", "--until", "2020-01-01"], 2, "--until '2020-01-01' is over; give a time to come"),
    (["pause", "plain", "--until", "soon"], 2, "is neither a time from now"),
    (["edit", "plain"], 2, "there is nothing to change; give at least one of --cron, --timezone, --catch-up"),
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
    assert re.search(r"^plain .* overdue ", ok("list"), flags=re.MULTILINE)
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
    process.communicate(timeout=60)


def test_trigger_waits_as_run_does(brain, ok, files, daemon):
    ok("register", "flow.py", "--cron", "0 9 * * *", "-i", "n=1")
    done = brain("trigger", "flow", "-i", "n=5", "--wait")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"success  flow  run [0-9a-f]{8}  .*\n", done.stdout)
    assert "[1/1] say: success in " in done.stderr
    assert done.stderr.rstrip().endswith("ann 5")
    (files / "flow.py").write_text(FLOW.replace('return f"{who} {n}"', 'raise ValueError("no good")'))
    run = brain("trigger", "flow", "--wait", "--json")
    assert run.returncode == 1
    assert "no good" in json.loads(run.stdout)["error"]
    (listed,) = json.loads(ok("list", "--json"))
    assert listed["last_run"]["status"] == "failed"
    assert listed["last_success_at"] is not None
    assert ok("watch", "--max-age", "1h") == ""


def test_trigger_without_a_daemon_says_that_the_run_waits(environment, ok, brain, files):
    ok("register", "plain.py", "--cron", "0 9 * * *")
    queued = ok("trigger", "plain")
    assert re.fullmatch(r"queued  plain  run [0-9a-f]{8}\n", queued)
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
    out, rest = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (130, "")
    assert re.search(r"brain: run [0-9a-f]{8} goes on; end it with: brain cancel [0-9a-f]{8}\n", rest)
    assert [one["status"] for one in json.loads(ok("history", "--json"))] == ["queued"] * 2
