"""PostgreSQL goes away under a daemon and comes back (G5, G17)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from brain_core.embedded import EmbeddedServer
from brain_core.store.database import Database
from brain_core.store.migrate import ensure_schema
from brain_core.store.runs import check_history

from .conftest import House, end_all, gone
from .plugin import install


@dataclass
class Server:
    """A server that is stopped at once, as by a crash, and started again."""

    inner: EmbeddedServer

    async def stop(self) -> None:
        pid = self.inner.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        await gone(pid)

    async def start(self) -> str:
        return await asyncio.to_thread(self.inner.ensure)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    # Not tmp_path: its length is near the limit of a socket, and as root nobody else may pass through it.
    home = Path(tempfile.mkdtemp(prefix="brain-away-", dir="/tmp"))
    inner = EmbeddedServer(home, 600.0)
    try:
        yield Server(inner)
    finally:
        inner.close()
        inner.stop()
        shutil.rmtree(home)


@pytest.fixture
async def house(server: Server, tmp_path: Path) -> AsyncIterator[House]:
    url = await server.start()
    async with await Database.open(url) as database:
        await ensure_schema(database)
        made = House(database, url, tmp_path)
        yield made
        end_all(made)
        assert await check_history(database) == []


async def test_work_goes_on_when_it_is_back_and_results_are_kept(house: House, server: Server) -> None:
    daemon = await house.daemon()
    held = await house.queue(house.flow("Held(name='one'), Note(name='two')"))
    await house.began("one", 1, daemon)
    load = house.flow("Note(name='load'), Note(name='more')", name="load")
    many = [await house.queue(load) for _ in range(20)]
    for _ in range(3):
        before = daemon.log.count("the database is away:")
        await server.stop()
        await _said(house, daemon, "the database is away:", before + 1)
        house.go("one")
        await server.start()
        runs = [await house.ended(run_id, daemon) for run_id in (held, *many)]
        assert {run.status for run in runs} == {"success"}
        assert all(step.attempt == 1 for run in runs for step in run.steps)
        # Or it would be away for it all the time.
        await _said(house, daemon, "the database is back", before + 1)
        many = [await house.queue(load) for _ in range(20)]
    for run_id in many:
        await house.ended(run_id, daemon)
    ends = [line for line in house.journal if line == "one 1 ends"]
    assert len(ends) == 1
    assert len([line for line in house.journal if line == "more 1"]) == 80
    daemon.kill()
    assert await daemon.ended() == 0
    # One line for each run that waited, not one for each time that it tried.
    assert len(daemon.lines) < 1000


async def test_two_that_could_not_beat_do_not_take_each_other_for_dead(house: House, server: Server) -> None:
    house.settings |= {"beat": "0.4", "lease": "5"}
    daemons = [await house.daemon("--concurrency", "1") for _ in range(2)]
    names = [await house.worker_of(daemon) for daemon in daemons]
    await server.stop()
    for daemon in daemons:
        await _said(house, daemon, "the database is away", 1)
    # Longer than a lease.
    await _passed(5.5)
    await server.start()
    for daemon in daemons:
        await _said(house, daemon, "the database is back", 1)
    beats = [await _beat(house, name) for name in names]

    async def have_beaten() -> bool:
        now = [await _beat(house, name) for name in names]
        return all(after >= before + 5 for before, after in zip(beats, now, strict=True))

    await house.until(have_beaten, "both go on", *daemons)
    assert [await house.worker_of(daemon) for daemon in daemons] == names
    for daemon in daemons:
        assert "given up" not in daemon.log


async def test_a_daemon_stops_while_the_database_is_away(house: House, server: Server) -> None:
    daemon = await house.daemon()
    await server.stop()
    await _said(house, daemon, "the database is away", 1)
    daemon.kill()
    assert await daemon.ended() == 0
    await server.start()


async def _beat(house: House, worker: object) -> int:
    (row,) = await house.sql("SELECT beat FROM brain.workers WHERE id = $1", worker)
    beat: int = row["beat"]
    return beat


async def _passed(seconds: float) -> None:
    """Let time pass that is itself the cause under test: an outage has to be longer than a lease."""
    await asyncio.sleep(seconds)


async def _said(house: House, daemon: object, text: str, times: int) -> None:
    async def said() -> bool:
        return daemon.log.count(text) >= times  # type: ignore[attr-defined]

    await house.until(said, f"it says {text}", daemon)  # type: ignore[arg-type]


async def test_a_query_of_a_step_waits_for_the_database(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(house, monkeypatch)
    daemon = await house.daemon()
    body = """
    class Asks(Step):
        async def run(self, ctx):
            note("asks 1 begins 1")
            while not (FOLDER / "go-asks").exists():
                await asyncio.sleep(0.01)
            asking = asyncio.ensure_future(ctx.query("keep_add", {"run": ctx.run_id, "text": "late"}))
            done, _ = await asyncio.wait({asking}, timeout=0.5)
            note(f"waits 1 begins {1 + len(done)}")
            await asking
            return await ctx.query("keep_all", {"run": ctx.run_id})
    """
    run_id = await house.queue(house.flow("Asks(name='a')", body=body))
    await house.began("asks", 1, daemon)
    await server.stop()
    house.go("asks")
    assert await house.began("waits", 1, daemon) == 1
    await server.start()
    run = await house.ended(run_id, daemon)
    assert (run.status, run.steps[0].output) == ("success", ["late"])
