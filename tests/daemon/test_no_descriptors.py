"""A daemon that has no file descriptor or process left to start a runner with: runs wait for one (G18)."""

from __future__ import annotations

import resource
from pathlib import Path
from uuid import UUID

from .conftest import House, Process


def _limit(pid: int, most: int) -> int:
    """Let a living process have no descriptor from `most` on; return what it was before."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
    return soft


def _open(pid: int) -> set[int]:
    return {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def _leave(pid: int, free: int) -> int:
    """Let a process have so many descriptors more than it has; return what the limit was before."""
    found = _open(pid)
    most = next(n for n in range(1_000) if len(set(range(n)) - found) == free)
    return _limit(pid, most)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def _said(daemon: Process, event: str) -> list[str]:
    return [line["event"] for line in daemon.lines if line["event"].startswith(event)]


async def _busy(house: House) -> tuple[Process, UUID]:
    """Start a daemon; return when it has all its connections, and a runner that is held."""
    daemon = await house.daemon()
    worker = await house.worker_of(daemon)
    held = await house.queue(house.flow("Held(name='held')", name="held"))
    await house.began("held", 1, daemon)
    await _beats(house, daemon, worker)
    return daemon, held


async def _beats(house: House, daemon: Process, worker: UUID | None) -> None:
    async def beat() -> int:
        return int((await house.sql("SELECT beat FROM brain.workers WHERE id = $1", worker))[0]["beat"])

    async def beaten() -> bool:
        return await beat() > before + 3

    before = await beat()
    await house.until(beaten, "it beats", daemon)


async def test_runs_wait_for_a_descriptor_and_can_be_cancelled(house: House) -> None:
    daemon, _ = await _busy(house)
    before = _leave(daemon.pid, 2)
    waits = await house.queue(house.flow("Note(name='waits')", name="waits"))
    cancelled = await house.queue(house.flow("Note(name='never')", name="never"))
    await house.until(lambda: _said(daemon, "no runner process can be started now"), "it says that it waits", daemon)
    assert (await house.brain("cancel", str(cancelled)))[0] == 0
    assert (await house.ended(cancelled, daemon)).status == "cancelled"
    assert (await house.run(waits)).status == "running"
    await _beats(house, daemon, await house.worker_of(daemon))
    _limit(daemon.pid, before)
    assert (await house.ended(waits, daemon)).status == "success"
    await house.until(lambda: _said(daemon, "runner processes can be started again"), "it says that it can", daemon)
    assert len(await _said(daemon, "no runner process")) == 1
    assert "never 1" not in house.journal


async def test_a_runner_that_nobody_holds_makes_room(house: House) -> None:
    daemon, held = await _busy(house)
    house.go("held")
    assert (await house.ended(held, daemon)).status == "success"
    # Too few for a second one, and enough when the first one's are free.
    before = _leave(daemon.pid, 4)
    other = await house.queue(house.flow("Note(name='other')", name="other"))
    assert (await house.ended(other, daemon)).status == "success"
    _limit(daemon.pid, before)
    assert await _said(daemon, "no runner process can be started now")


async def test_a_daemon_beats_as_soon_as_it_has_a_descriptor_for_it(house: House) -> None:
    daemon = await house.daemon(beat=2)
    worker = await house.worker_of(daemon)
    before = _leave(daemon.pid, 1)

    async def threads() -> bool:
        # Its own beat, because the thread has none: two intervals later.
        (row,) = await house.sql("SELECT beat FROM brain.workers WHERE id = $1", worker)
        return bool(row["beat"] > 1)

    await house.until(threads, "it beats without its thread", daemon)
    _limit(daemon.pid, before)
    await _beats(house, daemon, worker)
    assert all("brain-beat" not in line for line in daemon.log.splitlines())


async def test_a_zygote_without_descriptors_is_waited_for(house: House) -> None:
    # With a runner that it has made, it has opened all that it opens for itself.
    daemon, _ = await _busy(house)
    (zygote,) = (int(pid) for pid in _children(daemon.pid))
    before = _leave(zygote, 1)
    waits = await house.queue(house.flow("Note(name='waits')"))
    await house.until(lambda: _said(daemon, "no runner process can be started now"), "it says that it waits", daemon)
    assert (await house.run(waits)).status == "running"
    _limit(zygote, before)
    assert (await house.ended(waits, daemon)).status == "success"
