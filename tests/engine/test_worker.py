"""A worker's own handling of runs: trouble with one stays there (G18), nothing claimed is lost or run twice (G17)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from brain_core.engine.events import Event, StepStarted
from brain_core.engine.sweep import worker_identity
from brain_core.engine.worker import Worker
from brain_core.run import PlannedStep, Run
from brain_core.store import daemon, queue, runs, workers
from brain_core.store.database import Database
from brain_core.store.queue import NewRun

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def _queue(db: Database, file: Path) -> UUID:
    planned = [PlannedStep("s0", "noop")]
    return await queue.enqueue(
        db, NewRun(workflow=file.stem, file=str(file), planned=planned, host=socket.gethostname())
    )


async def _work(worker: Worker) -> None:
    worker.start()
    worker.wake()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(150):
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
    other = worker_identity("daemon", 600.0)._replace(host="other")
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
            # Twice, where the worker was claiming already when it found the file missing.
            sql = "SELECT claim >= 1 AND status = 'queued' FROM brain.runs WHERE id = $1"
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
