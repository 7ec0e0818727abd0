"""The schedule that a workflow file carries: kept as it is, or refused with the line on which it was made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brain_core import Cron
from brain_core.errors import WorkflowFileError
from brain_core.loader import load_workflow

HEAD = """\
from brain_core import Cron, Step, Trigger, Workflow
class Say(Step):
    def run(self, ctx):
        return "hi"
class Hook(Trigger):
    type_name = "hook"
    hook: str = "x"
class Broken(Hook):
    def next_after(self, instant): ...
    def check(self):
        1 / 0
flow = {"name": "w", "steps": [Say(name="a")]}
"""


def load(folder: Path, text: str) -> Cron | None:
    (folder / "w.py").write_text(HEAD + text)
    schedule = load_workflow(folder / "w.py").workflow.schedule
    assert schedule is None or isinstance(schedule, Cron)
    return schedule


def test_a_schedule_is_kept_and_a_workflow_may_have_none(tmp_path: Path) -> None:
    text = "workflow = Workflow(**flow, schedule=Cron('0 9 * * 1-5', timezone='Europe/Berlin'))"
    assert load(tmp_path, text) == Cron("0 9 * * 1-5", timezone="Europe/Berlin")
    assert load(tmp_path, "workflow = Workflow(**flow)") is None


BAD = {
    "expression": (
        "workflow = Workflow(\n    **flow,\n    schedule=Cron('61 * * * *'),\n)",
        "w.py:15: schedule: cron expression '61 * * * *': minute 61 is out of range; it goes from 0 to 59",
    ),
    "zone": (
        "at = Cron('@daily', timezone='Berlin')\nworkflow = Workflow(**flow, schedule=at)",
        "w.py:13: schedule: there is no time zone 'Berlin'; did you mean 'Europe/Berlin'?",
    ),
    "beside": (
        "import times\nworkflow = Workflow(**flow, schedule=times.at)",
        "w.py:14: schedule: cron expression '1-1 * * * *': minute '1-1' begins and ends with the same value; write '1' "
        "(made in times.py:2)",
    ),
    "text": (
        "workflow = Workflow(**flow, schedule='0 9 * * *')",
        'w.py:13: schedule is a str, not a trigger; write: schedule=Cron("0 9 * * 1-5")',
    ),
    "class": (
        "workflow = Workflow(**flow, schedule=Cron)",
        'w.py:13: schedule is the class Cron, not a trigger; write: schedule=Cron("0 9 * * 1-5")',
    ),
    "no times": (
        "workflow = Workflow(**flow, schedule=Hook())",
        "w.py:13: schedule is a Hook, which has no times; write: schedule=Cron(…)",
    ),
    "a check that fails": (
        "workflow = Workflow(**flow, schedule=Broken())",
        "w.py:11: ZeroDivisionError: division by zero",
    ),
    "two expressions": (
        "at = Cron('0 9', '* * *')",
        'w.py:13: TypeError: Cron takes one expression: Cron("0 9 * * 1-5", timezone="Europe/Berlin")',
    ),
    "no field": (
        "at = Cron('@daily', zone='UTC')",
        "w.py:13: Cron has no field 'zone'; did you mean 'timezone'?",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_schedule_is_refused_with_its_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "times.py").write_text("from brain_core import Cron\nat = Cron('1-1 * * * *')\n")
    text, expected = BAD[case]
    (tmp_path / "w.py").write_text(HEAD + text)
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow("w.py")
    assert str(caught.value) == expected
    assert "times" not in sys.modules
