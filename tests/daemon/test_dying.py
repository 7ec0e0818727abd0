"""Daemons that are killed or stopped, and who takes over (G9, G10, G11, G12, G16, G19)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from brain_core.engine.sweep import worker_identity
from brain_core.store import daemon as store
from brain_core.store import queue, workers

from .conftest import House, Process, gone


async def test_a_killed_daemon_takes_its_children_with_it_and_its_successor_ends_the_run(house: House) -> None:
    # Longer than anybody waits here: who took the run over did not wait for the end of the lease.
    house.settings |= {"lease": "600"}
    daemon = await house.daemon()
    running = await house.queue(house.flow("Note(name='one'), Shell(name='two')"))
    child = await house.began("two", 1, daemon)
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    await gone(child)
    other = await house.daemon()
    run = await house.ended(running, other)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.startswith("interrupted in step 'two' (2 of 2): the process that ran it (pid ")
    assert [step.status for step in run.steps] == ["success", "interrupted"]


async def test_a_run_goes_on_where_it_was_and_finished_steps_do_not_run_again(house: House) -> None:
    file = house.flow("Note(name='one'), Held(name='two'), Note(name='three')", on_interrupt="'resume'")
    daemon = await house.daemon()
    running = await house.queue(file)
    runner = await house.began("two", 1, daemon)
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    await gone(runner)
    house.go("two")
    run = await house.ended(running, await house.daemon())
    assert run.status == "success"
    assert [(step.name, step.attempt, step.status) for step in run.steps] == [
        ("one", 1, "success"),
        ("two", 1, "interrupted"),
        ("two", 2, "success"),
        ("three", 1, "success"),
    ]
    assert [line for line in house.journal if "begins" not in line] == ["one 1", "two 2 ends", "three 1"]


async def test_a_run_whose_file_has_changed_is_parked_and_resumed_when_it_is_back(house: House) -> None:
    file = house.flow("Note(name='one'), Held(name='two')", on_interrupt="'resume'")
    source = file.read_text()
    daemon = await house.daemon()
    running = await house.queue(file)
    runner = await house.began("two", 1, daemon)
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    await gone(runner)
    file.write_text(source + "# changed\n")
    other = await house.daemon()
    run = await house.ended(running, other)
    assert run.status == "parked"
    (row,) = await house.sql("SELECT parked_reason FROM brain.runs")
    assert row["parked_reason"] == f"{file} has changed since the run began; put it back, or cancel the run"
    assert run.error == row["parked_reason"]
    shown = (await house.brain("show"))[1]
    assert (
        f"\nerror     {run.error}\nnext      let it go on: brain resume-run {run.short_id}, or end it: brain cancel "
        in shown
    )
    assert f"run {run.short_id}: parked: {run.error}" in (await house.brain("logs"))[1]
    file.write_text(source)
    house.go("two")
    assert (await house.brain("resume-run", str(running)))[0] == 0
    assert (await house.ended_after_park(running, other)).status == "success"
    assert house.journal.count("one 1") == 1


async def test_a_run_that_kills_its_daemons_is_parked_and_a_person_decides(house: House) -> None:
    file = house.flow("Kills(name='one')", on_interrupt="'resume'")
    running = await house.queue(file)
    for _ in range(3):
        daemon = house.spawn("daemon")
        _name(house, daemon)
        assert await daemon.ended() == -signal.SIGKILL
        # Or the next one's runner would find it, and nobody there.
        (house.folder / "daemon").unlink()
    daemon = await house.daemon()
    _name(house, daemon)
    run = await house.ended(running, daemon)
    assert run.status == "parked"
    (row,) = await house.sql("SELECT parked_reason, takeovers FROM brain.runs")
    assert row["takeovers"] == 3
    assert row["parked_reason"].startswith("its worker died 3 times, the last time interrupted in step 'one'")
    assert house.journal == ["one 1", "one 2", "one 3"]

    assert (await house.brain("resume-run", str(running)))[0] == 0

    async def again() -> bool:
        return len(house.journal) == 4

    await house.until(again, "it runs again")
    assert await daemon.ended() == -signal.SIGKILL
    # It sweeps first, as every command that writes: whoever had the run is dead.
    code, out = await house.brain("cancel", str(running), "--json")
    assert (code, json.loads(out)["answer"]) == (0, "cancelled")


async def test_a_parked_run_can_be_cancelled(house: House) -> None:
    running = await house.queue(house.flow("Note(name='one')"))
    me = worker_identity("daemon", 15.0)
    (claimed,) = await queue.claim(house.db, me, 1, known=[])
    await store.park(house.db, me.id, running, claimed.claim, "a test")
    await workers.stop(house.db, me.id)
    code, out = await house.brain("cancel", str(running), "--json")
    assert (code, json.loads(out)["answer"]) == (0, "cancelled")
    assert (await house.brain("resume-run", str(running)))[0] == 1


async def test_a_stopped_daemon_loses_its_runs_and_writes_nothing_about_them(house: House) -> None:
    house.settings |= {"lease": "6"}
    first = await house.daemon("--concurrency", "1")
    old = await house.worker_of(first)
    file = house.flow("Note(name='one'), Held(name='two')", on_interrupt="'resume'")
    running = await house.queue(file)
    runner = await house.began("two", 1, first)
    first.kill(signal.SIGSTOP)
    second = await house.daemon()
    # Its runner ends the step before the lease is over, so that no two run at once.
    await house.began("two", 2, second)
    await gone(runner, limit=0)
    assert house.journal[-1].startswith("two 2 begins")
    house.go("two")
    run = await house.ended(running, second)
    assert run.status == "success"
    before = await house.sql("SELECT * FROM brain.step_runs ORDER BY position, attempt")

    first.kill(signal.SIGCONT)

    async def reborn() -> bool:
        now = await house.worker_of(first)
        return now is not None and now != old

    await house.until(reborn, "it goes on as a new worker", first)
    assert await house.sql("SELECT * FROM brain.step_runs ORDER BY position, attempt") == before
    assert (await house.run(running)).status == "success"
    second.kill()
    assert await second.ended() == 0
    again = await house.ended(await house.queue(house.flow("Note(name='again')", name="again")), first)
    assert again.status == "success", "it works on"
    first.kill()
    assert await first.ended() == 0


@pytest.mark.parametrize("on_interrupt", ["resume", "fail"])
async def test_what_a_lone_daemon_slept_through_is_interrupted(house: House, on_interrupt: str) -> None:
    house.settings |= {"lease": "6"}
    daemon = await house.daemon()
    file = house.flow("Note(name='one'), Held(name='two')", on_interrupt=repr(on_interrupt))
    running = await house.queue(file)
    runner = await house.began("two", 1, daemon)
    daemon.kill(signal.SIGSTOP)
    await gone(runner)
    daemon.kill(signal.SIGCONT)
    if on_interrupt == "resume":
        await house.began("two", 2, daemon)
        house.go("two")
    run = await house.ended(running, daemon)
    attempts = [(step.name, step.status) for step in run.steps]
    assert attempts[:2] == [("one", "success"), ("two", "interrupted")]
    if on_interrupt == "resume":
        assert (run.status, attempts[2:]) == ("success", [("two", "success")])
    else:
        assert run.status == "failed"
        assert run.error is not None
        assert "interrupted in step 'two' (2 of 2): the runner process" in run.error
    daemon.kill()
    assert await daemon.ended() == 0


async def test_a_living_brain_run_is_left_alone_and_a_killed_one_is_not(house: House) -> None:
    daemon = await house.daemon()
    file = house.flow("Held(name='one')")
    lives = house.spawn("run", str(file))
    await house.began("one", 1, lives)
    dies = house.spawn("run", str(house.flow("Held(name='other')", name="other")))
    await house.began("other", 1, dies)
    dies.kill(signal.SIGKILL)
    await dies.ended()
    rows = await house.sql("SELECT id, workflow_name FROM brain.runs")
    ids = {row["workflow_name"]: row["id"] for row in rows}
    assert (await house.ended(ids["other"], daemon)).status == "failed"
    assert (await house.run(ids["flow"])).status == "running"
    house.go("one")
    assert await lives.ended() == 0
    assert (await house.run(ids["flow"])).status == "success"


async def test_a_runner_that_dies_harms_its_own_runs_only(house: House) -> None:
    daemon = await house.daemon()
    exits = "class Exits(Step):\n    async def run(self, ctx):\n        os._exit(3)\n"
    bad = await house.queue(house.flow("Exits(name='one')", name="bad", body=exits))
    held = await house.queue(house.flow("Held(name='held')", name="held"))
    run = await house.ended(bad, daemon)
    assert run.status == "failed"
    assert "exit code 3" in (run.error or "")
    house.go("held")
    assert (await house.ended(held, daemon)).status == "success"


async def test_a_zygote_that_dies_is_replaced(house: House) -> None:
    daemon = await house.daemon()
    first = await house.ended(await house.queue(house.flow("Note(name='one')")), daemon)
    assert first.status == "success"
    (zygote,) = (int(pid) for pid in _children(daemon.pid))
    os.kill(zygote, signal.SIGKILL)
    await gone(zygote)
    second = await house.ended(await house.queue(house.flow("Note(name='two')", name="second")), daemon)
    assert second.status == "success"


def _name(house: House, daemon: Process) -> None:
    """Tell the steps of kind Kills whom they kill; whoever finds the file finds all of it."""
    (house.folder / "daemon.new").write_text(str(daemon.pid))
    (house.folder / "daemon.new").rename(house.folder / "daemon")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
