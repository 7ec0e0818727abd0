"""Workers: who owns runs, their beats, what was seen of them, and taking over what the dead left (G5, G11, G12).

The row of a worker is inserted by the Recorder with its first run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from brain_core.run import WORKFLOW_RECEIVER

if TYPE_CHECKING:
    from brain_core.store.database import Database


class WorkerIdentity(NamedTuple):
    """A process that owns runs. `process_started` is the start time in the kernel's own unit; `lease` is in seconds."""

    id: UUID
    kind: Literal["run", "daemon"]
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


async def beat(db: Database, worker: UUID) -> bool:
    """Give a sign of life; False when the worker was given up, has stopped, or has no row yet."""
    return await db.fetchrow("worker_beat", worker) is not None


async def stop(db: Database, worker: UUID) -> None:
    """Mark a worker as ended by itself, when it has no run in hand any more; repeating it is harmless."""
    async with db.transaction() as session:
        await session.fetch("worker_stop", worker)
        await session.fetch("worker_forget_sightings", [worker])


async def candidates(db: Database) -> list[WorkerIdentity]:
    """Return every worker that counts as alive."""
    return [WorkerIdentity(*row) for row in await db.fetch("worker_candidates")]


async def silent(db: Database) -> set[UUID]:
    """Return those of the candidates that have given no sign of life for their whole lease, by the database's clock."""
    return {row["id"] for row in await db.fetch("worker_silent")}


async def left_behind(db: Database) -> list[UUID]:
    """Return the stopped workers that still have a running run: a take-over was broken off."""
    return [row["id"] for row in await db.fetch("worker_left_behind")]


async def observe(db: Database, boot_id: str, boot_seconds: float) -> list[UUID]:
    """Note what this boot sees of each beat; return whose beat has stood still for its whole lease on this clock."""
    return [row["id"] for row in await db.fetch("worker_observe", boot_id, boot_seconds)]


async def take_over(db: Database, workers: Sequence[UUID], reason: str, receivers: Sequence[str]) -> list[UUID]:
    """Give up workers and end their runs as failed, with `reason`; return the ids of the runs that this call ended.

    Two processes may take over the same worker at once: each run is ended by one of them.
    """
    ids = list(workers)
    async with db.transaction() as session:
        # Two statements: the second one's snapshot has to see a run that was being started when the first one waited.
        await session.fetch("worker_give_up", ids, reason)
        rows = await session.fetch("worker_end_runs", ids, reason, list(receivers), WORKFLOW_RECEIVER)
        await session.fetch("worker_forget_sightings", ids)
    return [row["id"] for row in rows]
