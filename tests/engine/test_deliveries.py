"""Who is told of the end of a run, and what happens when the telling fails or the process dies before it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brain_core.store import deliveries
from brain_core.store.database import Database

FLOW = """
import os, threading
from brain_core import FunctionStep, Workflow

def nothing():
    return "done"

def told(run):
    descriptor = os.open({journal!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{{run.workflow}} {{run.status}} {{len(run.steps)}}\\n".encode())
    os.close(descriptor)
    {extra}

workflow = Workflow(name={name!r}, steps=[FunctionStep(name="one", function=nothing)], on_finished=told)
"""
DIES = """
import os, signal
from brain_core.engine.deliver import Delivery

async def die(self, run, receivers, runner=None):
    os.kill(os.getpid(), signal.SIGKILL)

Delivery.deliver = die
from brain_core.cli.main import main
main()
"""


class Flows:
    """Writes workflow files, runs them as processes, and reads the journal that their `on_finished` keeps."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.journal.touch()
        self.environment = {
            **os.environ,
            "THE_BRAIN_DATABASE_URL": url,
            "THE_BRAIN_HOME": str(folder),
        }

    def write(self, name: str, extra: str = "") -> Path:
        file = self.folder / f"{name}.py"
        file.write_text(FLOW.format(journal=str(self.journal), name=name, extra=extra))
        return file

    async def brain(self, *arguments: str, program: tuple[str, ...] = ("-m", "brain_core")) -> tuple[int, str, str]:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, *program, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return done.returncode, done.stdout, done.stderr

    def told(self) -> list[str]:
        return self.journal.read_text().splitlines()


@pytest.fixture
def flows(tmp_path: Path, database_url: str) -> Flows:
    return Flows(tmp_path, database_url)


async def rows(db: Database) -> list[tuple[str, str, str | None]]:
    async with db.session() as session:
        found = await session.connection.fetch(
            "SELECT r.workflow_name, d.status, d.error FROM brain.deliveries d JOIN brain.runs r ON r.id = d.run_id"
        )
    return sorted((name, status, error) for name, status, error in found)


async def test_on_finished_hears_of_the_run_and_the_row_is_done(flows: Flows, db: Database) -> None:
    code, _, err = await flows.brain("run", str(flows.write("first")))
    assert code == 0, err
    assert flows.told() == ["first success 1"]
    assert await rows(db) == [("first", "done", None)]


async def test_a_process_that_dies_before_delivering_leaves_it_to_the_next(flows: Flows, db: Database) -> None:
    code, _, _ = await flows.brain("run", str(flows.write("first")), program=("-c", DIES))
    assert code == -signal.SIGKILL
    assert flows.told() == []
    assert await rows(db) == [("first", "open", None)]
    code, _, err = await flows.brain("run", str(flows.write("second")))
    assert code == 0, err
    assert sorted(flows.told()) == ["first success 1", "second success 1"]
    assert await rows(db) == [("first", "done", None), ("second", "done", None)]


async def test_a_file_that_changed_since_is_not_called_and_says_so(flows: Flows, db: Database) -> None:
    file = flows.write("first")
    await flows.brain("run", str(file), program=("-c", DIES))
    file.write_text(file.read_text() + "# another\n")
    code, _, err = await flows.brain("run", str(flows.write("second")))
    assert code == 0
    assert "has changed since the run; its on_finished was not called" in err
    assert flows.told() == ["second success 1"]
    assert [status for _, status, _ in await rows(db)] == ["failed", "done"]


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ("raise ValueError('no mail today')", "on_finished raised ValueError: no mail today"),
        ("raise SystemExit(3)", "on_finished raised SystemExit: 3"),
        ("raise KeyboardInterrupt", "on_finished raised KeyboardInterrupt"),
        ("raise ValueError('a\\0b')", "on_finished raised ValueError: a\\x00b"),
        ("import asyncio; raise asyncio.CancelledError", "on_finished raised CancelledError"),
        ("raise TimeoutError('no answer')", "on_finished raised TimeoutError: no answer"),
        ("threading.Event().wait(30)", "on_finished took longer than 1 s (setting hook_timeout)"),
    ],
)
async def test_a_failing_on_finished_leaves_the_run_as_it_is(
    extra: str, error: str, flows: Flows, db: Database
) -> None:
    if "took longer" in error:
        flows.environment["THE_BRAIN_HOOK_TIMEOUT"] = "1"
    code, out, err = await flows.brain("run", str(flows.write("first", extra)))
    assert code == 0
    assert "success" in out
    assert error in err
    assert "Traceback" not in err
    assert await rows(db) == [("first", "failed", error)]
    code, out, _ = await flows.brain("deliveries")
    assert "workflow  failed" in out
    assert error in out


# A grace that no test lives to see: a hook that had it would never be given up.
LONG_GRACE = """
import sys
from brain_core.engine import thread_runner
thread_runner.CANCEL_GRACE = 3600.0
from brain_core.cli.main import main
sys.exit(main())
"""


async def test_a_hook_that_blocks_its_loop_gets_no_grace(flows: Flows, db: Database) -> None:
    file = flows.write("first", "threading.Event().wait(1000)")
    file.write_text(file.read_text().replace("def told", "async def told"))
    flows.environment["THE_BRAIN_HOOK_TIMEOUT"] = "1"
    code, _, err = await flows.brain("run", str(file), program=("-c", LONG_GRACE))
    assert code == 0
    assert "on_finished took longer than 1 s" in err


