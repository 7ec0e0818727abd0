"""Disabling, sections, who owns a step type, and how event hooks are called."""

from __future__ import annotations

import json
from typing import Any

import pytest

START = """
import asyncio, sys, threading
from datetime import datetime, timezone
from brain_core.config import load_settings
from brain_core.plugin.manager import PluginManager
from brain_core.run import Run
manager = PluginManager.load(load_settings().settings)
run = Run(id="12345678-0000-0000-0000-000000000000", workflow="w", file="f", status="success",
          created_at=datetime.now(timezone.utc))
"""

EVENTS = """
from pydantic import BaseModel
import threading

class Own(BaseModel):
    word: str = "default"

@hookimpl
def brain_settings():
    return Own

@hookimpl
def brain_run_started():
    raise ValueError("first line\\nsecond")

@hookimpl
async def brain_step_finished(step, settings):
    print("step", step, settings.word, threading.current_thread() is threading.main_thread())

@hookimpl
def brain_run_finished(run):
    {finished}
"""


def test_events_are_told_one_by_one_and_problems_come_back_as_lines(site: Any) -> None:
    site.install("one", EVENTS.format(finished="print('finished', run.short_id)"))
    site.install("two", "@hookimpl\nasync def brain_run_started(run):\n    print('two heard', run.workflow)")
    site.configure("[plugins.one]\nword = 'mine'")
    done = site.python(
        START
        + """
async def main():
    print(manager.receivers, manager.listens("brain_run_started"), manager.listens("brain_nothing"))
    print(await manager.run_started(run))
    print(await manager.step_finished(run, "a step"))
    await manager.deliver("one", run)
asyncio.run(main())
"""
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['one'] True False",
        "two heard w",
        """["plugin 'one': brain_run_started raised ValueError: first line second"]""",
        "step a step mine False",
        "[]",
        "finished 12345678",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "@hookimpl\ndef brain_run_finished(run):\n    threading.Event().wait()",
        "@hookimpl\nasync def brain_run_finished(run):\n    threading.Event().wait()",
        "@hookimpl\nasync def brain_run_finished(run):\n    while True:\n        try:\n"
        "            await asyncio.Event().wait()\n        except asyncio.CancelledError:\n            pass",
    ],
    ids=["plain", "async that blocks", "async that cannot be cancelled"],
)
def test_a_hook_that_hangs_is_left_behind_and_the_process_ends(site: Any, source: str) -> None:
    site.install("stuck", "import asyncio, threading\n" + source)
    done = site.python(START + "asyncio.run(manager.deliver('stuck', run))", THE_BRAIN_HOOK_TIMEOUT="0.3")
    assert done.stderr.splitlines()[-1].endswith(
        "PluginError: plugin 'stuck': brain_run_finished took longer than 0.3 s (setting hook_timeout)"
    )


def test_a_hook_that_ends_the_process_ends_its_thread_alone(site: Any) -> None:
    site.install("quits", "import sys\n@hookimpl\ndef brain_run_started(run):\n    sys.exit(9)")
    done = site.python(START + "print(asyncio.run(manager.run_started(run)))")
    assert (done.returncode, done.stdout.strip()) == (
        0,
        """["plugin 'quits': brain_run_started raised SystemExit: 9"]""",
    )


def test_types_of_disabled_and_quarantined_plugins_are_refused_with_the_reason(site: Any) -> None:
    site.good("off")
    site.good("on")
    site.install("wrong", "class Lost(Step):\n    def run(self, ctx): return 1\n@hookimpl\ndef brain_zzz(): pass")
    site.configure("[plugins]\ndisable = ['off']")
    done = site.python(
        START
        + """
import off_plugin, on_plugin, wrong_plugin
from brain_core import FunctionStep, Step
class Mine(off_plugin.FineOff): pass
class Own(Step): pass
for one in (off_plugin.FineOff, Mine, wrong_plugin.Lost, on_plugin.FineOn, FunctionStep, Own, Step):
    owner = manager.owner_of(one)
    print(owner and owner.name, "|", manager.refusal_of(one))
print(sorted(manager.step_types))
"""
    )
    off = "belongs to plugin 'off' (brain-off 1.0), which is disabled: [plugins] disable leaves it out"
    assert done.stdout.splitlines() == [
        f"off | step type 'FineOff' {off}",
        f"None | step type 'Mine' {off}",
        "wrong | step type 'Lost' belongs to plugin 'wrong' (brain-wrong 1.0), which is quarantined: "
        "'brain_zzz' is no hook of brain-core 0.1.0; see: brain plugins check wrong",
        "on | None",
        "function | None",
        "None | None",
        "None | None",
        "['FineOn', 'function', 'llm', 'shell']",
    ], done.stderr


