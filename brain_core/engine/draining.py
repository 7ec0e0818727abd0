"""How a daemon ends: what runs finishes while there is grace, and what is left is recorded as interrupted (G15)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from brain_core.engine.waiting import unless
from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseError
from brain_core.store import workers
from brain_core.store.database import Database

logger = logging.getLogger("brain.daemon")

LAST_WORDS = 5.0
"""Seconds that the database has for the last writes of a daemon."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What cuts the wait short: the wish to stop now, others who have given this worker up, and `grace` seconds."""

    at_once: asyncio.Event
    given_up: asyncio.Event
    grace: float | None


async def drain(db: Database, worker: Worker, receivers: list[str], stop: Stop) -> None:
    """Claim nothing more, wait for what runs, and end what is left."""
    if worker.in_hand:
        logger.info("stopping: waiting for %d runs", worker.in_hand)
    with suppress(TimeoutError):
        await asyncio.wait_for(_finish(worker, stop), stop.grace)
    left = worker.unfinished
    why = "the daemon was stopped at once"
    if not stop.at_once.is_set():
        why = f"the daemon was stopped, and its grace of {stop.grace or 0:g} s was over"
        await unless(stop.at_once, worker.let_go())
    await worker.let_go(at_once=True)
    with suppress(DatabaseError, TimeoutError):
        if left and not stop.given_up.is_set():
            await asyncio.wait_for(_record(db, worker, receivers, why), LAST_WORDS)
        else:
            await asyncio.wait_for(workers.stop(db, worker.identity.id), LAST_WORDS)


async def _finish(worker: Worker, stop: Stop) -> None:
    await unless(stop.at_once, unless(stop.given_up, worker.finish()))


async def _record(db: Database, worker: Worker, receivers: list[str], why: str) -> None:
    for run in await workers.settle(db, [worker.identity.id], why, receivers, died=False):
        logger.warning("interrupted, now %s", run.status, extra={"run": run.run_id, "workflow": run.workflow})
