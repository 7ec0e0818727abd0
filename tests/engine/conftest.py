"""Runner processes for the tests of this room; each is ended at the end of its test."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from brain_core.engine.carrying import Carrier
from brain_core.engine.deliver import Delivery
from brain_core.engine.events import Event
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Preparation, Spawner
from brain_core.engine.sweep import worker_identity
from brain_core.engine.worker import Worker
from brain_core.run import Run
from brain_core.store import workers
from brain_core.store.database import Database
from brain_core.testing import NoHooks

HEAD = """
import asyncio, ctypes, os, signal, subprocess, sys, threading, time
from pathlib import Path
from brain_core import FunctionStep, Step, Workflow

class Ok(Step):
    async def run(self, ctx):
        return os.getpid()
"""


@pytest.fixture
def flow(tmp_path: Path) -> Callable[..., Path]:
    """Write a workflow file: the body, then a workflow of the named step classes, one step each."""

    def write(body: str, *classes: str, name: str = "flow", **more: str) -> Path:
        steps = ", ".join(f"{kind}(name='s{at}')" for at, kind in enumerate(classes or ("Ok",)))
        given = "".join(f", {key}={value}" for key, value in more.items())
        file = tmp_path / f"{name}.py"
        file.write_text(f"{HEAD}{dedent(body)}\nworkflow = Workflow(name='{name}', steps=[{steps}]{given})\n")
        return file

    return write


@pytest.fixture
def fifo(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / name
        os.mkfifo(path)
        return path

    return make


@pytest.fixture
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner(Preparation())
    yield spawner
    await spawner.close()


@pytest.fixture
async def pools(spawner: Spawner) -> AsyncIterator[Callable[..., RunnerPool]]:
    """Make pools with settings of the test's own."""
    made: list[RunnerPool] = []

    def make(hear: Callable[[str, str], None] = lambda file, text: None, **settings: float) -> RunnerPool:
        pool = RunnerPool(spawner, RunnerSettings(**settings), hear)  # type: ignore[arg-type]
        made.append(pool)
        return pool

    yield make
    for pool in made:
        await pool.close()


@pytest.fixture
def pool(pools: Callable[..., RunnerPool]) -> RunnerPool:
    return pools()


@pytest.fixture
def gone() -> Callable[..., Awaitable[None]]:
    """Wait until a process has ended; fail when it goes on."""

    def wait(pid: int, limit: float) -> bool:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([fd], [], [], limit)[0])
        finally:
            os.close(fd)

    async def wait_for_end(pid: int, limit: float = 60.0) -> None:
        if not await asyncio.to_thread(wait, pid, limit):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"process {pid} still runs after {limit:g} s")

    return wait_for_end


@pytest.fixture
def told() -> Callable[[Path, asyncio.Future[Any]], Awaitable[str]]:
    """Read what is written into a fifo while a task goes on; the task's error when it ends before."""

    async def read(path: Path, task: asyncio.Future[Any]) -> str:
        reading = asyncio.ensure_future(asyncio.to_thread(path.read_text))
        await asyncio.wait({reading, task}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            with suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            if not await reading:
                task.result()
                pytest.fail("the task ended before it said anything")
        return await reading

    return read


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
