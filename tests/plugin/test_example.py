"""examples/plugin_hello, installed as anybody would install it, seen from outside."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_hello"

FILE = """
from brain_core import Workflow
from brain_plugin_hello import Hello

workflow = Workflow(name="greet", steps=[Hello(name="hi", who="{inputs.who}")], inputs={"who": "world"})
"""


@pytest.fixture
def installed(site: Any) -> Any:
    """The example, built from a copy of its source (a build leaves things behind) into the child's path."""
    source = site.work.parent / "source"
    shutil.copytree(EXAMPLE, source)
    # `uv run` names itself in UV; its environments have no pip.
    beside = Path(sys.executable).with_name("uv")
    uv = os.environ.get("UV") or (str(beside) if beside.exists() else shutil.which("uv"))
    command = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    # With the builder at hand nothing is asked of an index.
    offline = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    done = subprocess.run(
        [*command, "--quiet", "--no-deps", *offline, "--target", str(site.path), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return site


def test_the_example_brings_a_step_a_hook_and_a_command(installed: Any, database_url: str) -> None:
    plugin = installed.plugins()["hello"]
    assert (plugin["distribution"], plugin["version"], plugin["state"]) == ("brain-plugin-hello", "0.1.0", "active")
    provides = ["step hello", "settings plugins.hello", "commands", "hook brain_run_finished"]
    assert plugin["provides"] == provides
    assert installed.brain("hello", "ann").stdout == "Hello, ann!\n"
    log = installed.work / "hello.log"
    installed.configure(f"[plugins.hello]\ngreeting = 'Hi'\nlog_file = '{log}'\n")
    (installed.work / "greet.py").write_text(FILE)
    done = installed.brain("run", "greet.py", "--input", "who=bob", "--json", THE_BRAIN_DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["steps"][0]["output"] == "Hi, bob!"
    assert log.read_text() == f"{run['id']} greet success\n"


def test_a_workflow_of_the_disabled_example_is_refused(installed: Any) -> None:
    installed.configure("[plugins]\ndisable = ['hello']\n")
    (installed.work / "greet.py").write_text(FILE)
    done = installed.brain("validate", "greet.py")
    assert done.returncode == 1
    refusal = "step type 'hello' belongs to plugin 'hello' (brain-plugin-hello 0.1.0), which is disabled"
    assert refusal in done.stdout + done.stderr
    assert installed.brain("hello").returncode == 2
