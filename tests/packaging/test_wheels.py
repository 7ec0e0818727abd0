"""The wheels as strangers meet them: built, installed with pip outside the repository, used in another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.wheels

ROOT = Path(__file__).parents[2]
EXAMPLES = ("plugin_hello", "plugin_routes")
FLOW = """\
from brain_shell import ShellStep
from brain_core import Workflow
workflow = Workflow(name="outside", steps=[ShellStep(name="say", command="echo far away")])
"""
PLAIN = """\
from brain_core import FunctionStep, Workflow
def one() -> int:
    return 1
workflow = Workflow(name="plain", steps=[FunctionStep(name="one", function=one)])
"""
ASKS = """\
from brain_core import Workflow
from brain_llm import LLMStep
step = LLMStep(name="ask", prompt="Say hello.", model="m", provider_url="http://127.0.0.1:9/v1", retries=0)
workflow = Workflow(name="asks", steps=[step])
"""
GREET = """\
from brain_core import Workflow
from brain_plugin_hello import Hello
workflow = Workflow(name="greet", steps=[Hello(name="hi", who="ann")])
"""


class Installed(NamedTuple):
    """An environment with wheels in it, and the folder that its `brain` is used in."""

    environment: Path
    folder: Path
    home: Path

    def pip(self, *arguments: str | Path) -> None:
        run([self.environment / "bin" / "python", "-m", "pip", "install", "-q", *arguments], self.folder)

    def brain(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.environment / "bin" / "brain", *arguments],
            cwd=self.folder,
            env=clean() | {"THE_BRAIN_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


def clean() -> dict[str, str]:
    """Return the environment without what would lead back to the repository or to another database."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("THE_BRAIN_") and name not in {"VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT"}
    }


def run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    uv = shutil.which("uv") or next(iter((ROOT / ".uv" / "bin").glob("uv")), None)
    if uv is None:
        pytest.fail("uv is neither on PATH nor in .uv; the README's line puts it there")
    out = tmp_path_factory.mktemp("wheels")
    run([uv, "build", "-q", "--all-packages", "--out-dir", out], ROOT)
    for example in EXAMPLES:
        run([uv, "build", "-q", "--wheel", "--out-dir", out, f"examples/{example}"], ROOT)
    return {file.name.partition("-")[0]: file for file in out.glob("*.whl")}


