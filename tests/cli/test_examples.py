"""The examples, run as their first lines say, with hostile values too."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FIGURES = str(EXAMPLES / "figures.py")
NASTY = ["$(touch hit) `touch hit`", "'; touch hit; '", '"; touch hit; "', "-rf *\nü\u00a0"]


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


def _ran(brain, *arguments: str) -> dict:
    done = brain("run", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return {step["name"]: step["output"] for step in json.loads(done.stdout)["steps"]}


def test_figures_compare_with_the_last_run(brain, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "one").write_text("1")
    first = _ran(brain, FIGURES, "-i", f"folder={folder}")
    assert first["compare"].splitlines()[0] == "files: 1, the first figure"
    assert re.fullmatch(r"kilobytes: \d+, the first figure", first["compare"].splitlines()[1])
    (folder / "two\nlines").write_text("2")
    second = _ran(brain, FIGURES, "-i", f"folder={folder}")
    assert second["compare"].splitlines()[0] == "files: 2, 1 before, change 1"
    (folder / "one").unlink()
    # A run that fails is no yesterday.
    assert brain("run", FIGURES, "-i", f"folder={folder / 'gone'}").returncode == 1
    assert _ran(brain, FIGURES, "-i", f"folder={folder}")["compare"].splitlines()[0] == "files: 1, 2 before, change -1"
    assert _ran(brain, FIGURES, "-i", f"folder={folder}")["compare"].splitlines()[0] == "files: 1, 1 before, change 0"


def test_figures_of_folders_with_nasty_names(brain, tmp_path):
    before = ""
    for count, name in enumerate(NASTY, 1):
        folder = tmp_path / name / name
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number} {name}").write_text("x")
        compared = _ran(brain, FIGURES, "-i", f"folder={folder}")["compare"].splitlines()
        assert compared[0] == f"files: {count}, {before or 'the first figure'}"
        before = f"{count} before, change 1"
    assert not [found for found in tmp_path.rglob("hit") if found.name == "hit"]
    assert not (EXAMPLES / "hit").exists()


def test_figures_are_registered_by_the_schedule_in_the_file(brain):
    done = brain("register", FIGURES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("registered  figures: figures at 06:00 (Europe/Berlin)\nnext        ")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_what_an_example_says_of_itself_is_a_command_that_works(brain, file):
    told = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert f"brain run examples/{file.name}" in told
    assert brain("validate", str(file)).returncode == 0
