"""A plugin with a table, installed where daemons find it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from brain_core.placeholders import NOTHING

from .conftest import House

MODULE = """
from pathlib import Path
from brain_core import Step, Tables, hookimpl

HERE = Path(__file__).parent

class Keep(Step):
    text: str = "kept"

    async def run(self, ctx):
        await ctx.query("keep_add", {"run": ctx.run_id, "text": self.text})
        return await ctx.query("keep_all", {"run": ctx.run_id})

@hookimpl
def brain_step_types():
    return [Keep]

@hookimpl
def brain_migrations():
    return Tables("brain_keep", HERE / "migrations", HERE / "sql")
"""

MIGRATION = """
CREATE SCHEMA brain_keep;
CREATE TABLE brain_keep.kept (run_id uuid, text text, PRIMARY KEY (run_id, text));
"""

STATEMENTS = """
-- name: keep_add
-- Keeps a text of a run.
INSERT INTO brain_keep.kept VALUES (($1::json ->> 'run')::uuid, $1::json ->> 'text') ON CONFLICT DO NOTHING;

-- name: keep_all
-- The texts of a run.
SELECT to_json(text) FROM brain_keep.kept WHERE run_id = ($1::json ->> 'run')::uuid ORDER BY text;
"""


def install(house: House, monkeypatch: pytest.MonkeyPatch, migration: str = MIGRATION) -> None:
    """Install it for the processes of a house."""
    more = {"migrations/0001_keep.sql": migration, "sql/keep.sql": STATEMENTS}
    install_module(house, monkeypatch, "keep", MODULE, more)


def install_module(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str, source: str, more: Mapping[str, str] = NOTHING
) -> None:
    """Install a plugin of one module for the processes of a house; `more` are other files beside it."""
    site = house.folder / "site"
    about = f"brain_{name}-1.0.dist-info"
    files = {
        f"{name}_plugin.py": source,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: brain-{name}\nVersion: 1.0\n\n",
        f"{about}/entry_points.txt": f"[brain]\n{name} = {name}_plugin\n",
    }
    for path, text in (files | dict(more)).items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(site))
