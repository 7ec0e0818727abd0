"""Live output: in order, once, fenced, bounded."""

from __future__ import annotations

from typing import Any

from brain_core.store import live, queue, workers
from brain_core.store.database import Database
from brain_core.store.live import Line


async def _run(db: Database, make: Any) -> tuple[Any, Any]:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    return recorder.worker.id, begun.run_id


async def test_lines_are_read_in_their_order_and_from_where_one_has_come_to(db: Database, make: Any) -> None:
    me, run = await _run(db, make)
    await live.append(db, me, [])
    lines = [Line(run, 1, number, 0, f"line {number}\0\n") for number in (1, 2, 3)]
    for _ in range(2):
        await live.append(db, me, lines[:2])
    await live.append(db, me, lines)
    events = await live.read(db, run)
    assert [(event.text, event.position, event.kind) for event in events] == [
        (f"line {number}\\x00\n", 0, "live") for number in (1, 2, 3)
    ]
    assert [event.text for event in await live.read(db, run, events[0].seq, 1)] == ["line 2\\x00\n"]


async def test_lines_of_a_later_claim_come_later(db: Database, make: Any) -> None:
    me, run = await _run(db, make)
    await live.append(db, me, [Line(run, 1, 70_000, 0, "before")])
    await queue.release(db, me, [(run, 1)])
    [claimed] = await queue.claim(db, again := make.worker(), 1)
    await live.append(db, again.id, [Line(run, claimed.claim, 1, 0, "after")])
    assert [event.text for event in await live.read(db, run)] == ["before", "after"]


async def test_who_lost_a_run_says_nothing_about_it(db: Database, make: Any) -> None:
    (me, mine), (other, theirs) = await _run(db, make), await _run(db, make)
    await live.append(db, me, [Line(mine, 1, 1, 0, "mine"), Line(theirs, 1, 1, 0, "x"), Line(mine, 2, 1, 0, "x")])
    await workers.settle(db, [other], "gone", [])
    await live.append(db, other, [Line(theirs, 1, 1, 0, "x")])
    assert [event.text for event in await live.read(db, mine)] == ["mine"]
    assert await live.read(db, theirs) == []


async def test_what_is_too_much_is_cut_once_and_said(db: Database, make: Any) -> None:
    me, run = await _run(db, make)
    _, other = me, make.start()
    await make.recorder(db, worker=make.worker(id=me)).start_run(other)

    async def say(*lines: Line) -> list[tuple[str, str]]:
        await live.append(db, me, lines, max_bytes=10)
        return [(event.kind, event.text) for event in await live.read(db, run)]

    assert await say(Line(run, 1, 1, 0, "ä" * 4)) == [("live", "ä" * 4)]
    assert (await say(Line(run, 1, 2, 0, "xy")))[1:] == [("live", "xy")], "ten bytes are not too many"
    assert (await say(Line(run, 1, 3, 0, "z"), Line(run, 1, 4, 0, "z")))[2:] == [("cut", "")], "eleven are"
    assert len(await say(Line(run, 1, 5, 0, "z"), Line(other.run_id, 1, 1, 0, "more"))) == 3
    assert [event.text for event in await live.read(db, other.run_id)] == ["more"]
    assert (await say(Line(run, 1, 3, 0, "z"), Line(run, 1, 4, 0, "z")))[2:] == [("cut", "")]


async def test_they_go_with_their_run(db: Database, make: Any) -> None:
    me, run = await _run(db, make)
    await live.append(db, me, [Line(run, 1, 1, 0, "x")])
    await workers.settle(db, [me], "gone", [])
    await make.sql(db, "DELETE FROM brain.runs")
    assert await make.sql(db, "SELECT FROM brain.run_events") == []
