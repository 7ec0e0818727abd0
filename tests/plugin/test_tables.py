"""Tables of plugins: made, refused, and reached from steps; as an installed plugin has them, over a real PostgreSQL."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import Any

import pytest

from .notes import MIGRATION, STATEMENTS, install

FILE = """
from brain_core import Workflow
from notes_plugin import Note

workflow = Workflow(name="noting", steps=[Note(name="a", text="one"), Note(name="b", text="two")])
"""


@pytest.fixture
def brain(site: Any, empty_database_url: str) -> Any:
    """Run `brain` in the site, on an empty database."""

    def run(*arguments: str, code: int = 0) -> Any:
        done = site.brain(*arguments, THE_BRAIN_DATABASE_URL=empty_database_url)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run.url = empty_database_url  # type: ignore[attr-defined]
    (site.work / "flow.py").write_text(FILE)
    return run


def test_a_step_reaches_the_tables_of_its_plugin(site: Any, brain: Any) -> None:
    install(site)
    run = json.loads(brain("run", "flow.py", "--json").stdout)
    assert [step["output"] for step in run["steps"]] == [
        [{"text": "one", "value": 1}],
        [{"text": "one", "value": 1}, {"text": "two", "value": 1}],
    ]
    assert "tables brain_notes" in site.plugins()["notes"]["provides"]


MORE = """
    @hookimpl
    async def brain_run_facts(run, query):
        rows = await query("notes_read", {"run": run.id})
        return {"notes_kept": len(rows), "cost": None, "mean": 1234.5, "last": rows[-1]["text"] if rows else "\x1b[31m"}

    @hookimpl
    def brain_commands(app):
        @app.command()
        def notes(name: str = "notes_read"):
            "Print the notes."
            from brain_core.commands import print_json, run_with_query

            print_json(run_with_query(lambda query: query(name)))
