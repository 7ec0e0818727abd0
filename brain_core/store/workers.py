"""Workers: who owns runs, their beats, what was seen of them, and taking over what the dead left (G5, G11, G12).

The row of a worker is inserted by the Recorder with its first run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from brain_core.errors import DatabaseError
from brain_core.run import WORKFLOW_RECEIVER, RunStatus
from brain_core.store.trouble import is_nobodys_fault

if TYPE_CHECKING:
    from asyncpg import Record

    from brain_core.store.database import Database

MAX_TAKEOVERS = 3
"""How many workers may die with a run before it is parked (G16)."""
SETTLE_TRIES = 5


class WorkerIdentity(NamedTuple):
    """A process that owns runs. `process_started` is the start time in the kernel's own unit; `lease` is in seconds."""

    id: UUID
    kind: Literal["run", "daemon", "serve"]
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_started: str
    version: str
    lease: float

    @property
    def row(self) -> tuple[object, ...]:
        """The values in the order of the columns."""
        return tuple(self)


class Beat(NamedTuple):
    """A sign of life that was taken: its number, and the runs in hand that are to be cancelled, with the reason."""

    number: int
    cancels: Mapping[UUID, str]


class Candidate(NamedTuple):
    """A worker that may have died. `stopped`: it was given up, and the take-over did not come to its end."""

    worker: WorkerIdentity
    beat: int
    stopped: bool


class Settled(NamedTuple):
    """What a take-over made of a run: failed, cancelled, queued again, or parked with a reason."""

    run_id: UUID
    workflow: str
    status: RunStatus
    parked_reason: str | None


async def beat(db: Database, worker: UUID) -> Beat | None:
    """Give a sign of life; None when the worker was given up, has stopped, or has no row yet."""
    row = await db.fetchrow("worker_beat", worker)
    if row is None:
        return None
    reasons = (reason or "cancelled" for reason in row["cancel_reasons"])
    return Beat(row["beat"], dict(zip(row["cancels"], reasons, strict=True)))


async def stop(db: Database, worker: UUID) -> None:
    """Mark a worker as ended by itself, when it has no run in hand any more; repeating it is harmless."""
    async with db.transaction() as session:
        await session.fetch("worker_stop", worker)
        await session.fetch("worker_forget_sightings", [worker])


async def candidates(db: Database) -> list[WorkerIdentity]:
    """Return every worker that counts as alive."""
    return [WorkerIdentity(*row) for row in await db.fetch("worker_candidates")]


async def watched(db: Database, me: UUID) -> list[Candidate]:
    """Return every other worker that may have died, for a process that remembers what it sees of them."""
    return [
        Candidate(WorkerIdentity(*row[:-2]), row["beat"], row["stopped"])
        for row in await db.fetch("worker_watched", me)
    ]


async def silent(db: Database) -> set[UUID]:
    """Return those of the candidates that have given no sign of life for their whole lease, by the database's clock."""
    return {row["id"] for row in await db.fetch("worker_silent")}


async def left_behind(db: Database) -> list[UUID]:
    """Return the stopped workers that still have a running run: a take-over was broken off."""
    return [row["id"] for row in await db.fetch("worker_left_behind")]


async def observe(db: Database, boot_id: str, boot_seconds: float) -> list[UUID]:
    """Note what this boot sees of each beat; return whose beat has stood still for its whole lease on this clock."""
    return [row["id"] for row in await db.fetch("worker_observe", boot_id, boot_seconds)]


async def settle(
    db: Database, workers: Sequence[UUID], reason: str, receivers: Sequence[str], *, died: bool = True
) -> list[Settled]:
    """Give up workers; their runs fail with `reason`, or go back to the queue where the workflow says so (G10).

    A run that loses its worker `MAX_TAKEOVERS` times is parked (G16); when a worker lets go of its runs in good order
    (`died` is False) that is not counted. Two processes may do this to the same worker at once: each run is settled by
    one of them.
    """
    for again in range(SETTLE_TRIES, -1, -1):
        try:
            rows = await _settle(db, list(workers), reason, list(receivers), died)
            break
        except DatabaseError as error:
            # A deadlock with another process that settles or observes is nobody's fault: the same again.
            if not again or not is_nobodys_fault(error):
                raise
    return [_settled(row) for row in rows]


async def interrupt(
    db: Database, worker: UUID, run_ids: Sequence[UUID], reason: str, receivers: Sequence[str]
) -> list[Settled]:
    """Settle some runs of a living worker whose steps were ended from outside, as if it had died with them (G10)."""
    rows = await db.fetch(
        "worker_end_runs", [worker], reason, list(receivers), WORKFLOW_RECEIVER, True, MAX_TAKEOVERS, list(run_ids)
    )
    return [_settled(row) for row in rows]


async def _settle(db: Database, ids: list[UUID], reason: str, receivers: list[str], died: bool) -> list[Record]:
    async with db.transaction() as session:
        # Two statements: the second one's snapshot has to see a run that was being started when the first one waited.
        await session.fetch("worker_give_up", ids, reason)
        rows = await session.fetch(
            "worker_end_runs", ids, reason, receivers, WORKFLOW_RECEIVER, died, MAX_TAKEOVERS, None
        )
        await session.fetch("worker_forget_sightings", ids)
    return rows


def _settled(row: Record) -> Settled:
    return Settled(row["id"], row["workflow_name"], row["status"], row["parked_reason"])
