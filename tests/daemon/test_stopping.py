"""How a daemon stops when it is told to (G15)."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from .conftest import House, gone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_ends_with_0(house: House, number: int) -> None:
    daemon = await house.daemon()
    worker = await house.worker_of(daemon)
    daemon.kill(number)
    assert await daemon.ended(limit=45) == 0
    (row,) = await house.sql("SELECT stop_reason FROM brain.workers WHERE id = $1", worker)
    assert row["stop_reason"] == "ended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_that_is_stopped_while_it_starts_ends_with_0(house: House, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        daemon = house.spawn("daemon", database_url=f"postgresql://nobody@127.0.0.1:{port}/none")
        connection, _ = await asyncio.wait_for(asyncio.to_thread(silent.accept), 45)
        with connection:
            daemon.kill(number)
            assert await daemon.ended(limit=45) == 0
    assert daemon.log == ""


async def test_what_runs_finishes_and_nothing_new_starts(house: House) -> None:
    daemon = await house.daemon()
    running = await house.queue(house.flow("Held(name='one'), Note(name='two')"))
    await house.began("one", 1, daemon)
    daemon.kill()
    await _said(house, daemon, "stopping: waiting for 1 runs")
    waiting = await house.queue(house.flow("Note(name='late')", name="late"))
    house.go("one")
    assert await daemon.ended() == 0
    assert (await house.run(running)).status == "success"
    assert (await house.run(waiting)).status == "queued"
    assert "late 1" not in house.journal


async def test_a_run_is_cancelled_while_the_daemon_waits_for_it(house: House) -> None:
    daemon = await house.daemon()
    running = await house.queue(house.flow("Held(name='one')"))
    await house.began("one", 1, daemon)
    daemon.kill()
    await _said(house, daemon, "stopping: waiting for 1 runs")
    assert (await house.brain("cancel", str(running)))[0] == 0
    assert await daemon.ended() == 0
    assert (await house.run(running)).status == "cancelled"


async def test_grace_that_is_over_ends_the_step_and_says_so(house: House) -> None:
    daemon = await house.daemon("--grace", "0.5")
    running = await house.queue(house.flow("Note(name='one'), Shell(name='two')"))
    child = await house.began("two", 1, daemon)
    daemon.kill()
    assert await daemon.ended() == 0
    await gone(child)
    run = await house.run(running)
    assert run.status == "failed"
    assert run.error == ("interrupted in step 'two' (2 of 2): the daemon was stopped, and its grace of 0.5 s was over")
    assert [step.status for step in run.steps] == ["success", "interrupted"]


async def test_a_run_that_may_be_resumed_goes_back_to_the_queue(house: House) -> None:
    daemon = await house.daemon("--grace", "0")
    running = await house.queue(house.flow("Note(name='one'), Held(name='two')", on_interrupt="'resume'"))
    await house.began("two", 1, daemon)
    daemon.kill()
    assert await daemon.ended() == 0
    assert (await house.run(running)).status == "queued"
    (row,) = await house.sql("SELECT takeovers FROM brain.runs")
    assert row["takeovers"] == 0, "nothing has died"
    house.go("two")
    other = await house.daemon()
    assert (await house.ended(running, other)).status == "success"
    journal = [line.rsplit(" begins", 1)[0] for line in house.journal]
    assert journal == ["one 1", "two 1", "two 2", "two 2 ends"]


async def test_a_second_signal_means_now(house: House) -> None:
    daemon = await house.daemon()
    running = await house.queue(house.flow("Blocks(name='one')"))
    runner = await house.began("one", 1, daemon)
    daemon.kill()
    await _said(house, daemon, "stopping: waiting for 1 runs")
    daemon.kill()
    # A plain step that hears nothing has 10 s when it is cancelled; here it has none.
    assert await daemon.ended(limit=9) == 0
    await gone(runner)
    run = await house.run(running)
    assert run.status == "failed"
    assert run.error == "interrupted in step 'one' (1 of 1): the daemon was stopped at once"


async def _said(house: House, daemon, event: str) -> None:
    async def said() -> bool:
        return any(line["event"] == event for line in daemon.lines)

    await house.until(said, f"it says {event}", daemon)