"""


def test_show_prints_what_a_plugin_knows_of_a_run(site: Any, brain: Any) -> None:
    install(site, more=MORE)
    brain("run", "flow.py")
    shown = brain("show")
    assert "notes     notes kept 2, cost unknown, mean 1,234.50, last two\n" in shown.stdout
    assert shown.stderr == ""
    facts = {"notes": {"notes_kept": 2, "cost": None, "mean": 1234.5, "last": "two"}}
    assert json.loads(brain("show", "--json").stdout)["plugins"] == facts


def test_show_without_such_a_plugin_has_no_facts(site: Any, brain: Any) -> None:
    install(site)
    brain("run", "flow.py")
    assert json.loads(brain("show", "--json").stdout)["plugins"] == {}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no\\nfacts')", "plugin 'notes': brain_run_facts raised ValueError: no facts"),
        ("return [1]", "plugin 'notes': brain_run_facts returned [1]; return a dict"),
        ("return {'self': object()}", "plugin 'notes': what brain_run_facts returned holds a object"),
        ("return {'x': 'x' * 100_000}", "plugin 'notes': what brain_run_facts returned is more than 65,536 bytes"),
        (
            "return {'x': await query('notes_reed')}",
            "no plugin has a statement 'notes_reed'; did you mean 'notes_read'?",
        ),
        ("return {'x': await query('notes_broken', {'zero': 0})}", "statement 'notes_broken' failed: "),
    ],
)
def test_facts_that_cannot_be_had_are_one_warning(site: Any, brain: Any, body: str, says: str) -> None:
    install(
        site,
        more=f"""
    @hookimpl
    async def brain_run_facts(run, query):
        {body}
    """,
    )
    brain("run", "flow.py")
    shown = brain("show")
    assert says in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert "noting" in shown.stdout


def test_a_hook_for_facts_that_hangs_is_left_behind(site: Any, brain: Any) -> None:
    install(
        site,
        more="""
    @hookimpl
    def brain_run_facts(run):
        import threading
        threading.Event().wait()
    """,
    )
    site.configure("hook_timeout = 0.2")
    brain("run", "flow.py")
    assert "brain_run_facts took longer than 0.2 s" in brain("show").stderr


def test_a_command_of_a_plugin_asks_its_tables(site: Any, brain: Any) -> None:
    install(site, more=MORE)
    assert json.loads(brain("notes").stdout) == []
    brain("run", "flow.py")
    assert [one["text"] for one in json.loads(brain("notes").stdout)] == ["one", "two"]
    refused = brain("notes", "--name", "notes_reed", code=1)
    assert refused.stdout == ""
    assert refused.stderr.endswith("no plugin has a statement 'notes_reed'; did you mean 'notes_read'?\n")
    away = site.brain("notes", THE_BRAIN_DATABASE_URL="postgresql://127.0.0.1:9/none")
    assert (away.returncode, away.stdout) == (3, "")
    assert "no PostgreSQL answers" in away.stderr.splitlines()[-1]


def test_migrate_and_status_tell_of_the_tables(site: Any, brain: Any) -> None:
    folder = install(site)
    told = json.loads(brain("migrate", "--json").stdout)["plugins"]
    assert told["notes"] == {"applied": ["0001_notes"], "problem": None}
    assert brain("migrate").stdout == "the schema is up to date\n"
    (folder / "migrations" / "0002_more.sql").write_text("ALTER TABLE brain_notes.notes ADD COLUMN more text;")
    assert json.loads(brain("status", "--json").stdout)["tables"]["notes"] == "behind"
    assert brain("migrate").stdout == "applied  notes 0002_more\n"
    assert "notes current" in brain("status").stdout


@pytest.mark.parametrize(
    ("migration", "says"),
    [
        (
            MIGRATION + "CREATE TABLE brain_notes.bad (id nonsense);",
            "migration 0001_notes of brain-notes fails in line 4",
        ),
        ("SELECT 1 / 0;", "migration 0001_notes of brain-notes fails: division by zero"),
    ],
)
def test_a_migration_that_fails_costs_that_plugin_alone(site: Any, brain: Any, migration: str, says: str) -> None:
    install(site, migration=migration, more=MORE)
    site.good()
    (site.work / "fine.py").write_text(
        "from brain_core import Workflow\nfrom good_plugin import FineGood\n"
        "workflow = Workflow(name='fine', steps=[FineGood(name='a')])\n"
    )
    refused = brain("run", "flow.py", code=1)
    assert "belongs to plugin 'notes' (brain-notes 1.0), which is quarantined" in refused.stderr
    assert says in refused.stderr
    brain("run", "fine.py")
    told = brain("migrate", "--json", code=1)
    assert says in json.loads(told.stdout)["plugins"]["notes"]["problem"]
    assert says in brain("migrate", code=1).stdout
    assert says in brain("show").stderr
    assert says in brain("notes", code=1).stderr


def test_a_failed_migration_leaves_nothing_and_is_tried_again(site: Any, brain: Any) -> None:
    folder = install(site, migration=MIGRATION + "SELECT 1 / 0;")
    brain("migrate", code=1)
    (folder / "migrations" / "0001_notes.sql").write_text(MIGRATION)
    assert brain("migrate").stdout == "applied  notes 0001_notes\n"
    brain("run", "flow.py")


def test_a_schema_of_a_newer_plugin_or_of_another_build_is_refused(site: Any, brain: Any) -> None:
    folder = install(site)
    later = folder / "migrations" / "0002_later.sql"
    later.write_text("SELECT 1;")
    brain("migrate")
    later.unlink()
    refused = brain("run", "flow.py", code=1).stderr
    assert "its schema has migration 0002_later of a newer brain-notes (this one ends with 0001_notes)" in refused
    assert "upgrade brain-notes" in refused
    assert json.loads(brain("status", "--json").stdout)["tables"]["notes"] == "too new"
    later.write_text("SELECT 2;")
    assert "another build of brain-notes made its schema" in brain("run", "flow.py", code=1).stderr
    assert json.loads(brain("status", "--json").stdout)["tables"]["notes"] == "changed"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"statements": STATEMENTS.replace("notes_read", "other_read")},
            "the name of statement 'other_read' has to begin",
        ),
        ({"statements": STATEMENTS.replace("-- Keeps a note.\n", "")}, "statement notes_add lacks its purpose"),
        ({"statements": STATEMENTS + STATEMENTS}, "two statements are named notes_add"),
        ({"statements": "-- name: notes_x\n-- X.\n-- include: nothing\n"}, "includes nothing, and no such part"),
    ],
)
def test_files_that_are_not_as_they_have_to_be(site: Any, files: dict[str, str], says: str) -> None:
    install(site, **files)
    info = site.plugins()["notes"]
    assert info["state"] == "quarantined"
    assert says in info["reason"]


@pytest.mark.parametrize(
    ("name", "says"), [("0003_gap.sql", "should be number 0002"), ("more.sql", "more.sql is no mig")]
)
def test_names_of_migrations_are_checked(site: Any, name: str, says: str) -> None:
    folder = install(site)
    (folder / "migrations" / name).write_text("SELECT 1;")
    assert says in site.plugins()["notes"]["reason"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("None", "brain_migrations returned a NoneType; it has to return brain_core.Tables"),
        ("Tables('brain', HERE, HERE)", "its tables are in the schema 'brain'; its own is 'brain_odd'"),
        ("Tables('brain_odd', HERE / 'none', HERE)", "which is no folder"),
        ("Tables('brain_odd', HERE / 'empty', HERE)", "there are no migrations in"),
        ("Tables('brain_odd', None, HERE)", "migrations is 'None', which is no folder"),
        ("1 / 0", "brain_migrations raises ZeroDivisionError: division by zero"),
    ],
)
def test_answers_that_are_no_tables(site: Any, answer: str, says: str) -> None:
    (site.path / "empty").mkdir()
    site.install(
        "odd",
        f"""
    from pathlib import Path
    from brain_core import Tables
    HERE = Path({str(site.path)!r})

    @hookimpl
    def brain_migrations():
        return {answer}
    """,
    )
    info = site.plugins()["odd"]
    assert info["state"] == "quarantined"
    assert says in info["reason"]


TWICE = """
from pathlib import Path
from brain_core import Tables