async def test_a_failed_delivery_can_be_tried_again_by_hand(flows: Flows, db: Database) -> None:
    flag = flows.folder / "broken"
    flag.touch()
    await flows.brain("run", str(flows.write("first", f"if os.path.exists({str(flag)!r}): raise ValueError('broken')")))
    (row,) = await deliveries.list_deliveries(db)
    flag.unlink()
    code, _, err = await flows.brain("deliveries", "retry", row.run_id[:8])
    assert code == 0, err
    assert flows.told() == ["first success 1", "first success 1"]
    assert await rows(db) == [("first", "done", None)]


async def test_a_retry_of_one_run_leaves_the_others(flows: Flows, db: Database) -> None:
    flag = flows.folder / "broken"
    flag.touch()
    broken = f"if os.path.exists({str(flag)!r}): raise ValueError('broken')"
    for name in ("first", "second"):
        await flows.brain("run", str(flows.write(name, broken)))
    for name in ("third", "fourth"):
        await flows.brain("run", str(flows.write(name)), program=("-c", DIES))
    ids = {row.workflow: row.run_id for row in await deliveries.list_deliveries(db)}
    flag.unlink()
    flows.journal.write_text("")
    for name in ("first", "third"):
        assert (await flows.brain("deliveries", "retry", ids[name]))[:2] == (0, "delivered\n")
    assert flows.told() == ["first success 1", "third success 1"]
    left = {row.workflow: row.status for row in await deliveries.list_deliveries(db)}
    assert left == {"second": "failed", "fourth": "open"}


async def test_a_file_that_is_not_here_leaves_its_delivery_to_a_machine_that_has_it(flows: Flows, db: Database) -> None:
    file = flows.write("first")
    await flows.brain("run", str(file), program=("-c", DIES))
    elsewhere = file.rename(flows.folder / "elsewhere")
    code, _, err = await flows.brain("run", str(flows.write("second")))
    assert (code, flows.told()) == (0, ["second success 1"]), err
    assert "delivery" not in err
    _, out, _ = await flows.brain("deliveries")
    assert f"workflow  open    {file} is not here; a process that has the file delivers it" in out
    (row,) = await deliveries.list_deliveries(db)
    code, out, _ = await flows.brain("deliveries", "retry", row.run_id)
    assert code == 1
    assert f"to workflow stays open: {file} is not here" in out
    elsewhere.rename(file)
    code, out, _ = await flows.brain("deliveries", "retry", row.run_id)
    assert (code, out) == (0, "delivered\n")
    assert sorted(flows.told()) == ["first success 1", "second success 1"]
    assert await rows(db) == [("first", "done", None), ("second", "done", None)]


PLUGIN = """
from brain_core import hookimpl

@hookimpl
def brain_run_finished(run):
    print("the mailer heard of", run.workflow)
"""


async def test_a_receiver_without_its_plugin_waits_for_a_process_that_has_it(flows: Flows, db: Database) -> None:
    about = flows.folder / "site" / "mailer-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mailer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[brain]\nmailer = mailer_plugin\n")
    (about.parent / "mailer_plugin.py").write_text(PLUGIN)
    without = dict(flows.environment)
    flows.environment["PYTHONPATH"] = str(about.parent)
    await flows.brain("run", str(flows.write("first")), program=("-c", DIES))
    having, flows.environment = flows.environment, without
    code, _, err = await flows.brain("run", str(flows.write("second")))
    assert code == 0
    assert "mailer" not in err
    _, out, _ = await flows.brain("deliveries", "--json")
    (row,) = json.loads(out)
    assert (row["receiver"], row["status"], row["attempts"]) == ("mailer", "open", 0)
    assert row["waits_for"].startswith("no active plugin 'mailer' listens to brain_run_finished here")
    flows.environment = having
    code, _, err = await flows.brain("run", str(flows.write("third")))
    assert code == 0, err
    assert "the mailer heard of first" in err
    assert {status for _, status, _ in await rows(db)} == {"done"}


async def test_a_retry_with_nothing_to_deliver_says_so(flows: Flows, db: Database) -> None:
    code, out, _ = await flows.brain("run", str(flows.write("first")), "--json")
    run_id = json.loads(out)["id"]
    assert (await flows.brain("deliveries", "retry", run_id))[:2] == (0, "nothing to deliver\n")
    code, out, err = await flows.brain("deliveries", "retry", "00000000")
    assert (code, out) == (1, "")
    assert "00000000" in err


DIES_IN_STEP = """
import os, signal
from brain_core.store.recorder import Recorder

async def die(self, end):
    os.kill(os.getpid(), signal.SIGKILL)

Recorder.finish_run = die
from brain_core.cli.main import main
main()
"""


async def test_a_run_that_the_sweep_ends_is_told_to_its_workflow_too(flows: Flows, db: Database) -> None:
    code, _, _ = await flows.brain("run", str(flows.write("first")), program=("-c", DIES_IN_STEP))
    assert code == -signal.SIGKILL
    code, _, err = await flows.brain("run", str(flows.write("second")))
    assert code == 0, err
    assert sorted(flows.told()) == ["first failed 1", "second success 1"]
    assert await rows(db) == [("first", "done", None), ("second", "done", None)]


async def test_an_on_finished_that_ends_every_process_is_given_up_after_three(flows: Flows, db: Database) -> None:
    code, _, _ = await flows.brain("run", str(flows.write("deadly", "os._exit(7)")))
    assert code == 7
    other = str(flows.write("other"))
    codes = [(await flows.brain("run", other))[0] for _ in range(5)]
    assert codes == [7, 7, 7, 0, 0]
    (row,) = await deliveries.list_deliveries(db)
    assert (row.workflow, row.status) == ("deadly", "failed")
    assert row.error == "given up: the process ended in each of 3 attempts to deliver it"
