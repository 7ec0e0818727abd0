"""A file that hangs when it is looked at: its own runs wait, can be cancelled, and go on with the file as it is."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest

from brain_core.engine.carrying import Carrier
from brain_core.engine.deliver import Delivery
from brain_core.engine.file_threads import FileThreads
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Spawner
from brain_core.engine.sweep import worker_identity
from brain_core.engine.worker import Worker
from brain_core.run import PlannedStep, Run
from brain_core.store import daemon, queue, runs, workers
from brain_core.store.database import Database
from brain_core.store.queue import NewRun
from brain_core.testing import NoHooks

Answer = TypeVar("Answer")


class Away(FileThreads):
    """Threads whose calls about one file hang until it is back."""

    def __init__(self) -> None:
        super().__init__()
        self.file: Path | None = None
        self.back = threading.Event()
        self.hangs = asyncio.Event()
        self.asked = 0

    def ask(self, file: str, call: Callable[[], Answer]) -> asyncio.Future[Answer]:
        if file != str(self.file):
            return super().ask(file, call)
        self.asked += 1
        return super().ask(file, partial(self._hang, asyncio.get_running_loop(), call))

    def _hang(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Answer]) -> Answer:
        loop.call_soon_threadsafe(self.hangs.set)
        self.back.wait()
        return call()


@pytest.fixture
async def away() -> AsyncIterator[Away]:
    made = Away()
    yield made
    made.back.set()


@pytest.fixture
async def hanging_pool(spawner: Spawner, away: Away) -> AsyncIterator[RunnerPool]:
    pool = RunnerPool(spawner, RunnerSettings(), files=away)
    yield pool
    await pool.close()


@pytest.fixture
async def worker(db: Database, hanging_pool: RunnerPool, away: Away) -> AsyncIterator[Worker]:
    delivery = Delivery(db, _Nobody(), new_runner=lambda: None, time_limit=10)  # type: ignore[arg-type, return-value]
    me = worker_identity("daemon", 15.0)
    carrier = Carrier(db, me, runners=hanging_pool, hooks=NoHooks(), delivery=delivery, hear=lambda run, event: None)
    made = Worker(db, carrier, concurrency=4, files=away)
    made.start()
    yield made
    away.back.set()
    await made.let_go(at_once=True)
    await workers.settle(db, [me.id], "the test is over", [], died=False)


class _Nobody:
    receivers = ()

    async def deliver(self, receiver: str, run: Run) -> None:
        raise AssertionError


async def _queue(db: Database, worker: Worker, file: Path, host: str = socket.gethostname()) -> UUID:
    planned = [PlannedStep("s0", "noop")]
    run_id = await queue.enqueue(db, NewRun(workflow=file.stem, file=str(file), planned=planned, host=host))
    worker.wake()
    return run_id


async def _until(db: Database, run_id: UUID, condition: Callable[[Run], bool]) -> Run:
    async with asyncio.timeout(150):
        while not condition(run := await runs.get(db, run_id)):  # noqa: ASYNC110 - it waits for the database
            await asyncio.sleep(0.02)
    return run


async def _ended(db: Database, run_id: UUID) -> Run:
    return await _until(db, run_id, lambda run: run.final)


async def test_runs_of_a_warm_file_that_hangs_wait_and_see_what_was_changed(
    db: Database, worker: Worker, away: Away, flow: Callable[..., Path]
) -> None:
    file, other = flow("", name="hangs"), flow("", name="other")
    before = await _ended(db, await _queue(db, worker, file))
    away.file = file
    waits, cancelled = await _queue(db, worker, file), await _queue(db, worker, file)
    await away.hangs.wait()
    assert (await _ended(db, await _queue(db, worker, other))).status == "success"
    await _until(db, cancelled, lambda run: run.status == "running")
    worker.cancel(cancelled, "a test")
    assert (await _ended(db, cancelled)).status == "cancelled"
    file.write_text(file.read_text() + "# changed\n")
    away.back.set()
    run = await _ended(db, waits)
    assert (run.status, run.version != before.version) == ("success", True)


async def test_runs_of_other_hosts_whose_file_hangs_here_wait_alone(
    db: Database, worker: Worker, away: Away, flow: Callable[..., Path]
) -> None:
    await daemon.beat(db, worker_identity("daemon", 600.0)._replace(host="other"), 1, 0, 0.0, [])
    away.file = flow("", name="hangs")
    waits, cancelled = [await _queue(db, worker, away.file, host="other") for _ in range(2)]
    await away.hangs.wait()
    assert (await _ended(db, await _queue(db, worker, flow("", name="here")))).status == "success"
    worker.cancel(cancelled, "a test")
    assert (await _ended(db, cancelled)).status == "cancelled"
    away.back.set()
    assert (await _ended(db, waits)).status == "success"


async def test_a_file_of_another_host_that_comes_here_is_found_again(
    db: Database, worker: Worker, away: Away, flow: Callable[..., Path]
) -> None:
    await daemon.beat(db, worker_identity("daemon", 600.0)._replace(host="other"), 1, 0, 0.0, [])
    file = flow("", name="comes")
    text = file.read_text()
    file.unlink()
    run_id = await _queue(db, worker, file, host="other")
    async with asyncio.timeout(150):
        while not await _was_released(db, run_id):  # noqa: ASYNC110 - it waits for the database
            await asyncio.sleep(0.02)
    # The look that hangs is one, however often it is asked for, and it holds up nobody.
    away.file = file
    worker.look_again(queued=True)
    await away.hangs.wait()
    worker.look_again(queued=True)
    assert away.asked == 1
    assert (await _ended(db, await _queue(db, worker, flow("", name="here")))).status == "success"
    file.write_text(text)
    away.back.set()
    assert (await _ended(db, run_id)).status == "success"


async def _was_released(db: Database, run_id: UUID) -> bool:
    async with db.session() as session:
        sql = "SELECT claim >= 1 AND status = 'queued' FROM brain.runs WHERE id = $1"
        return bool(await session.connection.fetchval(sql, run_id))


async def test_a_runner_that_comes_too_late_is_given_back(
    hanging_pool: RunnerPool, away: Away, flow: Callable[..., Path], gone: Callable[..., Awaitable[None]]
) -> None:
    file = flow("")
    first = await hanging_pool.runner_for(file)
    away.file = file
    asking = asyncio.ensure_future(hanging_pool.runner_for(file))
    await away.hangs.wait()
    # Both in one turn of the loop: the look is done, and whoever asked for it is not there any more.
    ready = hanging_pool.ready(str(file))
    assert ready is not None
    ready.add_done_callback(lambda _: second.cancel())
    second = asyncio.ensure_future(hanging_pool.runner_for(file))
    away.back.set()
    await asyncio.gather(asking, second, ready, return_exceptions=True)
    assert second.cancelled()
    for runner in (first, asking.result(), ready.result()):
        assert runner is not None
        await runner.close()
    (pid,) = hanging_pool.pids
    file.write_text(file.read_text() + "# changed\n")
    fresh = await hanging_pool.runner_for(file)
    await gone(pid)
    await fresh.close()