def test_a_disabled_plugin_is_not_imported(site: Any) -> None:
    site.install("off", "raise AssertionError('imported')")
    site.configure("[plugins]\ndisable = ['off']")
    assert site.plugins()["off"]["state"] == "disabled"


CONFIGURED = """
from pydantic import BaseModel, SecretStr

class Own(BaseModel):
    token: SecretStr = SecretStr("")
    size: int = 3

@hookimpl
def brain_settings():
    return Own
"""


TRIGGER = """
from brain_core import Trigger
class {cls}(Trigger):
    type_name = "{name}"
    {name}: str = ""
    {more}
    def describe(self): return "now and then"
@hookimpl
def brain_trigger_types():
    return [{cls}]
"""


def test_trigger_types_have_owners_and_their_sections(site: Any) -> None:
    site.install("off", TRIGGER.format(cls="Off", name="off", more=""))
    site.install("on", TRIGGER.format(cls="On", name="on", more="") + CONFIGURED)
    site.install("lost", TRIGGER.format(cls="Lost", name="lost", more="") + "@hookimpl\ndef brain_zzz(): pass")
    site.configure("[plugins]\ndisable = ['off']\n[plugins.on]\nsize = 7\n[plugins.cron]\ntimezone = 'Asia/Tehran'")
    done = site.python(
        START
        + """
import lost_plugin, off_plugin, on_plugin
from brain_core import Cron
class Mine(off_plugin.Off): pass
for one in (Cron, on_plugin.On, off_plugin.Off, Mine, lost_plugin.Lost):
    owner = manager.owner_of(one)
    print(owner and owner.name, "|", manager.refusal_of(one))
print(sorted(manager.trigger_types), manager.trigger_types["cron"] is Cron)
print(manager.settings_of_trigger(on_plugin.On).size)
print(Cron("@daily").with_defaults(manager.settings_of_trigger(Cron)).timezone)
"""
    )
    off = "belongs to plugin 'off' (brain-off 1.0), which is disabled: [plugins] disable leaves it out"
    assert done.stdout.splitlines() == [
        "cron | None",
        "on | None",
        f"off | trigger type 'off' {off}",
        f"None | trigger type 'off' {off}",
        "lost | trigger type 'lost' belongs to plugin 'lost' (brain-lost 1.0), which is quarantined: "
        "'brain_zzz' is no hook of brain-core 0.1.0; see: brain plugins check lost",
        "['cron', 'on', 'webhook'] True",
        "7",
        "Asia/Tehran",
    ], done.stderr


