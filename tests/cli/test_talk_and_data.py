"""Standard output is data alone, whatever workflow code prints; and what a failed command printed is in the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PRINTS = """
import sys
from brain_core import FunctionStep, Workflow
from brain_shell import ShellStep

print("at import")

def say():
    print("in a step")
    sys.stdout.write("written\\n")
    return 1

def told(run):
    print("at the end")

steps = [FunctionStep(name="one", function=say), ShellStep(name="two", command="echo shell; echo aside >&2")]
workflow = Workflow(name="prints", steps=steps, on_finished=told)
"""

FAILS = """
from brain_core import Workflow
from brain_shell import ShellStep

command = "echo what it had done; echo why >&2; exit 3"
workflow = Workflow(name="fails", steps=[ShellStep(name="cmd", command=command)])
"""


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


def _file(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "flow.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--json"], ["at import", "in a step", "written", "at the end"]),
        (["run", "-v", "--json"], ["at import", "in a step", "written", "shell", "aside", "at the end"]),
        (["run", "--dry-run", "--json"], ["at import"]),
        (["validate", "--json"], ["at import"]),
    ],
)
def test_stdout_stays_one_json_document(brain, tmp_path, arguments, said):
    done = brain(*arguments, _file(tmp_path, PRINTS))
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    lines = done.stderr.splitlines()
    assert sorted(line for line in lines if line in said) == sorted(said)


def test_a_failed_command_keeps_its_standard_output_in_the_record(brain, tmp_path):
    ran = brain("run", "--json", _file(tmp_path, FAILS))
    assert ran.returncode == 1
    (step,) = json.loads(brain("show", "--json").stdout)["steps"]
    assert (step["status"], step["output"], step["log"]) == ("failed", None, "why\n")
    assert step["details"] == {"exit_code": 3, "stdout": "what it had done\n"}
    assert "  stdout: what it had done\n" in brain("show").stdout


def test_two_folders_may_have_modules_of_the_same_name(brain, tmp_path):
    files = []
    for name in ("one", "two"):
        text = (
            "import beside\nfrom brain_core import FunctionStep, Workflow\n"
            "def late():\n    import later\n    return [beside.name, later.name]\n"
            "workflow = Workflow(name=beside.name, steps=[FunctionStep(name='late', function=late)])\n"
        )
        files.append(_file(tmp_path / name, text))
        for module in ("beside", "later"):
            (tmp_path / name / f"{module}.py").write_text(f"name = {name!r}\n")
    checked = brain("validate", *files).stdout.splitlines()
    assert checked == [f"ok      {file}: {name}, 1 step" for file, name in zip(files, ("one", "two"), strict=True)]
    for file, name in zip(files, ("one", "two"), strict=True):
        (step,) = json.loads(brain("run", "--json", file).stdout)["steps"]
        assert step["output"] == [name, name]
