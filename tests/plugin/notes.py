"""A plugin with tables, for the tests of them: `notes` keeps texts by run."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from brain_core import Tables

MIGRATION = """
CREATE SCHEMA brain_notes;
CREATE TABLE brain_notes.notes (id bigint GENERATED ALWAYS AS IDENTITY, run_id text, text text, value jsonb);
"""

STATEMENTS = """
-- name: notes_add
-- Keeps a note.
INSERT INTO brain_notes.notes (run_id, text, value)
SELECT note ->> 'run', note ->> 'text', (note -> 'value')::jsonb FROM (SELECT $1::json) AS given (note);

-- name: notes_read
-- The notes in their order; with `run` those of a run.
SELECT json_build_object('text', text, 'value', value) FROM brain_notes.notes
WHERE ($1::json ->> 'run') IS NULL OR run_id = $1::json ->> 'run' ORDER BY id;

-- name: notes_rows
-- As many rows as are asked for, each of `size` characters.
SELECT to_json(repeat('x', ($1::json ->> 'size')::int)) FROM generate_series(1, ($1::json ->> 'rows')::int);

-- name: notes_sleep
-- Takes the seconds that it is given.
SELECT to_json(1) FROM pg_sleep(($1::json ->> 'seconds')::float8);

-- name: notes_broken
-- Fails when it runs.
SELECT to_json(1 / ($1::json ->> 'zero')::int);
"""

PLUGIN = """
from pathlib import Path
from brain_core import Tables

HERE = Path({folder!r})

class Note(Step):
    text: str = "hello"

    async def run(self, ctx):
        await ctx.query("notes_add", {{"run": ctx.run_id, "text": self.text, "value": ctx.attempt}})
        return await ctx.query("notes_read", {{"run": ctx.run_id}})

@hookimpl
def brain_step_types():
    return [Note]

@hookimpl
def brain_migrations():
    return Tables("brain_notes", HERE / "migrations", HERE / "sql")
"""


def write_tables(folder: Path, *, migration: str = MIGRATION, statements: str = STATEMENTS) -> Tables:
    """Write the files of the tables and return what the plugin's hook would."""
    for name, file, text in (("migrations", "0001_notes.sql", migration), ("sql", "notes.sql", statements)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text)
    return Tables("brain_notes", folder / "migrations", folder / "sql")


def install(site: Any, *, more: str = "", name: str = "notes", **files: str) -> Path:
    """Install the plugin in a site; returns the folder of its files."""
    folder: Path = site.path / f"{name}_tables"
    write_tables(folder, **files)
    site.install(name, PLUGIN.format(folder=str(folder)) + dedent(more))
    return folder
