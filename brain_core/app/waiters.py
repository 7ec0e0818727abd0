"""Waiters: any number of callers that wait for the ends of runs, with one statement for all of them at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from brain_core.errors import DatabaseError, RunNotFound
from brain_core.store import runs

if TYPE_CHECKING:
    from brain_core.store.database import Database

LOOK_EVERY = 0.05
"""Seconds between two looks while anybody waits."""


class Waiters:
    """Looks for the ends of the runs that somebody waits for, and does nothing while nobody does."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: dict[UUID, list[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, run_id: UUID, timeout: float) -> None:  # noqa: ASYNC109
        """Return when the run has ended or is parked, or after `timeout` seconds.

        RunNotFound when it is not there, DatabaseError when the database cannot be asked.
        """
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(ended)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on(), name="brain-waiters")
        try:
            await asyncio.wait({ended}, timeout=timeout)
            if ended.done():
                ended.result()
        finally:
            ended.cancel()
            left = self._waiting.get(run_id)
            if left is not None and ended in left:
                left.remove(ended)
                if not left:
                    del self._waiting[run_id]

    async def close(self) -> None:
        """Let everybody go who waits, as if the time were over."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        for run_id in list(self._waiting):
            self._settle(run_id, None)

    async def _look_on(self) -> None:
        try:
            while self._waiting:
                try:
                    for run_id, there in await runs.over(self._db, list(self._waiting)):
                        self._settle(run_id, None if there else _not_there(run_id))
                except DatabaseError as error:
                    for run_id in list(self._waiting):
                        self._settle(run_id, error)
                if self._waiting:
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            self._looking = None

    def _settle(self, run_id: UUID, error: Exception | None) -> None:
        for ended in self._waiting.pop(run_id, ()):
            if ended.done():
                continue
            if error is None:
                ended.set_result(None)
            else:
                # One each: raised, an exception gets a traceback of its own.
                ended.set_exception(type(error)(str(error)))


def _not_there(run_id: UUID) -> RunNotFound:
    return RunNotFound(f"there is no run {run_id}; `brain history` lists them")
