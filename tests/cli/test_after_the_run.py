"""What goes wrong before a run is written, and after its end is: exit codes and what is said."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

FLOW = """
import asyncio, asyncpg
from brain_core import FunctionStep, Workflow

def one():
    return "done"

async def shut():
    # Nobody gets in any more, and those who are in are thrown out.
    connection = await asyncpg.connect({server!r})
    await connection.execute('ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await connection.close()

def told(run):
    asyncio.run(shut())

workflow = Workflow(name="shut", steps=[FunctionStep(name="one", function=one)], on_finished=told)
"""
INPUTS = """
from brain_core import FunctionStep, Workflow

step = FunctionStep(name="one", function=print, args=["{inputs.a}"])
workflow = Workflow(name="inputs", inputs={"a": "", "b": "", "c": []}, steps=[step])
"""


@pytest.fixture
def environment(environment, database_url):
    return {**environment, "THE_BRAIN_DATABASE_URL": database_url}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_database_lost_after_the_end_of_a_run_does_not_change_its_exit_code(
    as_json, brain, tmp_path, database_url, server_url
):
    name = database_url.partition("?")[0].rpartition("/")[2]
    flow = tmp_path / "shut.py"
    flow.write_text(FLOW.format(server=server_url, name=name))
    done = brain("run", str(flow), *["--json"] * as_json)
    asyncio.run(_open_again(server_url, name))
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["status"] if as_json else done.stdout.split()[0]) == "success"
    assert "is recorded; telling others of it is left to a later command: " in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = json.loads(brain("history", "--json").stdout)
    assert run["status"] == "success"
    (delivery,) = json.loads(brain("deliveries", "--json").stdout)
    assert delivery["status"] == "open"


async def _open_again(server_url, name):
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        await connection.close()


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["a=" + "x" * 200], "input 'a' cannot be recorded: it is more than 100 bytes of JSON"),
        (["a=" + "x" * 60, "b=" + "x" * 70], "the inputs together are larger than 100 bytes of JSON"),
        (["c=[" + "1," * 100 + "1]"], "input 'c' cannot be recorded: it is more than 100 bytes of JSON"),
    ],
)
def test_inputs_over_the_limit_are_wrong_usage_and_write_nothing(given, complaint, dry_run, brain, tmp_path):
    flow = tmp_path / "inputs.py"
    flow.write_text(INPUTS)
    options = [option for one in given for option in ("--input", one)]
    done = brain("run", str(flow), *options, *["--dry-run"] * dry_run, env={"THE_BRAIN_MAX_OUTPUT": "100"})
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert "output is" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads(brain("history", "--json").stdout) == []


def test_inputs_of_just_the_limit_are_taken(brain, tmp_path):
    flow = tmp_path / "inputs.py"
    flow.write_text(INPUTS)
    spent = len('{"a":"","b":"","c":[]}')
    for size, code in ((100 - spent, 0), (101 - spent, 2)):
        done = brain("run", str(flow), "--input", "a=" + "x" * size, env={"THE_BRAIN_MAX_OUTPUT": "100"})
        assert done.returncode == code, done.stderr
