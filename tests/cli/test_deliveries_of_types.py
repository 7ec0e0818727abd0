"""Trigger types without instants: their policies, the keys that they derive, and commands that use the brain."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from brain_core.engine.sweep import worker_identity
from brain_core.store import daemon, triggers
from brain_core.store.database import Database
from brain_core.store.triggers import NewTrigger

BELL = """
from typing import ClassVar
from brain_core import Trigger, hookimpl

class Bell(Trigger):
    type_name: ClassVar[str] = "bell"
    uses_keys: ClassVar[bool] = True
    default_overlap: ClassVar[str] = "allow"
    bell: bool
    loud: bool = True

    def describe(self):
        return "when the bell rings"

    def on_register(self, registration):
        assert "derive_key" not in repr(registration)
        key = registration.derive_key(f'bell {registration.id}').hex()
        return [f"key {key} after an edit" if registration.edited else f"key {key}"]

class Knock(Trigger):
    type_name: ClassVar[str] = "knock"
    knock: bool

    def describe(self):
        return "when somebody knocks"

@hookimpl
def brain_trigger_types():
    return [Bell, Knock]

@hookimpl
def brain_commands(app):
    @app.command()
    def ring(name: str):
        "Print the key of a bell."
        from brain_core.commands import emit, run_with_brain

        async def work(brain):
            row = await brain.registered(name, "bell")
            return None if row is None else brain.derive_key(f"bell {row.id}").hex()

        emit(f"key {run_with_brain(work)}")
