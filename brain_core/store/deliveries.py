"""Deliveries: who is still to be told of the end of a run. At least once each (see the table's comment)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from brain_core.store.workers import WorkerIdentity

if TYPE_CHECKING:
    from brain_core.store.database import Database


@dataclass(frozen=True, slots=True)
class Delivery:
    """One receiver of one run's end. `attempts` counts those who picked it up after the process that ended the run."""

    run_id: str
    workflow: str
    receiver: str
    status: Literal["open", "done", "failed"]
    error: str | None
    attempts: int
    created_at: datetime
    ended_at: datetime | None


async def open_for(db: Database, worker: WorkerIdentity | UUID, *, limit: int = 100) -> list[tuple[UUID, str]]:
    """Claim open deliveries that nobody alive has in hand; return (run id, receiver) of each.

    What this worker has in hand already is not among them: it is being delivered right now. A worker that has recorded
    nothing yet gives its identity, and is registered when there is something to claim; by its id alone it would count
    as dead, and another process might deliver the same.
    """
    if isinstance(worker, UUID):
        facts: tuple[object, ...] = (worker, limit, *[None] * 8)
    else:
        facts = (worker.id, limit, *worker.row[1:])
    return [(row["run_id"], row["receiver"]) for row in await db.fetch("delivery_claim", *facts)]


async def done(db: Database, run_id: UUID, receiver: str) -> None:
    """Mark a delivery as done; repeating it is harmless."""
    await db.execute("delivery_done", run_id, receiver)


async def failed(db: Database, run_id: UUID, receiver: str, error: str) -> None:
    """Mark a delivery as failed with a one-line reason; a delivery that is done stays done."""
    await db.execute("delivery_failed", run_id, receiver, error)


async def reopen(db: Database, run_id: UUID) -> list[str]:
    """Open the failed deliveries of a run again; return their receivers."""
    return [row["receiver"] for row in await db.fetch("delivery_reopen", run_id)]


async def list_deliveries(db: Database, *, everything: bool = False, limit: int = 100) -> list[Delivery]:
    """Return the open and failed deliveries, oldest first; with `everything` all, the latest first."""
    rows = await db.fetch("delivery_list_all" if everything else "delivery_list", limit)
    return [
        Delivery(
            run_id=str(row["run_id"]),
            workflow=row["workflow_name"],
            receiver=row["receiver"],
            status=row["status"],
            error=row["error"],
            attempts=row["attempts"],
            created_at=row["created_at"],
            ended_at=row["ended_at"],
        )
        for row in rows
    ]


async def counts(db: Database) -> dict[str, int]:
    """Return how many deliveries are open and failed; a status without any is left out."""
    return {row["status"]: row["deliveries"] for row in await db.fetch("delivery_counts")}
