"""`brain register`: what it says, what it refuses, and options that come from the installed trigger types."""

from __future__ import annotations

import json
import re

import pytest

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
    assert set(json.loads(ok("edit", "flow", "--overlap", "allow", "--json"))) == plain | {"notes", "next", "lines"}
    assert json.loads(ok("unregister", "flow", "--json")) == {"name": "flow", "state": "deleted"}


def test_the_schedule_of_the_file_is_used_and_its_fields_replaced(ok):
    assert "at 09:00 on Monday to Friday (Asia/Tokyo)" in ok("register", "own.py")
    assert "Friday (Europe/Paris)" in ok("register", "own.py", "--name", "b", "--timezone", "Europe/Paris")
    # Another expression is the whole schedule, so that the zone of the file does not stay behind unseen.
    assert "at 10:00 (UTC)" in ok("register", "own.py", "--name", "c", "--cron", "0 10 * * *")


BAD = [
    (["flow.py"], 2, "input 'n' (int) is required; give it with --input n=…"),
    (["plain.py"], 2, "plain.py has no schedule of its own; give it one of --cron, --webhook, or write schedule=…"),
    (["plain.py", "--timezone", "UTC"], 2, "has no schedule of its own; give it one of --cron, --webhook"),
    (["plain.py", "--cron", "0 9 * *"], 1, "it has 4 fields, and five are needed"),
    (["plain.py", "--cron", ""], 1, "cron expression '': it is empty"),
    (["plain.py", "--cron", "61 * * * *"], 1, "minute 61 is out of range; it goes from 0 to 59"),
    (["plain.py", "--cron", "0 0 31 2 *"], 1, "it never comes: there is no day 31 in Feb"),
    (["plain.py", "--cron", "@daily", "--timezone", "Europe/Berln"], 1, "did you mean 'Europe/Berlin'?"),
    (["plain.py", "--cron", "@daily", "--timezone", ""], 1, "time zone"),
    (["plain.py", "--cron", "@daily", "--name", "../x"], 2, "the name '../x' is not a name: ASCII letters, digits"),
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
    assert "has no schedule of its own; give it --webhook, or write" in here("register", "plain.py")[2]
    (files / "brain.toml").write_text('[plugins]\ndisable = ["cron", "http_api"]\n')
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
        (["--tide", "Emden", "--hours", "x"], 2, "--hours 'x': it has to be a whole number"),
        (["--tide", "inland"], 1, "inland has no tide"),
        (["--tide", "Emden", "--cron", "@daily"], 2, "--cron and --tide exclude each other; choose one"),
        (["--tide", "Emden", "--timezone", "UTC"], 2, "--timezone belongs to a trigger of the type cron"),
        (["--hours", "3"], 2, "give it one of --cron, --tide"),
    ]:
        done = brain("register", "plain.py", "--name", "b", *arguments, env=environment)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert part in done.stderr