"""


@pytest.fixture
def environment(environment: dict[str, str], database_url: str) -> dict[str, str]:
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


def test_deliveries_overlap_and_their_keys_are_shown_once(brain: Any, ok: Any, with_plugin: Any) -> None:
    installed = with_plugin(BELL)
    text = ok("register", "plain.py", "--bell", env=installed)
    assert text.splitlines()[0] == "registered  plain: plain when the bell rings"
    assert text.splitlines()[-1] == ok("ring", "plain", env=installed).strip()
    ok("register", "plain.py", "--knock", "--name", "knock", env=installed)
    ok("register", "plain.py", "--knock", "--name", "both", "--overlap", "allow", env=installed)
    ok("register", "plain.py", "--cron", "@daily", "--name", "daily", env=installed)
    overlaps = {one["name"]: one["overlap"] for one in json.loads(ok("list", "--json", env=installed))}
    assert overlaps == {"plain": "allow", "knock": "skip", "both": "allow", "daily": "skip"}
    # Of another type from now on: it has that type's default, there and back.
    for name, options, overlap in (
        ("daily", ["--bell"], "allow"),
        ("daily", ["--cron=@daily"], "skip"),
        ("both", ["--cron=@daily"], "skip"),
        ("both", ["--bell"], "allow"),
        ("both", ["--cron=@daily", "--overlap=allow"], "allow"),
        ("both", ["--cron=@hourly"], "allow"),
        ("knock", ["--cron=@daily"], "skip"),
    ):
        assert json.loads(ok("edit", name, *options, "--json", env=installed))["overlap"] == overlap
    assert "\noverlap     allow (was skip)\n" in ok("edit", "knock", "--bell", env=installed)
    assert "\noverlap     skip (was allow)\n" in ok("edit", "knock", "--cron=@daily", env=installed)
    assert "overlap" not in ok("edit", "knock", "--cron=@hourly", env=installed)


def test_an_edit_shows_what_the_type_has_to_show(ok: Any, brain: Any, files: Any, with_plugin: Any) -> None:
    installed = with_plugin(BELL)
    ok("register", "plain.py", "--cron", "@daily", env=installed)
    text = ok("edit", "plain", "--bell", env=installed)
    key = ok("ring", "plain", env=installed).strip()
    assert text.splitlines()[-1] == f"{key} after an edit"
    # Nothing has changed of what the key is for.
    assert "key" not in ok("edit", "plain", "--bell", env=installed)
    assert json.loads(ok("edit", "plain", "--overlap", "allow", "--json", env=installed))["lines"] == []
    assert json.loads(ok("edit", "plain", "--no-loud", "--json", env=installed))["lines"] == [f"{key} after an edit"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--bell", "--overlap", "skip"], "--overlap skip is not for a trigger of the type bell"),
        (["--bell", "--catch-up", "latest"], "a trigger of the type bell has none; leave it out"),
        (["--knock", "--catch-up", "all:3"], "a trigger of the type knock has none; leave it out"),
    ],
    ids=" ".join,
)
def test_policies_that_mean_nothing_to_a_type_are_refused(
    arguments: list[str], part: str, brain: Any, files: Any, ok: Any, with_plugin: Any
) -> None:
    installed = with_plugin(BELL)
    # No database: all this is known without one.
    away = {**installed, "THE_BRAIN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = brain("register", "plain.py", *arguments, env=away)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert part in done.stderr
    ok("register", "plain.py", arguments[0], env=installed)
    before = ok("list", "--json", env=installed)
    done = brain("edit", "plain", *arguments[1:], env=installed)
    assert (done.returncode, done.stdout) == (1, "")
    assert part in done.stderr
    assert ok("list", "--json", env=installed) == before


def test_what_has_no_instants_is_told_so(brain: Any, files: Any, ok: Any, with_plugin: Any, database_url: str) -> None:
    installed = with_plugin(BELL)
    asyncio.run(_knock_since(database_url, timedelta(days=2), str(files / "plain.py")))

    def said(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = brain(*arguments, env=installed)
        assert done.returncode == code, (arguments, done.stderr)
        return done.stdout, done.stderr

    none = "a trigger of the type knock has no instants"
    left_out = f"left out: knock: {none}\n"
    assert said("fires", "knock") == ("", f"{none}; its runs: brain history --workflow plain\n")
    assert said("forecast", "knock") == ("", left_out)
    assert said("audit", "knock") == ("", left_out)
    (audit,) = json.loads(said("audit", "--json")[0])
    assert (audit["holds"], audit["left_out"], audit["findings"]) == (True, none, [])
    (listed,) = json.loads(said("list", "--json")[0])
    assert (listed["catch_up"], listed["next_due_at"]) == (None, None)
    # Nobody may have knocked for long; who names it wants to know.
    assert said("watch", "--max-age", "1d") == ("", "1 of 1 schedule as they should be\n")
    assert "no success since" in said("watch", "--max-age", "1d", "--workflow", "plain", code=1)[0]
    out, err = said("trigger", "knock")
    assert out.startswith("queued  plain  run ")
    assert "no delivery: {trigger.body} and its like have no value in this run\n" in err
    assert "no delivery" not in said("trigger", "knock", "--json")[0]
    # What had instants once has a ledger and is audited.
    ok("edit", "knock", "--cron", "@daily", env=installed)
    ok("edit", "knock", "--knock", env=installed)
    assert said("audit") == ("", "1 of 1 schedule without a hole\n")
    assert "The name of the trigger." in said("trigger", "--help")[0]


async def _knock_since(url: str, ago: timedelta, file: str) -> None:
    async with await Database.open(url) as db:
        new = NewTrigger(
            name="knock",
            type="knock",
            config={"knock": True},
            workflow_name="plain",
            file=file,
            host="",
            inputs={},
            planned_steps=[{"name": "say", "type": "function"}],
        )
        await triggers.register(db, new, await triggers.clock(db) - ago)


def test_a_key_that_cannot_be_read_refuses_the_registration(
    brain: Any, files: Any, ok: Any, with_plugin: Any, environment: dict[str, str], tmp_path: Any
) -> None:
    installed = with_plugin(BELL)
    file = tmp_path / "home" / "brain" / "master.key"
    file.parent.mkdir()
    file.write_text("ab" * 32)
    file.chmod(0o644)
    done = brain("register", "plain.py", "--bell", env=installed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"brain: error: {file} may be read or changed by others")
    assert json.loads(ok("list", "--json", env=installed)) == []
    # Who derives nothing does not mind.
    ok("register", "plain.py", "--knock", env=installed)
    before = ok("list", "--json", env=installed)
    done = brain("edit", "plain", "--bell", env=installed)
    assert (done.returncode, done.stdout) == (1, "")
    assert "may be read or changed by others" in done.stderr
    assert ok("list", "--json", env=installed) == before


def test_a_worker_that_serves_runs_what_is_queued(brain: Any, files: Any, ok: Any, database_url: str) -> None:
    ok("register", "plain.py", "--cron", "0 9 * * *")

    async def serve() -> None:
        db = await Database.open(database_url)
        try:
            await daemon.beat(db, worker_identity("serve", 3_600.0), 1, 0, 0.0, [])
        finally:
            await db.close()

    asyncio.run(serve())
    assert brain("trigger", "plain").stderr == ""
    # It fires nothing.
    assert brain("register", "plain.py", "--cron", "@daily", "--name", "b").stderr.endswith(
        "no daemon runs; start one: brain daemon\n"
    )
    assert brain("daemon-status").returncode == 1
