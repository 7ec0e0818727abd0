"""Each way in which a plugin can be wrong: it is listed with its reason, and everything else goes on."""

from __future__ import annotations

from typing import Any

import pytest

SETTINGS = """
from pydantic import BaseModel

class Own(BaseModel):
    {field}

@hookimpl
def brain_settings():
    return Own
"""

TRIGGER = """
from brain_core import Trigger
class X(Trigger):
    def describe(self): return "x"
    {fields}
@hookimpl
def brain_trigger_types():
"""

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an exception at import": (
        {"source": "raise ValueError('no luck\\ntoday')"},
        "raises when it is imported: ValueError: no luck today",
        "Traceback (most recent call last)",
    ),
    "sys.exit at import": (
        {"source": "import sys; sys.exit(3)"},
        "raises when it is imported: SystemExit: 3",
        "Traceback",
    ),
    "KeyboardInterrupt at import": (
        {"source": "raise KeyboardInterrupt"},
        "raises when it is imported: KeyboardInterrupt",
        "Traceback",
    ),
    "an exception whose text raises": (
        {"source": "class Bad(Exception):\n    def __str__(self): raise OSError\nraise Bad"},
        "raises when it is imported: Bad: (its message cannot be read)",
        "Bad",
    ),
    "a syntax error": ({"source": "def"}, "raises when it is imported: SyntaxError: invalid syntax", "def"),
    "a dependency that is not there": (
        {"source": "import a_library_of_nobody.part"},
        "lacks a dependency: no module named 'a_library_of_nobody'; install what brings it into this environment",
        "ModuleNotFoundError",
    ),
    "a dependency that a hook misses": (
        {"source": "@hookimpl\ndef brain_step_types():\n    import a_library_of_nobody"},
        "lacks a dependency: brain_step_types found no module named 'a_library_of_nobody'",
        "ModuleNotFoundError",
    ),
    "its own module is not there": (
        {"source": "", "entry_points": "[brain]\nwrong = gone_away.plugin\n"},
        "its module gone_away.plugin is not there; install brain-wrong again",
        "ModuleNotFoundError",
    ),
    "an entry point that names no module": (
        {"source": "", "entry_points": "[brain]\nwrong = what is this\n"},
        "its entry point is 'what is this', which names no module",
        "",
    ),
    "an object that is not there": (
        {"source": "", "entry_points": "[brain]\nwrong = wrong_plugin:gone\n"},
        "raises when it is imported: AttributeError: module 'wrong_plugin' has no attribute 'gone'",
        "",
    ),
    "a newer core by its metadata": (
        {"source": "raise AssertionError('is not even imported')", "requires": ("brain-core (>=9.2,<10)",)},
        "needs brain-core (>=9.2,<10), and brain-core 0.1.0 is installed; upgrade one of the two",
        "",
    ),
    "another core by rules that are not plain": (
        {"source": "", "requires": ("Brain_Core ~=7.1 ; python_version > '3'",)},
        "needs Brain_Core ~=7.1, and brain-core 0.1.0 is installed; upgrade one of the two",
        "",
    ),
    "a newer core by a name that it lacks": (
        {"source": "from brain_core import Tomorrow"},
        "(brain-core 0.1.0 does not have it: upgrade one of the two)",
        "ImportError",
    ),
    "a newer core by a module that it lacks": (
        {"source": "import brain_core.triggers"},
        "needs 'brain_core.triggers', which brain-core 0.1.0 does not have; upgrade one of the two",
        "",
    ),
    "a misspelt hook": (
        {"source": "@hookimpl\ndef brain_step_type():\n    return []"},
        "'brain_step_type' is no hook of brain-core 0.1.0; did you mean 'brain_step_types'?",
        "",
    ),
    "a misspelt hook without a mark": (
        {"source": "def brain_run_finish(run):\n    pass"},
        "'brain_run_finish' is no hook of brain-core 0.1.0; did you mean 'brain_run_finished'?",
        "",
    ),
    "a mark on something that is no hook": (
        {"source": "@hookimpl\ndef finished(run):\n    pass"},
        "'finished' is no hook of brain-core 0.1.0",
        "",
    ),
    "a hook without its mark": (
        {"source": "def brain_run_finished(run):\n    pass"},
        "brain_run_finished is not marked and would never be called; write @hookimpl above it",
        "",
    ),
    "an argument that the hook does not offer": (
        {"source": "@hookimpl\ndef brain_run_finished(runn):\n    pass"},
        "brain_run_finished has no argument 'runn'; did you mean 'run'? (its arguments: run, settings)",
        "wrong_plugin.py:2",
    ),
    "an argument by keyword only": (
        {"source": "@hookimpl\ndef brain_run_finished(*, run):\n    pass"},
        "brain_run_finished takes 'run' by keyword only",
        "",
    ),
    "a wrapper": (
        {"source": "@hookimpl(wrapper=True)\ndef brain_run_finished(run):\n    return (yield)"},
        "brain_run_finished is a wrapper",
        "",
    ),
    "a type that is no step": (
        {"source": "class No: pass\n@hookimpl\ndef brain_step_types():\n    return [No]"},
        "brain_step_types returned wrong_plugin.No, which is no subclass of brain_core.Step",
        "",
    ),
    "a step instead of its type": (
        {"source": "@hookimpl\ndef brain_step_types():\n    return ['Hello']"},
        "brain_step_types returned 'Hello', which is no subclass of brain_core.Step",
        "",
    ),
    "Step itself": ({"source": "@hookimpl\ndef brain_step_types():\n    return [Step]"}, "returned Step itself", ""),
    "no list": ({"source": "@hookimpl\ndef brain_step_types():\n    return Step"}, "has to return a list", ""),
    "a type that is taken": (
        {"source": "class X(Step):\n    type_name = 'shell'\n@hookimpl\ndef brain_step_types():\n    return [X]"},
        "step type 'shell' is brought by two plugins, plugin 'shell' (brain-shell 0.1.0) "
        "and plugin 'wrong' (brain-wrong 1.0)",
        "",
    ),
    "one name for two of its types": (
        {
            "source": "class X(Step): type_name = 'twin'\nclass Y(Step): type_name = 'twin'\n"
            "@hookimpl\ndef brain_step_types():\n    return [X, Y]"
        },
        "brings two step types called 'twin': wrong_plugin.X and wrong_plugin.Y",
        "",
    ),
    "a trigger instead of its type": (
        {"source": "from brain_core import Cron\n@hookimpl\ndef brain_trigger_types():\n    return [Cron('@daily')]"},
        "brain_trigger_types returned Cron(cron='@daily', timezone=None), which is no subclass of brain_core.Trigger",
        "",
    ),
    "a trigger type without a list": (
        {"source": TRIGGER.format(fields="type_name = 'x'\n    x: str") + "    return X"},
        "brain_trigger_types returned wrong_plugin.X; it has to return a list of trigger types",
        "",
    ),
    "Trigger itself": (
        {"source": TRIGGER.format(fields="type_name = 'x'") + "    return [Trigger]"},
        "brain_trigger_types returned Trigger itself; it has to return subclasses of it",
        "",
    ),
    "a trigger type without a name": (
        {"source": TRIGGER.format(fields="x: str") + "    return [X]"},
        "the type name of wrong_plugin.X is None; it has to be a lower-case letter, then lower-case letters, digits",
        "",
    ),
    "a trigger type whose name is no option": (
        {"source": TRIGGER.format(fields="type_name = 'My Type'") + "    return [X]"},
        "the type name of wrong_plugin.X is 'My Type'; it has to be",
        "",
    ),
    "a trigger type without the field of its name": (
        {"source": TRIGGER.format(fields="type_name = 'x'\n    y: str") + "    return [X]"},
        "trigger type 'x' has no field 'x', by which brain register chooses it (its fields: y)",
        "",
    ),
    "a trigger type without words": (
        {
            "source": TRIGGER.format(fields="type_name = 'xx'\n    xx: str\n    describe = Trigger.describe")
            + "    return [X]"
        },
        "trigger type 'xx' has no describe(); people see a trigger by what it returns",
        "",
    ),
    "a trigger type with an unknown policy": (
        {"source": TRIGGER.format(fields="type_name = 'x'\n    x: str\n    default_overlap = 'al'") + "    return [X]"},
        "trigger type 'x': default_overlap is 'al', not 'skip' or 'allow'",
        "",
    ),
    "two trigger types with one field": (
        {
            "source": TRIGGER.format(fields="type_name = 'xxx'\n    xxx: str\n    at: str")
            + "    class Y(X):\n        type_name = 'yyy'\n        yyy: str = ''\n    return [X, Y]"
        },
        "its trigger types 'xxx' and 'yyy' both have the field 'xxx'; each field becomes an option of brain register",
        "",
    ),
    "a hook that raises": (
        {"source": "@hookimpl\ndef brain_step_types():\n    raise SystemExit('enough')"},
        "brain_step_types raises SystemExit: enough",
        "Traceback",
    ),
    "settings without defaults": (
        {"source": SETTINGS.format(field="token: str\n    size: int = 1\n    place: str")},
        "its settings Own lack a default for token, place",
        "",
    ),
    "settings that are no model": (
        {"source": "@hookimpl\ndef brain_settings():\n    return dict"},
        "brain_settings returned builtins.dict; it has to return a pydantic model class",
        "",
    ),
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, make_site: Any) -> dict[str, Any]:
    """All of them side by side, between two good ones, as one process sees them; with the details."""
    site = make_site(tmp_path_factory.mktemp("wrong"))
    site.good("aaa")
    for at, (parts, _, _) in enumerate(WRONG.values()):
        renamed = {
            key: value.replace("wrong", f"wrong{at}") if key == "entry_points" else value
            for key, value in parts.items()
        }
        site.install(f"wrong{at}", **renamed)
    site.good("zzz")
    return site.details()


