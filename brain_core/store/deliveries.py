"""Deliveries: who is still to be told of the end of a run. At least once each (see the table's comment)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from brain_core.run import WORKFLOW_RECEIVER
from brain_core.store.workers import WorkerIdentity

if TYPE_CHECKING:
    from brain_core.store.database import Database


class Delivery(NamedTuple):
    """One receiver of one run's end. `attempts` counts those who picked it up after the process that ended the run.

    `file` is the workflow's, `owner` says which living process has it in hand (`pid 4711 on host`).
    """

    run_id: str
    workflow: str
    receiver: str
    status: Literal["open", "done", "failed"]
    error: str | None
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    file: str
    owner: str | None


Serves: TypeAlias = Callable[[str, str | None], bool]
"""Whether this process can serve a receiver; where that is the workflow itself, the file is given too."""


async def open_for(
    db: Database, worker: WorkerIdentity | UUID, serves: Serves, *, run_id: UUID | None = None, limit: int = 100
) -> list[tuple[UUID, str]]:
    """Claim open deliveries (of one run, if given) that nobody alive has in hand; return (run id, receiver) of each.

    Those that this process cannot serve stay open for one that can. What this worker has in hand already is not among
    them: it is being delivered right now. A worker that has recorded nothing yet gives its identity, and is registered
    when there is something to claim; by its id alone it would count as dead.
    """
    worker_id = worker if isinstance(worker, UUID) else worker.id
    waiting = await db.fetch("delivery_waiting", worker_id, WORKFLOW_RECEIVER)
    mine = [(row["receiver"], row["file"]) for row in waiting if serves(row["receiver"], row["file"])]
    if not mine:
        return []
    facts = (None,) * 8 if isinstance(worker, UUID) else worker.row[1:]
    receivers, files = zip(*mine, strict=True)
    rows = await db.fetch("delivery_claim", worker_id, limit, *facts, receivers, files, run_id)
    return [(row["run_id"], row["receiver"]) for row in rows]


async def done(db: Database, run_id: UUID, receiver: str) -> None:
    """Mark a delivery as done; repeating it is harmless."""
    await db.execute("delivery_done", run_id, receiver)


async def failed(db: Database, run_id: UUID, receiver: str, error: str) -> None:
    """Mark a delivery as failed with a one-line reason; a delivery that is done stays done."""
    await db.execute("delivery_failed", run_id, receiver, error)


async def reopen(db: Database, run_id: UUID) -> None:
    """Open the failed deliveries of a run again."""
    await db.execute("delivery_reopen", run_id)


async def list_deliveries(db: Database, *, limit: int = 100) -> list[Delivery]:
    """Return the open and failed deliveries, oldest first."""
    return [_delivery(row) for row in await db.fetch("delivery_list", limit)]


async def of_run(db: Database, run_id: UUID) -> list[Delivery]:
    """Return the open and failed deliveries of a run."""
    return [_delivery(row) for row in await db.fetch("delivery_list_of_run", run_id)]


def _delivery(row: Any) -> Delivery:
    return Delivery(
        run_id=str(row["run_id"]),
        workflow=row["workflow_name"],
        receiver=row["receiver"],
        status=row["status"],
        error=row["error"],
        attempts=row["attempts"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        file=row["file"],
        owner=row["owner"],
    )


async def counts(db: Database) -> dict[str, int]:
    """Return how many deliveries are open and failed; a status without any is left out."""
    return {row["status"]: row["deliveries"] for row in await db.fetch("delivery_counts")}
