"""The queue: runs that wait for a worker, claiming them, and what people decide about them (G12, G14, G16, G17)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID, uuid4

from brain_core.errors import RunNotFound
from brain_core.run import WORKFLOW_RECEIVER, PlannedStep
from brain_core.store.codec import decode

if TYPE_CHECKING:
    from brain_core.placeholders import Json
    from brain_core.store.database import Database
    from brain_core.store.workers import WorkerIdentity


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to queue. `host` is where the file is known to be, empty when nobody knows.

    A `digest` that is not stored is left out: the run gets its own when it begins.
    """

    workflow: str
    file: str
    planned: Sequence[PlannedStep]
    inputs: Mapping[str, Json] = field(default_factory=dict)
    trigger: Mapping[str, Json] | None = None
    trigger_id: UUID | None = None
    host: str = ""
    digest: str | None = None
    retry_of: UUID | None = None
    previous_run_id: UUID | None = None
    run_id: UUID = field(default_factory=uuid4)


class Claimed(NamedTuple):
    """A run that is this worker's under `claim`.

    `resumed` says that attempts of its steps are recorded already: it goes on at `position`, with the source that
    `digest` names (G19).
    """

    run_id: UUID
    workflow: str
    file: str
    host: str
    digest: str | None
    planned: tuple[PlannedStep, ...]
    inputs: dict[str, Any]
    trigger: dict[str, Any] | None
    trigger_id: UUID | None
    due_at: datetime | None
    claim: int
    created_at: datetime
    started_at: datetime
    previous_run_id: UUID | None
    retry_of: UUID | None
    position: int
    takeovers: int
    resumed: bool


async def claim(
    db: Database,
    worker: WorkerIdentity,
    limit: int,
    absent_files: Sequence[str] = (),
    *,
    known: Collection[UUID] | None = None,
) -> list[Claimed]:
    """Claim queued runs, the oldest first; `limit` at most.

    Runs of `absent_files` are left to other hosts, unless they were queued for this one, or for one where no worker
    lives. `known` are the runs that this
    worker has in hand: what is its own and not among them was claimed by a statement whose reply got lost, and is
    returned first. Without `known` a lost reply is raised, and the next call has to give them. Calls of one worker have
    to come one after the other.
    """
    name = "queue_claim_elsewhere" if absent_files else "queue_claim"
    mine = None if known is None else list(known)
    args = (worker.id, limit, mine, list(absent_files), *worker.row[1:])
    if known is None:
        # Not db.fetch, which would repeat a statement that may have been done.
        async with db.session() as session:
            rows = await session.fetch(name, *args, timeout=db.answer_within(limit))
    else:
        rows = await db.fetch(name, *args, timeout=db.answer_within(limit))
    return [claimed(row) for row in rows]


async def enqueue(db: Database, run: NewRun) -> UUID:
    """Insert a queued run and return its id; a run with that id that is there already stays as it is (G14)."""
    await enqueue_new(db, run)
    return run.run_id


async def enqueue_new(db: Database, run: NewRun) -> bool:
    """Do the same and say whether it is new.

    After a lost reply a run that this very call has inserted may count as one that was there.
    """
    made = await db.fetch(
        "queue_enqueue",
        run.run_id,
        run.workflow,
        run.file,
        run.host,
        run.digest,
        json.dumps([{"name": step.name, "type": step.type} for step in run.planned]),
        json.dumps(dict(run.inputs)),
        None if run.trigger is None else json.dumps(dict(run.trigger)),
        run.trigger_id,
        run.retry_of,
        run.previous_run_id,
    )
    return bool(made)


async def trigger_of(db: Database, run_id: UUID) -> dict[str, Any] | None:
    """Return what has started a run, empty when nobody said; None when there is no such run."""
    row = await db.fetchrow("queue_trigger_of", run_id)
    return None if row is None else decode(row["trigger"] or "{}")


async def cancel_request(
    db: Database, run_id: UUID, reason: str, receivers: Sequence[str] = ()
) -> Literal["cancelled", "requested", "over"]:
    """End a run that waits as cancelled, or ask the worker of one that runs; say which, or that it was over.

    `receivers` are told of the end; the workflow's own on_finished always is. Repeating it is harmless.
    """
    row = await db.fetchrow("queue_cancel", run_id, reason, list(receivers), WORKFLOW_RECEIVER)
    status = await db.fetchval("queue_status", run_id) if row is None else row["status"]
    if status is None:
        raise RunNotFound(f"there is no run {run_id}; `brain history` lists them")
    if status == "running":
        return "requested"
    return "cancelled" if status == "cancelled" else "over"


async def living_hosts(db: Database, hosts: Collection[str]) -> set[str]:
    """Return those of some hosts where a worker lives or has lived lately."""
    return {row["host"] for row in await db.fetch("queue_living_hosts", list(hosts))}


async def release(db: Database, worker: UUID, claims: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """Put (run id, claim) back that were claimed and not begun; return those that were still this worker's."""
    rows = await db.fetch("queue_release", worker, [run for run, _ in claims], [claim for _, claim in claims])
    return [row["id"] for row in rows]


async def unpark(db: Database, run_id: UUID) -> bool:
    """Put a parked run back into the queue; False when it is neither parked nor queued."""
    if await db.fetchrow("queue_unpark", run_id) is not None:
        return True
    return bool(await db.fetchval("queue_status", run_id) == "queued")


def claimed(row: Any) -> Claimed:
    """Return the run that a statement has claimed."""
    return Claimed(
        run_id=row["id"],
        workflow=row["workflow_name"],
        file=row["file"],
        host=row["host"],
        digest=row["digest"],
        planned=tuple(PlannedStep(step["name"], step["type"]) for step in json.loads(row["planned_steps"])),
        inputs=decode(row["inputs"]),
        trigger=None if row["trigger"] is None else decode(row["trigger"]),
        trigger_id=row["trigger_id"],
        due_at=row["due_at"],
        claim=row["claim"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        previous_run_id=row["previous_run_id"],
        retry_of=row["retry_of"],
        position=row["position"],
        takeovers=row["takeovers"],
        resumed=row["resumed"],
    )
