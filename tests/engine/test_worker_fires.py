"""What a worker fires it begins at once: nothing of it is lost, run twice, or more than there is room for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

import pytest

from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseUnreachable
from brain_core.run import PlannedStep, Run
from brain_core.store import daemon, fires, queue, runs, triggers
from brain_core.store.database import Database
from brain_core.store.fires import Fire, FireResult, Taker
from brain_core.store.queue import NewRun
from brain_core.store.triggers import NewTrigger

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def test_what_it_fires_it_begins_without_a_claim(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    fire = await _due(db, flow(""))
    [result] = await worker.fire(partial(fires.fire, db, [fire], NOON), 1)
    assert result.taken is not None
    assert (await _ended(db, result.taken.run_id)).status == "success"


async def test_without_room_it_is_queued(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    worker.concurrency = 1
    fired = [await _due(db, flow("", name=name)) for name in ("a", "b")]
    results = await worker.fire(partial(fires.fire, db, fired, NOON), 2)
    assert sorted(result.taken is None for result in results) == [False, True]
    [result] = await worker.fire(partial(fires.fire, db, [await _due(db, flow("", name="c"))], NOON), 1)
    assert result.taken is None
    await _work(worker)
    for name in ("a", "b", "c"):
        [row] = await fires.ledger(db, (await triggers.get(db, name)).id)
        assert row.run_id is not None
        assert (await _ended(db, row.run_id)).status == "success"


async def test_a_claim_that_meets_a_fire_begins_nothing_twice(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], tmp_path: Path
) -> None:
    body = f"""
    class Counts(Step):
        def run(self, ctx):
            with open({str(tmp_path / "journal")!r}, "a") as file:
                file.write("ran\\n")
    """
    worker = await _alive(db, new_worker())
    worker.concurrency = 50
    fire = await _due(db, flow(body, "Counts"))
    firing, go_on = await _committed(db, worker, fire)
    await _work(worker)
    # A claim now would find the run that the reply is about to tell of.
    other = await queue.enqueue(db, NewRun("other", str(flow("", name="other")), [PlannedStep("s0", "noop")]))
    assert await worker.fire(partial(fires.fire, db, [], NOON), 0) == []
    go_on.set()
    [result] = await firing
    assert result.run_id is not None
    for run_id in (result.run_id, other):
        assert (await _ended(db, run_id)).status == "success"
    await worker.finish()
    assert (tmp_path / "journal").read_text() == "ran\n"


async def test_a_lost_reply_is_found_by_the_next_claim(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    fire = await _due(db, flow(""))

    async def lost(taker: Taker) -> list[FireResult]:
        await fires.fire(db, [fire], NOON, taker)
        return await fires.fire(db, [fire], NOON, taker)

    assert await worker.fire(lost, 1) == []
    worker.start()
    assert (await _ended(db, fire.run_ids[0])).status == "success"


@pytest.mark.parametrize("answers", [True, False])
async def test_what_it_fires_while_it_stops_goes_back(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], answers: bool
) -> None:
    worker = await _alive(db, new_worker())
    fire = await _due(db, flow(""))
    committed, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(taker: Taker) -> list[FireResult]:
        results = await fires.fire(db, [fire], NOON, taker)
        committed.set()
        await go_on.wait()
        if not answers:
            raise DatabaseUnreachable("the reply is lost")
        return results

    worker.start()
    firing = asyncio.create_task(worker.fire(slowly, 1))
    await committed.wait()
    firing.cancel()
    with suppress(asyncio.CancelledError):
        await firing
    finishing = asyncio.ensure_future(worker.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    go_on.set()
    await asyncio.wait_for(finishing, 30)
    run = await runs.get(db, fire.run_ids[0])
    assert (run.status, run.steps) == ("queued", ())


async def test_a_claim_and_a_fire_together_take_no_more_than_there_is_room_for(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    worker.concurrency = 1
    body = """
    class Waits(Step):
        async def run(self, ctx):
            import asyncio

            await asyncio.Event().wait()
    """
    fire = await _due(db, flow(body, "Waits"))
    firing, go_on = await _committed(db, worker, fire)
    other = await _queue(db, flow("", name="other"))
    # There is room for one, and both want it.
    claiming = asyncio.create_task(worker._claim())
    await asyncio.sleep(0)
    go_on.set()
    [result] = await firing
    await claiming
    assert result.taken is not None
    assert (worker.in_hand, (await runs.get(db, other)).status) == (1, "queued")


async def test_a_fire_that_waits_for_a_claim_takes_what_room_is_left(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    worker.concurrency = 1
    fire = await _due(db, flow(""))
    await _queue(db, flow("", name="other"))
    # Both see room before either has the lock, and the claim gets it first.
    firing = asyncio.create_task(worker.fire(partial(fires.fire, db, [fire], NOON), 1))
    await asyncio.gather(worker._claim(), asyncio.sleep(0))
    [result] = await firing
    assert (worker.in_hand, result.taken) == (1, None)


async def test_a_lost_reply_is_noticed_beside_a_trigger_with_several_outcomes(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    lost, both = await _due(db, flow("", name="lost")), await _due(db, flow("", name="both"), overlap="allow")
    both = replace(both, fire_due=(NOON - timedelta(minutes=1), NOON), run_ids=(uuid4(), uuid4()))

    async def half(taker: Taker) -> list[FireResult]:
        await fires.fire(db, [lost], NOON, taker)
        return await fires.fire(db, [lost, both], NOON, taker)

    # Nothing else gives it a reason to claim.
    worker.look_again(queued=False)
    assert [result.run_id for result in await worker.fire(half, 2)] == [*both.run_ids]
    worker.start()
    assert (await _ended(db, lost.run_ids[0])).status == "success"


async def test_a_reply_that_is_lost_while_it_stops_leaves_nothing_running(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = await _alive(db, new_worker())
    fire = await _due(db, flow(""))
    committed, go_on = asyncio.Event(), asyncio.Event()

    async def repeated(taker: Taker) -> list[FireResult]:
        await fires.fire(db, [fire], NOON, taker)
        committed.set()
        await go_on.wait()
        return await fires.fire(db, [fire], NOON, taker)

    worker.start()
    firing = asyncio.create_task(worker.fire(repeated, 1))
    await committed.wait()
    finishing = asyncio.create_task(worker.finish())
    await asyncio.sleep(0)
    go_on.set()
    assert await firing == []
    await finishing
    assert (await runs.get(db, fire.run_ids[0])).status == "queued"


async def _alive(db: Database, worker: Worker) -> Worker:
    await daemon.beat(db, worker.identity, worker.concurrency, 0, 0.0, [])
    return worker


async def _committed(db: Database, worker: Worker, fire: Fire) -> tuple[asyncio.Task[list[FireResult]], asyncio.Event]:
    """Let a worker fire, and return when that is committed; the reply comes when the event is set."""
    committed, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(taker: Taker) -> list[FireResult]:
        results = await fires.fire(db, [fire], NOON, taker)
        committed.set()
        await go_on.wait()
        return results

    firing = asyncio.create_task(worker.fire(slowly, 1))
    await committed.wait()
    return firing, go_on


async def _due(db: Database, file: Path, overlap: Literal["skip", "allow"] = "skip") -> Fire:
    """Register a schedule that is due at noon, and return what is decided about it."""
    steps = [{"name": "s0", "type": "noop"}]
    new = NewTrigger(
        file.stem, "test", {}, file.stem, str(file), socket.gethostname(), {}, steps, next_due_at=NOON, overlap=overlap
    )
    row = await triggers.register(db, new, NOON - timedelta(hours=1))
    return Fire(row.id, row.revision, NOON, (NOON,), None, None)


async def _queue(db: Database, file: Path) -> UUID:
    new = NewRun(file.stem, str(file), [PlannedStep("s0", "noop")], host=socket.gethostname())
    return await queue.enqueue(db, new)


async def _work(worker: Worker) -> None:
    worker.start()
    worker.wake()


async def _ended(db: Database, run_id: UUID) -> Run:
    async with asyncio.timeout(150):
        while not (run := await runs.get(db, run_id)).final:  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.02)
    return run