@pytest.mark.parametrize(
    ("name", "more", "what"),
    [
        ("cron", "", "trigger type 'cron'"),
        ("tide", "timezone: str = ''", "option 'timezone'"),
        ("tide", "cron: str = ''", "option 'cron'"),
        ("timezone", "", "option 'timezone'"),
    ],
)
def test_a_name_of_another_trigger_type_is_refused_with_both_owners(site: Any, name: str, more: str, what: str) -> None:
    site.install("tide", TRIGGER.format(cls="Tide", name=name, more=more))
    found = site.plugins()
    assert found["tide"]["reason"].startswith(f"{what} is brought by two plugins, plugin 'cron' (brain-core ")
    assert found["tide"]["reason"].endswith(" and plugin 'tide' (brain-tide 1.0)")
    assert (found["tide"]["state"], found["tide"]["provides"]) == ("quarantined", [])
    assert found["cron"]["provides"] == ["trigger cron", "settings plugins.cron", "commands"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[plugins]\ndisable = ['shel']",
            "setting plugins.disable names 'shel', which is not installed; did you mean 'shell'?",
        ),
        ("[plugins]\ndisable = 'shell'", "setting plugins.disable is 'shell'; it has to be a list of plugin names"),
        ("[plugins.ow]\nsize = 1", "and [plugins.ow] is there; did you mean 'own'?"),
        ("[plugins]\nown = 3", "setting plugins.own is 3; it has to be a table, [plugins.own]"),
        (
            "[plugins.own]\nsise = 1",
            "'plugins.own.sise' is no setting (from {file}); did you mean 'size'? (plugin 'own' has: size, token)",
        ),
        (
            "[plugins.own]\nsize = 'big'",
            "setting plugins.own.size is 'big' (from {file}): it has to be a whole number",
        ),
        ("[plugins.own]\ntoken = 17", "setting plugins.own.token (from {file}): it has to be text in quotes"),
        (
            "[plugins.cron]\ntimezone = 'Asia/Teheran'",
            "setting plugins.cron.timezone is 'Asia/Teheran' (from {file}): there is no time zone 'Asia/Teheran'; "
            "did you mean 'Asia/Tehran'?",
        ),
        ("[plugins.function]\nx = 1", "plugin 'function' has no settings, and [plugins.function] has x"),
    ],
)
def test_a_wrong_section_is_one_line(site: Any, text: str, complaint: str) -> None:
    site.install("own", CONFIGURED)
    site.configure(text)
    done = site.brain("plugins", "list")
    assert done.returncode == 2
    assert done.stdout == ""
    assert complaint.format(file=site.work / "brain.toml") in done.stderr
    assert done.stderr.count("\n") == 1
    assert "17" not in done.stderr


def test_config_shows_sections_with_their_origin_and_hides_secrets(site: Any) -> None:
    site.install("own", CONFIGURED)
    site.configure("[plugins.own]\ntoken = 'hush-hush'")
    done = site.brain("config", "--json", THE_BRAIN_PLUGINS__OWN__SIZE="7")
    assert "hush" not in done.stdout
    found = {one["name"]: (one["value"], one["origin"]) for one in json.loads(done.stdout)}
    assert found["plugins.own.size"] == (7, "THE_BRAIN_PLUGINS__OWN__SIZE")
    assert found["plugins.own.token"] == ("**********", str(site.work / "brain.toml"))
    assert found["plugins.shell.pass_env"] == ([], "default")


def test_plugins_are_imported_only_when_something_is_asked_of_them(site: Any) -> None:
    site.install("loud", "import sys; print('imported', file=sys.stderr)")
    assert site.python(START).stderr == ""
    assert site.python(START + "manager.receivers").stderr == "imported\n"


def test_commands_that_fail_leave_nothing_behind(site: Any) -> None:
    site.install(
        "fails", "@hookimpl\ndef brain_commands(app):\n    app.command('half')(lambda: None)\n    raise OSError('no')"
    )
    site.install("works", "@hookimpl\ndef brain_commands(app):\n    @app.command('wave')\n    def wave(): print('o/')")
    assert site.brain("wave").stdout == "o/\n"
    assert site.brain("half").returncode == 2
    code = "import typer; app = typer.Typer(); problems = manager.add_commands(app)\n"
    code += "print(problems, [one.name for one in app.registered_commands])"
    problems, names = site.python(START + code).stdout.split("] ")
    assert problems == """["plugin 'fails': brain_commands raised OSError: no\""""
    assert ("half" in names, "wave" in names) == (False, True)


def test_a_plugin_may_have_hooks_of_its_own_for_others(site: Any) -> None:
    site.install("guest", "@hookimpl(optionalhook=True)\ndef brain_their_routes(router):\n    router.append('mine')")
    site.install("wrong", "@hookimpl(optionalhook=True)\ndef brain_their_routes(nothing): ...")
    site.install("other", "@hookimpl\ndef brain_their_routes(router): ...")
    done = site.python(
        START
        + """
for name, call in sorted(manager.calls("brain_their_routes")):
    routes = []
    try:
        call({"router": routes})
    except KeyError as error:
        print(name, "asks for", error)
    else:
        print(name, routes)
print([(info.name, info.reason) for info in manager.plugins if info.state == "quarantined"])
"""
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["guest ['mine']", "wrong asks for 'nothing'"]
    assert lines[2].startswith("[('other', \"'brain_their_routes' is no hook of brain-core")
