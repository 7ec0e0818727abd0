"""A worker's own handling of runs: trouble with one stays there (G18), nothing claimed is lost or run twice (G17)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from brain_core.engine.carrying import Carrier
from brain_core.engine.deliver import Delivery
from brain_core.engine.events import Event, StepStarted
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.sweep import worker_identity
from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseUnreachable
from brain_core.run import PlannedStep, Run
from brain_core.store import daemon, fires, queue, runs, triggers, workers
from brain_core.store.database import Database
from brain_core.store.fires import Fire, FireResult, Taker
from brain_core.store.queue import NewRun
from brain_core.store.triggers import NewTrigger
from brain_core.testing import NoHooks

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def new_worker(db: Database, pool: RunnerPool) -> AsyncIterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(hear: Callable[[str, Event], None] = lambda run, event: None, runners: Any = None) -> Worker:
        delivery = Delivery(db, _Nobody(), new_runner=lambda: None, time_limit=10)  # type: ignore[arg-type, return-value]
        me = worker_identity("daemon", 15.0)
        carrier = Carrier(db, me, runners=runners or pool, hooks=NoHooks(), delivery=delivery, hear=hear)
        worker = Worker(db, carrier, concurrency=4)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        await worker.let_go(at_once=True)
        await workers.settle(db, [worker.identity.id], "the test is over", [], died=False)


class _Nobody:
    receivers = ()

    async def deliver(self, receiver: str, run: Run) -> None:
        raise AssertionError


async def _queue(db: Database, file: Path) -> UUID:
    planned = [PlannedStep("s0", "noop")]
    return await queue.enqueue(
        db, NewRun(workflow=file.stem, file=str(file), planned=planned, host=socket.gethostname())
    )


async def _work(worker: Worker) -> None:
    worker.start()
    worker.wake()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(45):
        while not await condition():  # noqa: ASYNC110 - what it waits for is in the database
            await asyncio.sleep(0.02)


async def _ended(db: Database, run_id: UUID) -> Run:
    async def final() -> bool:
        return (await runs.get(db, run_id)).final

    await _until(final)
    return await runs.get(db, run_id)


async def test_a_bug_in_the_handling_of_a_run_ends_that_run(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    bad, good = await _queue(db, flow("", name="bad")), await _queue(db, flow("", name="good"))

    def hear(run_id: str, event: Event) -> None:
        if run_id == str(bad) and isinstance(event, StepStarted):
            raise ZeroDivisionError("a bug")

    await _work(new_worker(hear))
    assert (await _ended(db, good)).status == "success"
    run = await _ended(db, bad)
    assert run.status == "failed"
    assert run.error == "brain-core could not carry this run to its end: ZeroDivisionError: a bug"


async def test_a_run_whose_end_the_database_refuses_is_not_run_again(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], tmp_path: Path
) -> None:
    body = f"""
    class Counts(Step):
        def run(self, ctx):
            with open({str(tmp_path / "journal")!r}, "a") as file:
                file.write("ran\\n")
    """
    async with db.session() as session:
        await session.connection.execute(
            "ALTER TABLE brain.runs ADD CONSTRAINT no_end CHECK (workflow_name <> 'bad' OR ended_at IS NULL)"
        )
    bad = await _queue(db, flow(body, "Counts", name="bad"))
    worker = new_worker()
    await _work(worker)
    goods = [await _queue(db, flow("", name=f"good{number}")) for number in range(3)]
    for run_id in goods:
        worker.wake()
        assert (await _ended(db, run_id)).status == "success"

    async def free() -> bool:
        return not worker.in_hand

    await _until(free)
    worker.wake()
    last = await _queue(db, flow("", name="last"))
    worker.wake()
    assert (await _ended(db, last)).status == "success"
    assert (tmp_path / "journal").read_text() == "ran\n"
    assert (await runs.get(db, bad)).status == "running"
    assert worker.unfinished == 1
    async with db.session() as session:
        await session.connection.execute("ALTER TABLE brain.runs DROP CONSTRAINT no_end")


async def test_what_is_claimed_while_the_worker_stops_goes_back(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    run_id = await _queue(db, flow(""))
    worker = new_worker()
    async with db.transaction() as session:
        # The claim waits for the row of the worker, which somebody else holds.
        await queue.claim(db, worker.identity, 1, known=[])
        await queue.release(db, worker.identity.id, [(run_id, 1)])
        await session.connection.execute("SELECT FROM brain.workers FOR UPDATE")
        await _work(worker)
        await _until(lambda: _waits(db))
        finishing = asyncio.ensure_future(worker.finish())
        await asyncio.sleep(0)
        assert not finishing.done()
    await asyncio.wait_for(finishing, 30)
    run = await runs.get(db, run_id)
    assert (run.status, run.steps) == ("queued", ())


async def test_a_claim_whose_reply_was_lost_is_taken_up(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
) -> None:
    worker = new_worker()
    lost = await _queue(db, flow(""))
    claimed = await queue.claim(db, worker.identity, 1, known=[])
    assert [one.run_id for one in claimed] == [lost]
    await _work(worker)
    assert (await _ended(db, lost)).status == "success"


async def test_a_run_waits_for_its_host_only_while_a_worker_lives_there(
    db: Database, new_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    other = worker_identity("daemon", 15.0)._replace(host="other")
    await daemon.beat(db, other, 1, 0, 0.0, [])
    planned = [PlannedStep("s0", "noop")]
    there, gone = [
        await queue.enqueue(db, NewRun(workflow="w", file=str(tmp_path / f"{host}.py"), planned=planned, host=host))
        for host in ("other", "gone")
    ]
    worker = new_worker()
    await _work(worker)
    run = await _ended(db, gone)
    assert (run.status, run.steps) == ("failed", ())
    assert "gone.py" in str(run.error)

    async def released() -> bool:
        async with db.session() as session:
            sql = "SELECT claim = 1 AND status = 'queued' FROM brain.runs WHERE id = $1"
            return bool(await session.connection.fetchval(sql, there))

    await _until(released)
    worker.look_again(queued=True)
    await workers.stop(db, other.id)
    assert await queue.living_hosts(db, ["other", "gone"]) == {"other"}, "it may be about to start again"
    async with db.session() as session:
        await session.connection.execute("UPDATE brain.workers SET stopped_at = stopped_at - interval '15 minutes'")
    worker.look_again(queued=True)
    run = await _ended(db, there)
    assert run.status == "failed"
    assert "other.py" in str(run.error)


async def _waits(db: Database) -> bool:
    async with db.session() as session:
        return bool(
            await session.connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock')"
            )
        )


@pytest.mark.parametrize("now", ["raise ValueError('half saved')", None])
async def test_a_run_that_is_resumed_with_a_file_that_cannot_be_loaded_is_parked(
    db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], now: str | None
) -> None:
    body = """
    class Waits(Step):
        async def run(self, ctx):
            await asyncio.Event().wait()
    """
    file = flow(body, "Ok", "Waits", on_interrupt="'resume'")
    run_id = await _queue(db, file)
    reached = asyncio.Event()

    def hear(_: str, event: Event) -> None:
        if isinstance(event, StepStarted) and event.position == 1:
            reached.set()

    first = new_worker(hear)
    await _work(first)
    await reached.wait()
    await first.let_go(at_once=True)
    settled = await workers.settle(db, [first.identity.id], "it died", [])
    assert [run.status for run in settled] == ["queued"]
    if now is None:
        file.unlink()
    else:
        file.write_text(now)
    await _work(new_worker())

    async def parked() -> bool:
        return (await runs.get(db, run_id)).status in ("parked", "failed")

    await _until(parked)
    run = await runs.get(db, run_id)
    assert run.status == "parked"
    assert [(step.name, step.status) for step in run.steps] == [("s0", "success"), ("s1", "interrupted")]
    async with db.session() as session:
        reason = await session.connection.fetchval("SELECT parked_reason FROM brain.runs WHERE id = $1", run_id)
    assert str(file) in reason
    assert reason.endswith("; put the file back as it was when the run began, or cancel the run")


class TestFiring:
    """What a worker fires it begins at once, and nothing of it is lost or run twice."""

    async def test_what_it_fires_it_begins_without_a_claim(
        self, db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
    ) -> None:
        worker = await _alive(db, new_worker())
        fire = await _due(db, flow(""))
        [result] = await worker.fire(partial(fires.fire, db, [fire], NOON), 1)
        assert result.taken is not None
        assert (await _ended(db, result.taken.run_id)).status == "success"

    async def test_without_room_it_is_queued(
        self, db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
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
        self, db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], tmp_path: Path
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
        committed, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(taker: Taker) -> list[FireResult]:
            results = await fires.fire(db, [fire], NOON, taker)
            committed.set()
            await go_on.wait()
            return results

        firing = asyncio.create_task(worker.fire(slowly, 1))
        await committed.wait()
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
        self, db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path]
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
        self, db: Database, new_worker: Callable[..., Worker], flow: Callable[..., Path], answers: bool
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


async def _alive(db: Database, worker: Worker) -> Worker:
    await daemon.beat(db, worker.identity, worker.concurrency, 0, 0.0, [])
    return worker


async def _due(db: Database, file: Path) -> Fire:
    """Register a schedule that is due at noon, and return what is decided about it."""
    steps = [{"name": "s0", "type": "noop"}]
    new = NewTrigger(file.stem, "test", {}, file.stem, str(file), socket.gethostname(), {}, steps, next_due_at=NOON)
    row = await triggers.register(db, new, NOON - timedelta(hours=1))
    return Fire(row.id, row.revision, NOON, (NOON,), None, None)
