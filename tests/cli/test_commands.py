"""The commands end to end: `brain` as a process, a real database, real workflow files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

TWO = """
from brain_core import FunctionStep, Workflow

def greet(who):
    return f"hello {who}"

def report(text):
    return {"text": text, "lines": [1, 2]}

workflow = Workflow(
    name="two",
    inputs={"who": "world"},
    steps=[
        FunctionStep(name="greet", function=greet, args={"who": "{inputs.who}"}),
        FunctionStep(name="report", function=report, args={"text": "{greet}"}),
    ],
)
"""

BROKEN = """
from brain_core import Step, StepContext, Workflow

class Boom(Step):
    def run(self, ctx: StepContext) -> str:
        raise ValueError("no \\x1b[2J good")

class Evil(Step):
    def run(self, ctx: StepContext) -> str:
        return "a\\x1b]0;title\\x07b"

workflow = Workflow(name="broken", steps=[Evil(name="evil"), Boom(name="boom"), Boom(name="after")])
"""

WAITS = """
import asyncio
from brain_core import Step, StepContext, Workflow

class Wait(Step):
    async def run(self, ctx: StepContext) -> str:
        ctx.live("now\\n")
        await asyncio.Event().wait()
        return ""

workflow = Workflow(name="waits", steps=[Wait(name="wait"), Wait(name="after")])
"""

HOOKED = """
from pathlib import Path
from brain_core import FunctionStep, Workflow

def nothing():
    return None

def told(run):
    if not Path(__file__).with_name("today").exists():
        raise RuntimeError("not today")

