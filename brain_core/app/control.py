"""What people do to runs and daemons from any process: cancel, resume, follow, look at the daemons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from brain_core.app.following import in_order
from brain_core.engine.identity import ProcessIdentity, is_dead
from brain_core.errors import BrainError
from brain_core.run import FINAL, PlannedStep, Run, StepRun
from brain_core.store import daemon, live, queue, runs

if TYPE_CHECKING:
    from brain_core.store.database import Database

FRESH = 30.0
LOOK_EVERY = 0.5
"""Seconds between two looks of a follower."""
NOTHING_TOLD = (-1, 0)
"""A (position, attempt) before those of all steps."""
CUT = "… the rest of what this run has said is not kept; see its steps: brain show"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a request to cancel: `cancelled` at once, `requested` of its process, or `over` already."""

    run: Run
    answer: Literal["cancelled", "requested", "over"]


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a run has said: live output, the end of a step, or the end of the run (with its status)."""

    kind: Literal["live", "step", "run"]
    step: str
    text: str
    at: datetime | None
    status: str | None = None


class Control:
    """`find` returns the run whose id begins so, or the last one for None, without steps. `receivers` hear of ends."""

    def __init__(
        self, db: Database, find: Callable[[str | None], Awaitable[Run]], receivers: Sequence[str] = ()
    ) -> None:
        self._db = db
        self._find = find
        self._receivers = receivers

    async def cancel(self, id_prefix: str, reason: str = "cancelled by `brain cancel`") -> Cancelled:
        """End a run as cancelled: at once when it is queued or parked, by its own process when it runs."""
        run = await self._swept(id_prefix)
        answer = await queue.cancel_request(self._db, UUID(run.id), reason, self._receivers)
        return Cancelled(await runs.head(self._db, UUID(run.id)), answer)

    async def resume_run(self, id_prefix: str) -> Run:
        """Queue a parked run again. BrainError when it is not parked."""
        run = await self._swept(id_prefix)
        if not await queue.unpark(self._db, UUID(run.id)):
            raise BrainError(f"run {run.short_id} is {run.status}, not parked; only a parked run can be resumed")
        return await runs.get(self._db, UUID(run.id))

    async def _swept(self, id_prefix: str) -> Run:
        """Return a run, after ending what dead workers left: nobody else would hear of what is asked of theirs."""
        from brain_core.engine.sweep import sweep

        await sweep(self._db, uuid4(), self._receivers)
        return await self._find(id_prefix)

    async def daemons(self) -> list[dict[str, Any]]:
        """Return the daemons that nobody has given up, each with the age of its last tick in seconds."""
        return await daemons(self._db)

    async def has_daemon(self, *, fires: bool = True) -> bool:
        """Whether there is a daemon; without `fires` one that runs what is queued and fires nothing does as well."""
        return await has_daemon(self._db, fires=fires)

    async def logs(self, id_prefix: str | None, *, follow: bool = False) -> AsyncIterator[Said]:
        """Yield what a run has said so far, in order; with `follow` go on until it has ended."""
        run_id = UUID((await self._find(id_prefix)).id)
        seen, told = 0, NOTHING_TOLD
        while True:
            status, steps, last, _ = await runs.progress(self._db, run_id, told)
            rows = await live.between(self._db, run_id, seen, last)
            seen = last
            # Its plan may have changed when it began; who says nothing needs none.
            planned = (await runs.head(self._db, run_id)).planned if rows else ()
            for said in _told(planned, rows, steps):
                yield said
            if steps:
                told = (steps[-1].position, steps[-1].attempt)
            if status in FINAL or status == "parked" or not follow:
                run = await runs.head(self._db, run_id)
                text = f"run {run.short_id}: {status}" + (f": {run.error}" if run.error else "")
                yield Said("run", "", text, run.ended_at, status)
                return
            await asyncio.sleep(LOOK_EVERY)


async def daemons(db: Database, *, fires: bool = True) -> list[dict[str, Any]]:
    """Return the daemons that nobody has given up; without `fires` also those that only run what is queued.

    `fresh` ones have ticked lately. One whose process ran on this host and is `gone` is not, however short ago it
    ticked: nobody may be there to give it up.
    """
    found = []
    for row in await daemon.daemons(db, ["daemon"] if fires else ["daemon", "serve"]):
        boot, namespace, started = (row.pop(name) for name in ("boot_id", "pid_namespace", "process_started"))
        gone = is_dead(ProcessIdentity(row["host"], boot, namespace, row["pid"], started)) is True
        found.append({**row, "fresh": not gone and row["tick_age"] <= FRESH, "gone": gone})
    return found


async def has_daemon(db: Database, *, fires: bool = True) -> bool:
    """Whether there is a daemon, as `Control.has_daemon` says."""
    return not all(one["gone"] for one in await daemons(db, fires=fires))


def _told(planned: Sequence[PlannedStep], rows: Sequence[live.Event], steps: Sequence[StepRun]) -> Iterator[Said]:
    """Yield what the steps have said, each before its end."""
    for one in in_order(rows, steps):
        if isinstance(one, live.Event):
            yield _said(planned, one)
        else:
            yield Said("step", one.name, one.error or "", one.ended_at, one.status)


def _said(planned: Sequence[PlannedStep], row: live.Event) -> Said:
    text = CUT if row.kind == "cut" else row.text
    return Said("live", planned[row.position or 0].name, text, row.at)
