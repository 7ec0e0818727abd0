"""What a daemon does beside its runs, one thing at a time and never in the way of what is due: it delivers ends of runs
that others have left undelivered, and deletes what is old enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from brain_core.engine.deliver import Delivery
from brain_core.errors import DatabaseError
from brain_core.store import daemon as store
from brain_core.store import retention
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity

logger = logging.getLogger("brain.upkeep")

PRUNE_EVERY = 24 * 3600.0
ASK_AGAIN = 3600.0
"""Seconds before a daemon asks again whether it is the one that prunes."""
BATCH = 200
PAUSE = 0.05
"""Seconds between two batches, for others to get at the database."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The rules of retention; the settings `retention` explain them."""

    days: float
    keep_last: int
    keep_failed: float


class Upkeep:
    """For one daemon; used from one event loop. `wake` returns at once; the work goes on beside the caller's."""

    def __init__(
        self, db: Database, delivery: Delivery, kept: Kept, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._delivery = delivery
        self._kept = kept
        self._clock = clock
        self._prune_at = clock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wake(self, worker: WorkerIdentity, *, deliver: bool) -> None:
        """Do what is to be done: deliver what was left behind, when a beat has seen some; prune, when it is time."""
        if deliver:
            self._begin("deliver", self._deliver(worker))
        if self._clock() >= self._prune_at:
            self._prune_at = self._clock() + ASK_AGAIN
            self._begin("prune", self._prune(worker))

    async def close(self) -> None:
        """Break off what goes on; all of it can be done again."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def finished(self) -> None:
        """Return when nothing goes on."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._tasks:
            work.close()
            return
        task = self._tasks[name] = asyncio.create_task(self._alone(work), name=f"brain-{name}")
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseError as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("a bug; it is tried again")

    async def _deliver(self, worker: WorkerIdentity) -> None:
        for problem in await self._delivery.deliver_left_behind(worker):
            logger.warning("%s", problem)

    async def _prune(self, worker: WorkerIdentity) -> None:
        # One of them is enough: two would do each other no harm, but no good either.
        if not await store.is_eldest(self._db, worker.id):
            return
        self._prune_at = self._clock() + PRUNE_EVERY
        kept, runs = self._kept, 0
        try:
            async for gone in retention.prune_runs(self._db, kept.days, kept.keep_last, kept.keep_failed, BATCH):
                runs += gone
                await asyncio.sleep(PAUSE)
        finally:
            if runs:
                logger.info("pruned %d runs (settings retention)", runs)
        await retention.prune_workers(self._db, kept.days)