workflow = Workflow(name="hooked", steps=[FunctionStep(name="one", function=nothing)], on_finished=told)
"""


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


@pytest.fixture
def two(tmp_path: Path) -> str:
    return _file(tmp_path, TWO)


def _file(folder: Path, text: str) -> str:
    path = folder / "flow.py"
    path.write_text(text)
    return str(path)


def test_run_tells_steps_on_stderr_and_one_line_on_stdout(brain, two):
    done = brain("run", two, "--input", "who=ann")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    status, name, word, short = line.split()[:4]
    assert (status, name, word, len(short)) == ("success", "two", "run", 8)
    told = done.stderr.splitlines()
    assert told[0] == f"two: run {short}, 2 steps"
    assert told[1] == "[1/2] greet (function) ..."
    assert told[2].startswith("[1/2] greet: success in ")
    assert told[2].endswith("  hello ann")
    assert told[4].endswith('  {"text":"hello ann","lines":[1,2]}')


def test_json_of_run_is_that_of_show(brain, two):
    ran = json.loads(brain("run", two, "--json").stdout)
    shown = json.loads(brain("show", ran["id"][:8], "--json").stdout)
    assert shown.pop("plugins") == {}
    assert ran.keys() == shown.keys()
    assert [step["output"] for step in shown["steps"]] == ["hello world", {"text": "hello world", "lines": [1, 2]}]
    assert shown["never_ran"] == []
    for key in ("id", "status", "inputs", "planned", "workflow", "file", "version"):
        assert ran[key] == shown[key]


def test_a_failed_run(brain, tmp_path):
    done = brain("run", _file(tmp_path, BROKEN))
    assert done.returncode == 1
    assert done.stdout.startswith("failed  broken  run ")
    assert r"ValueError: no \x1b[2J good (flow.py:6)" in done.stderr
    assert "\x1b" not in done.stderr
    shown = brain("show")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
    assert r"output: a\x1b]0;title\x07b" in shown.stdout
    assert r"error: ValueError: no \x1b[2J good (flow.py:6)" in shown.stdout
    assert shown.stdout.endswith("never ran: after\n")
    assert brain("show", "--output", "evil").stdout == "a\x1b]0;title\x07b\n"
    assert brain("show", "--output", "after").returncode == 1
    wrong = brain("show", "--output", "evli")
    assert wrong.returncode == 2
    assert "did you mean 'evil'?" in wrong.stderr


def test_history_filters_and_pages(brain, two, tmp_path):
    (tmp_path / "b").mkdir()
    broken = _file(tmp_path / "b", BROKEN)
    ids = []
    for file in (two, broken, two):
        ids.insert(0, json.loads(brain("run", file, "--json").stdout)["id"])

    def listed(*arguments: str) -> list[str]:
        done = brain("history", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [run["id"] for run in json.loads(done.stdout)]

    assert listed() == ids
    assert listed("--workflow", "two") == [ids[0], ids[2]]
    assert listed("--status", "failed") == [ids[1]]
    assert listed("--limit", "2") == ids[:2]
    assert listed("--limit", "2", "--before", ids[1]) == ids[2:]
    assert listed("--since", "1h") == ids
    assert listed("--since", "2099-01-01") == []
    table = brain("history").stdout.splitlines()
    assert table[0].split() == ["RUN", "WORKFLOW", "STATUS", "CREATED", "TIME", "ERROR"]
    assert [line[:8] for line in table[1:]] == [run[:8] for run in ids]
    assert brain("history", "--workflow", "none").stderr == "no runs\n"


def test_show_without_a_run_and_with_a_wrong_one(brain):
    assert brain("show").returncode == 1
    done = brain("show", "00000000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["--input", "who=ann", "--input", "whom=x"], "whom"), (["--input", "x=1"], "no input 'x'")],
)
def test_a_wrong_input_writes_nothing(brain, two, arguments, part):
    done = brain("run", two, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr
    assert json.loads(brain("history", "--json").stdout) == []


UNREACHABLE = {"THE_BRAIN_DATABASE_URL": "postgresql://nobody:pa55word@127.0.0.1:1/none"}


def test_dry_run_and_validate_need_no_database(brain, two, tmp_path):
    done = brain("run", two, "--dry-run", "-i", "who=ann", env=UNREACHABLE)
    assert done.returncode == 0, done.stderr
    assert "input     who = ann" in done.stdout
    plan = json.loads(brain("run", two, "--dry-run", "--json", env=UNREACHABLE).stdout)
    assert [step["name"] for step in plan["planned"]] == ["greet", "report"]
    bad = tmp_path / "bad.py"
    bad.write_text("workflow = 1\n")
    checked = brain("validate", two, str(bad), str(tmp_path / "none.py"), env=UNREACHABLE)
    assert checked.returncode == 1
    lines = checked.stdout.splitlines()
    assert lines[0] == f"ok      {two}: two, 2 steps, inputs: who"
    assert lines[1].startswith(f"failed  {bad}")
    assert len(lines) == 3
    shape = json.loads(brain("validate", two, "--json", env=UNREACHABLE).stdout)
    assert [(one["ok"], one["workflow"]) for one in shape] == [(True, "two")]


def test_validate_judges_what_stands_behind_a_file_that_hangs(brain, two, tmp_path):
    os.mkfifo(tmp_path / "gate")
    hangs = tmp_path / "hangs.py"
    hangs.write_text("from pathlib import Path\nPath(__file__).with_name('gate').read_text()\n")
    checked = brain("validate", str(hangs), two, env={"THE_BRAIN_IMPORT_TIMEOUT": "4", **UNREACHABLE})
    first, second = checked.stdout.splitlines()
    assert first.startswith(f"failed  {hangs}:2: the file was still loading after 4 s")
    assert second == f"ok      {two}: two, 2 steps, inputs: who"


@pytest.mark.parametrize("arguments", [["history"], ["show"], ["status"], ["migrate"], ["deliveries"]])
def test_no_database_is_one_line_and_exit_3(brain, arguments):
    done = brain(*arguments, env=UNREACHABLE)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("brain: error: ")
    assert done.stderr.count("\n") == 1
    assert "pa55word" not in done.stderr
    assert done.stderr.endswith("correct the URL (the URL is from THE_BRAIN_DATABASE_URL)\n")


def test_an_unreachable_database_names_the_file_that_names_it(brain, tmp_path, environment):
    file = tmp_path / "work" / "brain.toml"
    file.write_text(f'database_url = "{UNREACHABLE["THE_BRAIN_DATABASE_URL"]}"\n')
    done = brain("history", env={"THE_BRAIN_DATABASE_URL": ""})
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith(f"(the URL is from {file})\n")


def test_status_and_migrate(brain, two):
    assert json.loads(brain("migrate", "--json").stdout).keys() == {"applied", "plugins"}
    assert brain("migrate").stdout == "the schema is up to date\n"
    assert brain("run", two).returncode == 0
    found = json.loads(brain("status", "--check", "--json").stdout)
    assert found["runs"]["success"] == 1
    assert found["violations"] == []
    assert (found["workers"], found["deliveries"]) == ({}, {})
    done = brain("status", "--check")
    assert done.returncode == 0
    assert done.stdout.endswith("history     every rule holds\n")


def test_deliveries(brain, tmp_path):
    done = brain("run", _file(tmp_path, HOOKED), "--json")
    assert done.returncode == 0
    run = json.loads(done.stdout)["id"]
    assert "not today" in done.stderr
    (row,) = json.loads(brain("deliveries", "--json").stdout)
    assert (row["run_id"], row["status"]) == (run, "failed")
    assert "not today" in brain("deliveries").stdout
    again = brain("deliveries", "retry", run[:8])
    assert again.returncode == 1
    assert "not today" in again.stdout
    (tmp_path / "today").touch()
    assert brain("deliveries", "retry", run[:8]).returncode == 0
    assert brain("deliveries").stderr == "no open or failed deliveries\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run(environment, brain, tmp_path, number):
    command = [sys.executable, "-m", "brain_core", "run", "-v", _file(tmp_path, WAITS)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        told: list[str] = []
        for line in child.stderr:
            told.append(line)
            if line == "now\n":
                child.send_signal(number)
        out = child.stdout.read()
    assert child.returncode == 130, told
    assert out.startswith("cancelled  waits")
    (run,) = json.loads(brain("history", "--json").stdout)
    assert run["status"] == "cancelled"
    assert brain("status", "--check").returncode == 0


STUBBORN = """
from brain_core import Workflow
from brain_shell import ShellStep

