"""The command table, errors and exit codes, by real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from brain_http_api.plugin import BRAIN_COMMANDS as OF_HTTP_API
from brain_llm.plugin import BRAIN_COMMANDS as OF_LLM

from brain_core import __version__
from brain_core.cli.main import BUILT_IN, COMMANDS

COMMAND_PLUGIN = """
from brain_core import hookimpl
print("imported", file=__import__("sys").stderr)
@hookimpl
def brain_commands(app):
    @app.command()
    def greet(who: str = "world"):
        "Say hello to somebody."
        print(f"hello {who}")
"""


def test_help_lists_every_command_and_imports_none(brain, environment):
    code = (
        "import sys; from brain_core.cli.main import main, COMMANDS\n"
        "code = main(['--help'])\n"
        "heavy = ['asyncpg', 'pydantic', 'pluggy', 'rich', 'asyncio', *(module for module, _ in COMMANDS.values())]\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for name, text in [*((name, text) for name, (_, text) in COMMANDS.items()), *BUILT_IN.items()]:
        assert f"  {name} " in done.stdout
        assert text in done.stdout
    assert done.stdout.endswith("0 []\n")
    assert done.stderr == ""


@pytest.mark.parametrize("name", [*COMMANDS, *BUILT_IN])
def test_every_command_has_help_on_stdout(brain, name):
    done = brain(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: brain {name} ")
    assert "--install-completion" not in done.stdout


def test_unknown_command_names_the_nearest_and_exits_2(brain):
    done = brain("histroy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "brain: error: no such command 'histroy'; did you mean 'history'? See 'brain --help'\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run"], "missing argument 'FILE'; see 'brain run --help'"),
        (["history", "--jsn"], "no such option: --jsn"),
        (["history", "--limit", "many"], "'--limit': 'many' has to be a whole number; see 'brain hi"),
        (["history", "--limit", "0"], "'--limit': '0' has to be greater than or equal to 1; see 'brain hi"),
        (["llm", "usage", "--by", "hour"], "'--by': 'hour' is not one of 'workflow', 'model', 'day'; see 'brain llm"),
        (["history", "--status", "sucess"], "did you mean 'success'?"),
        (["history", "--since", "soon"], "neither an age"),
        (["run", "x.py", "--input", "who"], "is not NAME=VALUE"),
        (["run", "x.py", "-i", "a=1", "-i", "a=2"], "given twice"),
        (["\x1b[2Jx"], r"no such command '\x1b[2Jx'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(brain, arguments, part):
    done = brain(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("brain: error: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr


def test_no_command_shows_help_as_talk_and_exits_2(brain):
    done = brain()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: brain ")


@pytest.mark.parametrize("module", ["brain_core", "brain_core.cli.main"])
def test_version_by_both_modules(environment, module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"brain-core {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["config", "--help"]])
def test_a_reader_who_went_away_is_no_error(environment, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "brain_core", *arguments],
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(environment):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "brain_core", "--version"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "brain: error: cannot write the output: No space left on device\n"


def test_closed_streams_do_no_harm(environment):
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m brain_core --version >&- 2>&-', sys.executable], env=environment, check=False
    )
    assert done.returncode == 0


def test_a_plugin_command_is_listed_and_runs(brain, with_plugin):
    env = with_plugin(COMMAND_PLUGIN)
    listed = brain("--help", env=env).stdout.partition("Commands of plugins:\n")[2]
    assert re.search(r"^  greet +Say hello to somebody\.$", listed, re.MULTILINE)
    assert brain("greet", "--who", "ann", env=env).stdout == "hello ann\n"
    assert "did you mean 'greet'?" in brain("gret", env=env).stderr
    assert "imported" not in brain("history", "--help", env=env).stderr


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('broken')",
        "raise SystemExit(7)",
        "@app.command()\n    def bad(x: int | str): ...",
        "import time\n    while True: time.sleep(1)",
        "@app.command()\n    def history(): ...",
    ],
)
def test_a_failing_plugin_never_breaks_help(brain, with_plugin, body):
    env = with_plugin(f"from brain_core import hookimpl\n@hookimpl\ndef brain_commands(app):\n    {body}\n")
    done = brain("--help", env={**env, "THE_BRAIN_PLUGIN_TIMEOUT": "0.5"})
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert done.stderr.startswith("brain: note: ")
    assert "plugin" in done.stderr


def test_an_import_that_fails_does_not_break_help(brain, with_plugin):
    done = brain("--help", env=with_plugin("import no_such_library  # brain_commands\n"))
    assert done.returncode == 0
    assert "Upkeep:" in done.stdout
    assert "brain plugins check stranger" in done.stderr


def test_a_wrong_setting_does_not_break_help(brain, with_plugin):
    done = brain("--help", env={**with_plugin(COMMAND_PLUGIN), "THE_BRAIN_BEET": "1"})
    assert done.returncode == 0
    assert "THE_BRAIN_BEET" in done.stderr


def test_completion_knows_the_lazy_commands(brain):
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        env = {"_BRAIN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return brain(env=env).stdout.split()

    assert complete("brain ") == [*COMMANDS, *BUILT_IN, *sorted([*OF_LLM, *OF_HTTP_API])]
    assert complete("brain hi") == ["history"]
    assert complete("brain --ver") == ["--version"]
    assert complete("brain history --li") == ["--limit"]
    assert complete("brain history --status fa") == ["failed"]
    assert "_BRAIN_COMPLETE" in brain("--show-completion", "bash", env={"SHELL": "/bin/bash"}).stdout


def test_a_command_of_a_built_in_plugin_is_there_as_long_as_the_plugin_is(brain, tmp_path):
    assert brain("cron", "explain", "@daily").returncode == 0
    assert "no such command 'crn'; did you mean 'cron'?" in brain("crn").stderr
    (tmp_path / "work" / "brain.toml").write_text("[plugins]\ndisable = ['cron']\n")
    done = brain("cron", "explain", "@daily")
    assert (done.returncode, done.stdout) == (2, "")
    line = "the command 'cron' is of a built-in plugin that is not active; see: brain plugins list; see 'brain --help'"
    assert done.stderr == f"brain: error: {line}\n"


def test_an_unexpected_exception_keeps_its_traceback(brain, with_plugin):
    source = "    @app.command()\n    def boom():\n        raise ZeroDivisionError('bug')\n"
    env = with_plugin(f"from brain_core import hookimpl\n@hookimpl\ndef brain_commands(app):\n{source}")
    done = brain("boom", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: bug\n")


@pytest.mark.parametrize("table", ['{"greet": "Says hello, it says."}', '{\n    "greet": "Says hello, it says.",\n}'])
def test_declared_commands_are_in_the_help_and_nothing_is_loaded_for_them(brain, with_plugin, table):
    env = with_plugin(COMMAND_PLUGIN + f"BRAIN_COMMANDS = {table}\n")
    done = brain("--help", env=env)
    assert re.search(r"^  greet +Says hello, it says\.$", done.stdout, re.MULTILINE)
    assert "imported" not in done.stderr
    done = brain("greet", "--who", "ann", env=env)
    assert (done.stdout, "imported" in done.stderr) == ("hello ann\n", True)


def test_a_declared_command_of_a_plugin_that_is_not_active(brain):
    done = brain("llm", "usage", env={"THE_BRAIN_PLUGINS__DISABLE": '["llm"]'})
    assert done.returncode == 2
    assert "the command 'llm' is of a plugin that is not active; see: brain plugins list" in done.stderr


@pytest.mark.parametrize("command", [["llm", "check"], ["cron", "explain", "@daily"]])
def test_a_wrong_setting_is_the_whole_answer_to_a_command_of_a_plugin(brain, command):
    done = brain(*command, env={"THE_BRAIN_LLM_TIMEOUT": "soon"})
    assert (done.returncode, done.stdout) == (2, "")
    line = "setting plugins.llm.timeout is 'soon' (from THE_BRAIN_LLM_TIMEOUT): it has to be a number"
    assert done.stderr.startswith(f"brain: error: {line}")
    assert done.stderr.count("\n") == 1
