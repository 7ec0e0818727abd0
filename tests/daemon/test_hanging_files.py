"""A file whose reading hangs, as on a file system that is away, holds up its own runs and nothing else (G18)."""

from __future__ import annotations

import os

from .conftest import House

# Its source beside it becomes a FIFO when it is loaded: whoever reads that again hangs until somebody writes.
HANGS = """
import beside
os.unlink(beside.__file__)
os.mkfifo(beside.__file__)
"""


async def test_a_file_that_hangs_holds_up_its_own_runs_only(house: House) -> None:
    daemon = await house.daemon()
    worker = await house.worker_of(daemon)
    (house.folder / "beside.py").write_text("")
    hangs = house.flow("Note(name='hangs')", name="hangs", body=HANGS)
    waits, cancelled = await house.queue(hangs), await house.queue(hangs)

    async def is_fifo() -> bool:
        return (house.folder / "beside.py").is_fifo()

    await house.until(is_fifo, "the file is loaded", daemon)
    # Four of the same folder, so that nobody is served by a thread that happened to be free.
    others = [await house.queue(house.flow(f"Note(name='n{at}')", name=f"other{at}")) for at in range(4)]
    for run in others:
        assert (await house.ended(run, daemon)).status == "success"
    assert (await house.brain("cancel", str(cancelled)))[0] == 0
    assert (await house.ended(cancelled, daemon)).status == "cancelled"
    assert (await house.run(waits)).status == "running"
    (row,) = await house.sql("SELECT beat FROM brain.workers WHERE id = $1", worker)

    async def beats() -> bool:
        (now,) = await house.sql("SELECT beat FROM brain.workers WHERE id = $1", worker)
        return bool(now["beat"] > row["beat"])

    await house.until(beats, "it beats on", daemon)
    assert "hangs 1" not in house.journal

    # Opened without waiting: there is a reader, or this fails.
    os.close(os.open(house.folder / "beside.py", os.O_WRONLY | os.O_NONBLOCK))
    assert (await house.ended(waits, daemon)).status == "success"
    daemon.kill()
    assert await daemon.ended() == 0


async def test_a_daemon_ends_while_a_file_hangs(house: House) -> None:
    daemon = await house.daemon("--grace", "0")
    (house.folder / "beside.py").write_text("")
    waits = await house.queue(house.flow("Note(name='hangs')", name="hangs", body=HANGS))

    async def is_fifo() -> bool:
        return (house.folder / "beside.py").is_fifo()

    await house.until(is_fifo, "the file is loaded", daemon)
    daemon.kill()
    assert await daemon.ended() == 0
    assert (await house.run(waits)).status in ("queued", "failed")
