"""Live output: what a run says while it runs, in batches and bounded (G24), for others to follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from brain_core.store.codec import visible

if TYPE_CHECKING:
    from brain_core.store.database import Database

MAX_BYTES = 1024 * 1024
"""How much of a run's live output is kept; the step's own record has a limit of its own."""


class Line(NamedTuple):
    """Text of a running step. `number` counts up within the claim, from 1: what is sent twice is there once (G17)."""

    run_id: UUID
    claim: int
    number: int
    position: int | None
    text: str


class Event(NamedTuple):
    """Text as it was said; `seq` grows over all claims of the run. The kind `cut` says that the rest is not here."""

    run_id: UUID
    seq: int
    at: datetime
    position: int | None
    kind: Literal["live", "cut"]
    text: str


async def append(db: Database, worker: UUID, lines: Sequence[Line], *, max_bytes: int = MAX_BYTES) -> None:
    """Add lines of runs that are this worker's; those of others are left out (G12). Repeating it is harmless."""
    if lines:
        rows = [(line.run_id, line.claim, line.number, line.position, visible(line.text)) for line in lines]
        await db.fetch("live_append", worker, *zip(*rows, strict=True), max_bytes)


async def read(db: Database, run_id: UUID, after_seq: int = 0, limit: int = 500) -> list[Event]:
    """Return what a run has said after `after_seq`, in order."""
    return [Event(*row) for row in await db.fetch("live_read", run_id, after_seq, limit)]


async def between(db: Database, run_id: UUID, after_seq: int, last_seq: int) -> list[Event]:
    """Return what a run has said after `after_seq` and up to `last_seq`, in order."""
    found: list[Event] = []
    while after_seq < last_seq and (batch := await read(db, run_id, after_seq)):
        found += (event for event in batch if event.seq <= last_seq)
        after_seq = batch[-1].seq
    return found
