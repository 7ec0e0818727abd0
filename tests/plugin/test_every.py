"""examples/plugin_every, an outsider's trigger type, in a fresh environment, and a broken plugin beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_core import TriggerRefused

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_every"
FLOW = """
from brain_core import FunctionStep, Workflow

def look() -> str:
    return "nothing new"

workflow = Workflow(name="poll", steps=[FunctionStep(name="look", function=look)])
"""
NAIVE = datetime(2000, 1, 1)  # noqa: DTZ001 - hypothesis wants its bounds so
BROKEN = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"
[project]
name = "brain-plugin-broken"
version = "3.2.1"
[project.entry-points.brain]
broken = "brain_plugin_broken"
[tool.hatch.build.targets.wheel]
packages = ["brain_plugin_broken"]
"""


class Environment:
    """A virtual environment made for this test; it sees the packages of this one, and has plugins of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        # addsitedir reads the .pth files there, too: this package itself may be installed by one.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        (next(folder.glob("venv/lib/python*/site-packages")) / "parent.pth").write_text("".join(lines))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("THE_BRAIN_")}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "THE_BRAIN_DATABASE_URL": database_url,
        }

    def install(self, source: Path) -> None:
        beside = Path(sys.executable).with_name("uv")
        uv = os.environ.get("UV") or (str(beside) if beside.exists() else shutil.which("uv"))
        pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
        words = ["install", "--python", str(self.python)] if uv else ["--python", str(self.python), "install"]
        # With the builder at hand nothing is asked of an index.
        offline = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
        command = [*pip, *words, "--quiet", "--no-deps", *offline, str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def install_example(self) -> None:
        # From a copy: a build leaves things behind.
        source = self._folder / "every"
        shutil.copytree(EXAMPLE, source)
        self.install(source)

    def install_broken(self) -> None:
        source = self._folder / "broken"
        (source / "brain_plugin_broken").mkdir(parents=True)
        (source / "pyproject.toml").write_text(BROKEN)
        (source / "brain_plugin_broken" / "__init__.py").write_text("raise RuntimeError('I am broken')\n")
        self.install(source)

    def brain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "brain_core", *arguments],
            env=self.environment,
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def daemon(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, "-m", "brain_core", "daemon", "--log-format", "json"],
            env=self.environment,
            cwd=self.work,
            stderr=subprocess.PIPE,
            text=True,
        )


def log_until(daemon: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    """Read the daemon's log up to an event; fail when the daemon ends before."""
    assert daemon.stderr is not None
    watchdog = threading.Timer(180, daemon.kill)
    watchdog.start()
    seen = []
    try:
        for line in daemon.stderr:
            seen.append(json.loads(line))
            if seen[-1]["event"] == event:
                return seen
    finally:
        watchdog.cancel()
    pytest.fail(f"the daemon ended (or was ended) before '{event}': {seen}")


@pytest.fixture
def environment(tmp_path: Path, database_url: str) -> Environment:
    return Environment(tmp_path, database_url)


def test_a_daemon_fires_an_outsiders_trigger_type_with_a_broken_plugin_beside_it(environment: Environment) -> None:
    file = environment.work / "poll.py"
    file.write_text(FLOW)
    refused = environment.brain("register", str(file), "--every", "2s")
    assert refused.returncode == 2
    assert "--every" in refused.stderr
    environment.install_example()
    environment.install_broken()

    done = environment.brain("register", str(file), "--every", "2s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schedule"] == "every 2s, counted from 1970-01-01 00:00 UTC"
    listed = environment.brain("plugins", "list", "--json")
    plugins = {one["name"]: one for one in json.loads(listed.stdout)}
    assert (plugins["every"]["state"], plugins["every"]["provides"]) == ("active", ["trigger every"])
    assert plugins["broken"]["state"] == "quarantined"
    assert "I am broken" in plugins["broken"]["reason"]

    daemon = environment.daemon()
    try:
        log_until(daemon, "run success")
        daemon.send_signal(signal.SIGTERM)
        _, rest = daemon.communicate(timeout=180)
        assert daemon.returncode == 0, rest
    finally:
        daemon.kill()
        daemon.wait()
    fires = json.loads(environment.brain("fires", "poll", "--json").stdout)
    assert "fired" in {one["outcome"] for one in fires}
    assert all(datetime.fromisoformat(one["due_at"]).timestamp() % 2 == 0 for one in fires)
    assert environment.brain("audit").returncode == 0


@pytest.mark.parametrize("given", ["", "0s", "90", "5 m", "1.5h", "367d", "-1s", "s", "9999999d", "٣s", "10s5m"])
def test_what_is_no_interval_is_refused_at_registration(given: str, every: ModuleType) -> None:
    with pytest.raises(TriggerRefused, match="interval"):
        every.Every(every=given).check()


@pytest.fixture
def every() -> Iterator[ModuleType]:
    name = "brain_plugin_every.trigger"
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / "brain_plugin_every" / "trigger.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def test_an_interval_that_moves_through_the_day_says_so(every: ModuleType) -> None:
    assert every.Every(every="90s").notes() == []
    assert every.Every(every="2d").notes() == []
    assert "does not divide a day" in every.Every(every="7h").notes()[0]


def test_the_next_instant_is_the_first_multiple_after_the_moment(every: ModuleType) -> None:
    @given(
        st.datetimes(NAIVE.replace(year=1950), NAIVE.replace(year=2300), timezones=st.just(UTC)),
        st.integers(1, 366 * 86_400),
    )
    def holds(moment: datetime, seconds: int) -> None:
        trigger = every.Every(every=f"{seconds}s")
        trigger.check()
        found = trigger.next_after(moment)
        assert moment < found <= moment + timedelta(seconds=seconds)
        assert (found - every.EPOCH) % timedelta(seconds=seconds) == timedelta(0)
        assert trigger.next_after(found) == found + timedelta(seconds=seconds)

    holds()
    assert every.Every(every="366d").next_after(datetime.max.replace(tzinfo=UTC)) is None