command = "trap 'echo asked >&2' INT TERM; echo pid $$ >&2; while :; do sleep 1000; done"
workflow = Workflow(name="stubborn", steps=[ShellStep(name="stay", command=command)])
"""


def _group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_a_second_signal_kills_what_does_not_end(environment, brain, tmp_path):
    command = [sys.executable, "-m", "brain_core", "run", "-v", _file(tmp_path, STUBBORN)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        group = 0
        for line in child.stderr:
            if line.startswith("pid "):
                group = int(line.split()[1])
                child.send_signal(signal.SIGINT)
            elif line == "asked\n":
                child.send_signal(signal.SIGINT)
        out = child.stdout.read()
    assert child.returncode == 130
    assert out.startswith("cancelled  stubborn")
    # A zombie that nobody reaps does not count.
    living = [each for each in psutil.process_iter(["status"]) if each.info["status"] != psutil.STATUS_ZOMBIE]
    assert group
    assert not [each.pid for each in living if _group_of(each.pid) == group]
    assert brain("status", "--check").returncode == 0


SPOILS = """
import sys
from brain_core import FunctionStep, Workflow

SPOILED_AT_IMPORT

def spoil():
    sys.stdout = sys.stderr = object()

workflow = Workflow(name="spoils", steps=[FunctionStep(name=name, function=spoil) for name in ("one", "two")])
"""


@pytest.mark.parametrize("at_import", ["print('printed')", "sys.stdout = object(); sys.stderr = None"])
def test_a_file_that_takes_the_streams_away_changes_nothing(brain, tmp_path, at_import):
    file = _file(tmp_path, SPOILS.replace("SPOILED_AT_IMPORT", at_import))
    done = brain("run", file)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["success", "spoils"])
    assert "[2/2] two: success" in done.stderr
    assert "Traceback" not in done.stderr
    assert "printed" not in done.stdout
    assert json.loads(brain("run", file, "--json").stdout)["status"] == "success"
    assert brain("validate", file, file).stdout == f"ok      {file}: spoils, 2 steps\n" * 2


def test_a_run_goes_on_when_nobody_reads(environment, brain, two):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "brain_core", "run", "-v", two]
    done = subprocess.run(command, env=environment, stdout=writing, stderr=writing, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert json.loads(brain("history", "--json").stdout)[0]["status"] == "success"


def test_new_writes_a_file_that_runs(brain, tmp_path):
    made = brain("new", "workflow", "mine", "--folder", str(tmp_path), "--json")
    path = json.loads(made.stdout)["file"]
    assert brain("run", path).returncode == 0
    again = brain("new", "workflow", "mine", "--folder", str(tmp_path))
    assert (again.returncode, again.stdout) == (2, "")
    assert brain("new", "workflow", "other.py", "--folder", str(tmp_path)).stdout == f"{tmp_path}/other.py\n"
    assert brain("new", "workflow", "../x", "--folder", str(tmp_path)).returncode == 2


def test_history_imports_only_what_it_needs(environment):
    code = (
        "import sys; from brain_core.cli.main import main\n"
        "code = main(['history'])\n"
        "print(code, [name for name in ('brain_shell', 'brain_core.cli.run', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0 []\n"