@hookimpl
def brain_migrations():
    return Tables("{schema}", Path({folder!r}) / "migrations", Path({folder!r}) / "{sql}")
"""


def test_two_plugins_share_neither_a_schema_nor_a_distribution(site: Any) -> None:
    folder = install(site)
    (folder / "none").mkdir()
    site.install(
        "Notes",
        TWICE.format(schema="brain_notes", folder=str(folder), sql="sql"),
        module="again_plugin",
        distribution="brain-again",
    )
    both = TWICE.format(schema="brain_two", folder=str(folder), sql="none")
    site.install("two", both, distribution="brain.notes", module="two_plugin", version="2")
    found = site.plugins()
    assert (found["Notes"]["state"], found["notes"]["state"]) == ("active", "quarantined")
    assert "the schema brain_notes is that of plugin 'Notes'" in found["notes"]["reason"]
    assert found["two"]["state"] == "active"
    site.install(
        "core",
        TWICE.format(schema="brain_core", folder=str(folder), sql="none"),
        distribution="brain_core",
        module="core_plugin",
        version="9",
    )
    assert "brain-core has migrations of its own" in site.plugins()["core"]["reason"]


def test_tables_of_one_distribution_come_once(site: Any) -> None:
    folder = install(site)
    (folder / "none").mkdir()
    site.install(
        "two",
        TWICE.format(schema="brain_two", folder=str(folder), sql="none"),
        distribution="brain.notes",
        module="two_plugin",
        version="2",
    )
    assert "brain-notes brings tables with plugin 'notes'" in site.plugins()["two"]["reason"]


def test_without_tables_no_statement_is_sent_for_them(site: Any, brain: Any) -> None:
    """What a cold run pays for the tables of plugins: nothing without any, one statement when they are current."""
    site.good()
    # The plugins of this environment that have tables.
    there = {entry.name for entry in entry_points(group="brain")} & {"llm", "http_api"}
    site.configure(f"[plugins]\ndisable = {sorted(there)}\n")
    counting = """
        import sys
        from brain_core.store.database import Session
        sent, fetch = [], Session.fetch
        def counted(self, name, *args, **more):
            sent.append(name)
            return fetch(self, name, *args, **more)
        Session.fetch = counted
        from brain_core.cli.main import main
        main(["run", "fine.py"])
        late = ("brain_core.engine.queries", "brain_core.plugin.tables")
        print(sent.count("schema_applied"), *(name in sys.modules for name in late))
    """
    (site.work / "fine.py").write_text(
        "from brain_core import FunctionStep, Workflow\n"
        "workflow = Workflow(name='fine', steps=[FunctionStep(name='a', function=len, args=['x'])])\n"
    )
    url = {"THE_BRAIN_DATABASE_URL": brain.url}
    brain("migrate")
    assert site.python(counting, **url).stdout.splitlines()[-1] == "1 False False"
    install(site)
    brain("migrate")
    assert site.python(counting, **url).stdout.splitlines()[-1] == "2 True True"
