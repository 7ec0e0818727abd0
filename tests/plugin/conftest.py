"""Small distributions, made on disk as an installer would leave them, and a `brain` that finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

HEADER = "from brain_core import hookimpl, Step\n"


class Site:
    """A folder that a child process has on its path, as a site-packages of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site"
        self.path.mkdir()
        self.work = folder / "work"
        self.work.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("THE_BRAIN_", "NO_COLOR"))}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "THE_BRAIN_HOME": str(folder / "home"),
            "PYTHONPATH": str(self.path),
            "PYTHONWARNINGS": "error",
        }

    def install(
        self,
        name: str,
        source: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        module: str | None = None,
        entry_points: str | None = None,
    ) -> None:
        """Install a plugin whose one module is `source`, under a distribution of its own."""
        distribution = distribution or f"brain-{name}"
        module = module or f"{name.replace('-', '_')}_plugin"
        about = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}\n")
        (about / "entry_points.txt").write_text(entry_points or f"[brain]\n{name} = {module}\n")
        (self.path / f"{module}.py").write_text(HEADER + dedent(source))

    def good(self, name: str = "good") -> None:
        """Install a plugin with which nothing is wrong."""
        self.install(
            name,
            f"""
            class Fine{name.title()}(Step):
                def run(self, ctx):
                    return "fine"

            @hookimpl
            def brain_step_types():
                return [Fine{name.title()}]
            """,
        )

    def configure(self, text: str) -> None:
        (self.work / "brain.toml").write_text(dedent(text))

    def brain(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self._run("-m", "brain_core", *arguments, **environment)

    def python(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self._run("-c", dedent(code), **environment)

    def details(self) -> dict[str, dict[str, Any]]:
        """Return all that a process of its own knows of each plugin."""
        done = self.python("""
            import json
            from dataclasses import asdict
            from brain_core.config import load_settings
            from brain_core.plugin.manager import PluginManager
            print(json.dumps([asdict(one) for one in PluginManager.load(load_settings().settings).plugins]))
        """)
        assert done.returncode == 0, done.stderr
        return {one["name"]: one for one in json.loads(done.stdout)}

    def _run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**self.environment, **environment},
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def plugins(self, **environment: str) -> dict[str, dict[str, Any]]:
        """Return what `brain plugins list --json` prints, by plugin."""
        done = self.brain("plugins", "list", "--json", **environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return {one["name"]: one for one in json.loads(done.stdout)}


@pytest.fixture(scope="session")
def make_site() -> type[Site]:
    return Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
