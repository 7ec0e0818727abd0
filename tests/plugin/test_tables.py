"""Tables of plugins: made, refused, and reached from steps; as an installed plugin has them, over a real PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .notes import install

FILE = """
from brain_core import Workflow
from notes_plugin import Note

workflow = Workflow(name="noting", steps=[Note(name="a", text="one"), Note(name="b", text="two")])
"""


@pytest.fixture
def brain(site: Any, empty_database_url: str) -> Any:
    """Run `brain` in the site, on an empty database."""

    def run(*arguments: str, code: int = 0) -> Any:
        done = site.brain(*arguments, THE_BRAIN_DATABASE_URL=empty_database_url)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    (site.work / "flow.py").write_text(FILE)
    return run


def test_a_step_reaches_the_tables_of_its_plugin(site: Any, brain: Any) -> None:
    install(site)
    run = json.loads(brain("run", "flow.py", "--json").stdout)
    assert [step["output"] for step in run["steps"]] == [
        [{"text": "one", "value": 1}],
        [{"text": "one", "value": 1}, {"text": "two", "value": 1}],
    ]
    assert "tables brain_notes" in site.plugins()["notes"]["provides"]