def test_good_plugins_go_on_beside_all_the_wrong_ones(listed: dict[str, Any]) -> None:
    active = {name: one["provides"] for name, one in listed.items() if one["state"] == "active"}
    assert active == {
        "cron": ["trigger cron", "settings plugins.cron", "commands"],
        "function": ["step function"],
        "aaa": ["step FineAaa"],
        "http_api": [
            "trigger webhook",
            "settings plugins.http_api",
            "tables brain_http_api",
            "commands",
            "services",
        ],
        "llm": ["step llm", "settings plugins.llm", "tables brain_llm", "commands", "hook brain_run_facts"],
        "shell": ["step shell", "settings plugins.shell"],
        "zzz": ["step FineZzz"],
    }
    assert {one["state"] for name, one in listed.items() if name not in active} == {"quarantined"}
    assert len(listed) == len(WRONG) + len(active)


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_plugin_is_listed_with_its_reason(listed: dict[str, Any], case: str) -> None:
    name = f"wrong{list(WRONG).index(case)}"
    reason, detail = (text.replace("wrong_plugin", f"{name}_plugin") for text in WRONG[case][1:])
    reason = reason.replace("brain-wrong", f"brain-{name}").replace("plugin 'wrong'", f"plugin '{name}'")
    found = listed[name]
    assert reason in found["reason"]
    assert "\n" not in found["reason"]
    assert found["provides"] == []
    assert detail in found["detail"]