@pytest.fixture(scope="session")
def core_alone(wheels: dict[str, Path]) -> Iterator[Installed]:
    # Below /tmp itself and short: a socket's path has a limit. Not pytest's folder, which the next session that begins
    # closes to the server's account.
    base = Path(os.path.realpath(tempfile.mkdtemp(prefix="brain-out-")))
    base.chmod(0o711)
    folder = base / "some where"
    folder.mkdir()
    installed = Installed(base / "venv", folder, base / "home")
    run([sys.executable, "-m", "venv", base / "venv"], base)
    installed.pip(wheels["brain_core"])
    yield installed
    installed.brain("db", "stop")
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def everything(core_alone: Installed, wheels: dict[str, Path]) -> Installed:
    plugins = [wheels[name] for name in wheels if name != "brain_core"]
    core_alone.pip("--find-links", wheels["brain_core"].parent, *plugins)
    return core_alone


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _metadata(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []


def test_every_member_of_the_workspace_has_a_wheel(wheels: dict[str, Path]) -> None:
    members = {file.parent.name for file in ROOT.glob("plugins/*/pyproject.toml")}
    assert set(wheels) == {"brain_core", *(f"brain_{example}" for example in EXAMPLES), *members}


def test_migrations_sql_and_types_are_inside(wheels: dict[str, Path]) -> None:
    inside = _names(wheels["brain_core"])
    assert {f"brain_core/migrations/{file.name}" for file in (ROOT / "migrations").glob("*.sql")} <= inside
    assert {f"brain_core/store/sql/{file.name}" for file in (ROOT / "brain_core/store/sql").glob("*.sql")} <= inside
    for name in ("brain_llm", "brain_http_api"):
        own = ROOT / "plugins" / name / name
        assert {f"{name}/{file.relative_to(own)}" for file in own.rglob("*.sql")} <= _names(wheels[name])
    for package, wheel in wheels.items():
        assert f"{package}/py.typed" in _names(wheel)


def test_nothing_else_is_inside(wheels: dict[str, Path]) -> None:
    for package, wheel in wheels.items():
        tops = {name.partition("/")[0] for name in _names(wheel)}
        assert {top for top in tops if not top.endswith(".dist-info")} == {package}
        assert not {name for name in _names(wheel) if "/tests/" in name or name.endswith(".pyc")}


def test_members_ask_for_the_core_they_are_made_for(wheels: dict[str, Path]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    major, minor = map(int, version.split(".")[:2])
    # Before 1.0 it is the second number that breaks things.
    low, high = (f"{major}.{minor}", f"{major}.{minor + 1}") if major == 0 else (f"{major}", f"{major + 1}")
    for package, wheel in wheels.items():
        if package != "brain_core":
            wanted = [line for line in _metadata(wheel) if re.match(r"brain[-_]core\b", line)]
            assert wanted == [f"brain-core<{high},>={low}"], package


def test_core_alone_runs(core_alone: Installed) -> None:
    (core_alone.folder / "plain.py").write_text(PLAIN)
    done = core_alone.brain("run", "plain.py", "--json")
    assert json.loads(done.stdout)["steps"][0]["output"] == 1


def test_core_alone_says_what_brings_shell_step(core_alone: Installed) -> None:
    (core_alone.folder / "flow.py").write_text(FLOW)
    done = core_alone.brain("run", "flow.py", code=1)
    assert "brain-shell" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


# From here on the environment has the plugins too; pytest keeps the order of a file.


def test_plugins_are_found_by_their_entry_points(everything: Installed) -> None:
    listed = json.loads(everything.brain("plugins", "list", "--json").stdout)
    assert {plugin["name"]: plugin["state"] for plugin in listed} == dict.fromkeys(
        ["cron", "function", "hello", "http_api", "llm", "routes", "shell"], "active"
    )


def test_a_file_in_another_folder_runs_and_is_found_again(everything: Installed) -> None:
    (everything.folder / "flow.py").write_text(FLOW)
    run_id = json.loads(everything.brain("run", "flow.py", "--json").stdout)["id"]
    found = json.loads(everything.brain("show", run_id[:8], "--json").stdout)
    assert (found["status"], found["steps"][0]["output"]) == ("success", "far away")


def test_a_model_is_asked_and_the_call_is_a_row(everything: Installed) -> None:
    (everything.folder / "asks.py").write_text(ASKS)
    done = everything.brain("run", "asks.py", "--json", code=1)
    run = json.loads(done.stdout)
    assert run["steps"][0]["error"].startswith("no server answers at http://127.0.0.1:9/v1 (Connection refused)")
    shown = json.loads(everything.brain("show", run["id"], "--json").stdout)
    assert (shown["plugins"]["llm"]["calls"], shown["plugins"]["llm"]["failed"]) == (1, 1)


def test_the_code_is_that_of_the_wheel(everything: Installed) -> None:
    python = everything.environment / "bin" / "python"
    shown = subprocess.run(
        [python, "-c", "import brain_core, brain_shell; print(brain_core.__file__, brain_shell.__file__)"],
        cwd=everything.folder,
        env=clean(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(str(everything.environment) in path for path in re.split(r" (?=/)", shown.stdout.strip()))


def test_the_outsider_brings_a_step_a_command_and_a_hook(everything: Installed) -> None:
    log = everything.folder / "finished.log"
    (everything.folder / "brain.toml").write_text(f'[plugins.hello]\nlog_file = "{log}"\ngreeting = "Good day"\n')
    (everything.folder / "greet.py").write_text(GREET)
    assert "Hello, ann!" in everything.brain("hello", "ann").stdout
    assert "hello" in everything.brain("--help").stdout
    ended = json.loads(everything.brain("run", "greet.py", "--json").stdout)
    assert ended["steps"][0]["output"] == "Good day, ann!"
    assert ended["id"] in log.read_text()
    assert json.loads(everything.brain("deliveries", "--json").stdout) == []


def test_the_api_is_served_with_a_route_of_the_outsider(everything: Installed) -> None:
    run_id = json.loads(everything.brain("run", "plain.py", "--json").stdout)["id"]
    token = everything.brain("token", "create", "reader").stdout.strip()
    given = {"THE_BRAIN_HOME": str(everything.home)}
    given |= {"THE_BRAIN_HTTP_API_ENABLED": "true", "THE_BRAIN_HTTP_API_PORT": "0"}
    with subprocess.Popen(
        [everything.environment / "bin" / "brain", "serve"],
        cwd=everything.folder,
        env=clean() | given,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stderr is not None
        try:
            lines = (re.search(r"on http://(127\.0\.0\.1:\d+)", line) for line in serving.stderr)
            found = next(line for line in lines if line is not None)
            answers = []
            for path in (f"/runs/{run_id}", "/badge/plain"):
                connection = HTTPConnection(found[1], timeout=30)
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answers.append(connection.getresponse().read().decode())
                connection.close()
        finally:
            serving.terminate()
            rest = serving.stderr.read()
    assert serving.returncode == 0, rest
    assert json.loads(answers[0])["steps"][0]["output"] == 1
    assert "plain: success" in answers[1]
