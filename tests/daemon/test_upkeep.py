"""What daemons do by themselves: delete what is old enough, by one of them, and deliver what others left."""

from __future__ import annotations

from .conftest import House, Process


async def test_old_runs_go_by_the_daemon_that_is_there_the_longest(house: House) -> None:
    house.settings |= {"retention__days": "0.000001", "retention__keep_last": "0", "retention__keep_failed": "0"}
    first = await house.daemon()
    file = house.flow("Note(name='one')")
    for _ in range(3):
        await house.ended(await house.queue(file), first)
    # The next one looks when it starts, and it is not its work.
    second = await house.daemon()
    await house.ended(await house.queue(file), first, second)
    first.kill()
    assert await first.ended() == 0
    assert not _pruned(second)
    third = await house.daemon()
    assert await _count(house) == 4
    second.kill()
    assert await second.ended() == 0
    third.kill()
    assert await third.ended() == 0
    fourth = await house.daemon()

    async def pruned() -> bool:
        return await _count(house) == 1

    await house.until(pruned, "the last success alone is left", fourth)
    await house.until(lambda: _said(fourth), "it says so", fourth)


async def test_what_a_killed_process_left_undelivered_is_delivered(house: House) -> None:
    body = """
    def tell(run):
        note(f"told {run.status}")
    """
    run_id = await house.queue(house.flow("Note(name='one'), Held(name='two')", body=body, on_finished="tell"))
    first = await house.daemon()
    await house.began("two", 1, first)
    first.popen.kill()
    await first.ended()
    second = await house.daemon()
    assert (await house.ended(run_id, second)).status == "failed"

    async def told() -> bool:
        return "told failed" in house.journal

    await house.until(told, "its end is told", second)


def _pruned(process: Process) -> list[str]:
    return [line["event"] for line in process.lines if line["event"].startswith("pruned")]


async def _said(process: Process) -> list[str]:
    return _pruned(process)


async def _count(house: House) -> int:
    (row,) = await house.sql("SELECT count(*) AS n FROM brain.runs")
    count: int = row["n"]
    return count
