"""Runs `brain` as people do: as a process of its own, with its output going into pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_core.cli.main import main

Brain = Callable[..., "subprocess.CompletedProcess[str]"]


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


def own_environment(folder: Path) -> dict[str, str]:
    """Return an environment for `brain`: nothing of ours from outside, a home of its own in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("THE_BRAIN_", "NO_COLOR"))}
    home = folder / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "THE_BRAIN_HOME": str(home / "brain"),
        "COLUMNS": "100",
        "PYTHONWARNINGS": "error",
    }


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of the child."""
    return own_environment(tmp_path)


@pytest.fixture
def brain(environment: dict[str, str], tmp_path: Path) -> Brain:
    """Call `brain ARGUMENTS…` in an empty folder; returns the finished process."""
    folder = tmp_path / "work"
    folder.mkdir()

    def call(
        *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "brain_core", *arguments],
            env={**environment, **(env or {})},
            cwd=cwd or folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return call


@pytest.fixture
def with_plugin(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Install a plugin (its source is given) where the child finds it; returns what its environment needs for that."""

    def install(source: str) -> dict[str, str]:
        site = tmp_path / "site"
        about = site / "stranger-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[brain]\nstranger = stranger_plugin\n")
        (site / "stranger_plugin.py").write_text(source)
        return {"PYTHONPATH": str(site)}

    return install


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