def test_list_shows_the_reason_and_check_the_traceback(site: Any) -> None:
    site.install("wrong", "raise ValueError('no luck')")
    assert site.plugins()["wrong"]["reason"] == "raises when it is imported: ValueError: no luck"
    check = site.brain("plugins", "check", "wrong")
    assert check.returncode == 1
    assert "raise ValueError('no luck')" in check.stdout
    assert check.stderr == ""


def test_a_plugin_that_hangs_is_left_behind_and_check_says_where(site: Any) -> None:
    site.install("wrong", "import threading\nthreading.Event().wait()  # for ever")
    site.good()
    found = site.plugins(THE_BRAIN_PLUGIN_TIMEOUT="3")
    assert found["wrong"]["reason"] == "took longer than 3 s to load (setting plugin_timeout)"
    assert found["good"]["state"] == "active"
    check = site.brain("plugins", "check", "wrong", THE_BRAIN_PLUGIN_TIMEOUT="3")
    assert check.returncode == 1
    assert "wrong_plugin.py" in check.stdout
    assert "for ever" in check.stdout


def test_two_plugins_of_one_name(site: Any) -> None:
    site.install("same", "", distribution="brain-one", module="one")
    site.install("same", "", distribution="brain-two", module="two")
    done = site.brain("plugins", "list")
    assert "quarantined: its name is that of plugin 'same' (brain-one 1.0); two plugins cannot share one" in done.stdout
    assert site.brain("plugins", "check", "brain-one").returncode == 0
    assert site.brain("plugins", "check", "same").returncode == 1


def test_an_unreadable_list_of_entry_points_costs_that_distribution_alone(site: Any) -> None:
    site.install("wrong", "", entry_points="[brain]\nthis is no line of it\n")
    site.good()
    # Finding alone: pydantic, too, reads all entry points, and gives up at such a file.
    code = "from brain_core.plugin.discovery import find_plugins as f; print({one.name: one.trouble for one in f()})"
    done = site.python(code)
    assert "'good': None" in done.stdout, done.stderr
    assert "entry_points.txt cannot be read" in done.stdout


def test_what_a_plugin_prints_as_it_loads_does_not_spoil_the_data(site: Any) -> None:
    site.install("loud", "print('look at me')")
    done = site.brain("plugins", "list", "--json")
    assert done.stdout.startswith("[")
    assert done.stderr == "look at me\n"


def test_a_hook_from_a_newer_core_may_be_marked_optional(site: Any) -> None:
    site.install("modern", "@hookimpl(optionalhook=True)\ndef brain_of_tomorrow(run):\n    pass")
    assert site.plugins()["modern"]["state"] == "active"


def test_cores_that_fit(site: Any) -> None:
    requirements = ("brain-core", "brain-core>=0.1,<0.2", "brain-core >9 ; extra == 'x'", "brain-core-tools>=9")
    for at, requirement in enumerate(requirements):
        site.install(f"fits{at}", "", requires=(requirement,))
    assert {one["state"] for one in site.plugins().values()} == {"active"}


def test_check_of_an_unknown_plugin_names_the_nearest(site: Any) -> None:
    done = site.brain("plugins", "check", "shel")
    assert done.returncode == 2
    assert done.stderr.startswith("brain: error: no plugin 'shel' is installed; did you mean 'shell'?")
