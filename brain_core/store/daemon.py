"""What a daemon asks and says beside the results of runs: its beat, what a claimed run turned out to be, wake-ups."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from brain_core.errors import ClaimLost
from brain_core.store.workers import Candidate, WorkerIdentity

if TYPE_CHECKING:
    from brain_core.store.database import Database

CHANNEL = "brain"
"""Notified, without a payload, when something is there to do; a hint only, the beat finds it too."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a beat has seen. `now` is the database's clock; `next_due` may lie in the past.

    `alive` is False when others have given this worker up. `others` are the workers to judge, and `cancels` the runs in
    hand that somebody wants cancelled, with the reason.
    """

    now: datetime
    alive: bool
    next_due: datetime | None
    queued: bool
    others: tuple[Candidate, ...]
    cancels: Mapping[UUID, str]
    undelivered: bool


async def beat(
    db: Database, worker: WorkerIdentity, concurrency: int, in_hand: int, tick_age: float, types: Sequence[str]
) -> Look:
    """Give a sign of life and look around, in one statement; `tick_age` is in seconds.

    `types` are the trigger types that can be asked for their instants here.
    """
    args = (*worker.row, concurrency, in_hand, tick_age, list(types))
    row = await db.fetchrow("daemon_beat", *args, timeout=db.answer_within())
    if row is None:
        raise AssertionError("the statement returns one row")
    others = [] if row["others"] is None else json.loads(row["others"])
    reasons = (reason or "cancelled" for reason in row["cancel_reasons"])
    return Look(
        now=row["now"],
        alive=row["alive"],
        next_due=row["next_due"],
        queued=row["queued"],
        others=tuple(Candidate(WorkerIdentity(UUID(one[0]), *one[1:9]), one[9], one[10]) for one in others),
        cancels=dict(zip(row["cancels"], reasons, strict=True)),
        undelivered=row["undelivered"],
    )


async def is_eldest(db: Database, worker: UUID) -> bool:
    """Whether no other daemon that counts as alive has been here for longer."""
    return bool(await db.fetchval("daemon_eldest") == worker)


async def daemons(db: Database, kinds: Sequence[str] = ("daemon",)) -> list[dict[str, Any]]:
    """Return the workers of some kinds that nobody has given up; `tick_age` is in seconds."""
    return [dict(row) for row in await db.fetch("daemon_list", list(kinds))]


async def begin(
    db: Database,
    worker: UUID,
    run_id: UUID,
    claim: int,
    *,
    workflow: str,
    digest: str,
    sources: Mapping[str, str],
    inputs: str,
    planned: str,
    on_finished: bool,
    on_interrupt: str,
) -> None:
    """Record what a claimed run turns out to run, when it was queued with another source or other inputs.

    `inputs` and `planned` are JSON texts. ClaimLost when the run is no longer this worker's.
    """
    found = await db.fetchrow(
        "run_begin",
        worker,
        run_id,
        claim,
        digest,
        json.dumps(dict(sources)),
        on_finished,
        on_interrupt,
        planned,
        workflow,
        inputs,
    )
    _ours(found, run_id)


async def park(db: Database, worker: UUID, run_id: UUID, claim: int, reason: str) -> None:
    """Put a claimed run aside with a reason. ClaimLost when it is no longer this worker's."""
    _ours(await db.fetchrow("run_park", worker, run_id, claim, reason), run_id)


async def listen(db: Database, on_wake: Callable[[], None]) -> None:
    """Call `on_wake` in this event loop whenever somebody notifies; returns when the connection is lost.

    Holds one connection of `db`. Behind a pooler in transaction mode nothing is heard: polling finds it all the same.
    """
    lost = asyncio.Event()
    async with db.session() as session:
        connection = session.connection
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, lambda *_: on_wake())
        await lost.wait()


def _ours(found: Any, run_id: UUID) -> None:
    if found is None:
        short = str(run_id)[:8]
        raise ClaimLost(f"run {short} was taken over by another process; see `brain show {short}`")
