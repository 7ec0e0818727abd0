"""Retention: deleting what is old enough (G24), in batches that are each a transaction: stopping it does no harm.

A run goes with its steps, its live output and its deliveries. The ledger stays: an instant keeps its outcome, and the
id of a run that is no longer there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from brain_core.store.database import Database

_FIRST = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))


class Pruned(NamedTuple):
    """How many rows are gone."""

    runs: int = 0
    workers: int = 0


async def prune(db: Database, days: float, keep_last: int, keep_failed: float, batch: int = 500) -> Pruned:
    """Delete final runs that were created more than `days` ago, and workers that stopped so long ago.

    The last `keep_last` runs of each workflow stay, and its last success; failed ones stay `keep_failed` days after
    their end at least, and those of whose end somebody is still to be told.
    """
    runs = 0
    async for deleted in prune_runs(db, days, keep_last, keep_failed, batch):
        runs += deleted
    return Pruned(runs, await prune_workers(db, days, batch))


async def prune_workers(db: Database, days: float, batch: int = 500) -> int:
    """Delete workers that stopped more than `days` ago; return how many."""
    workers = 0
    while deleted := await db.fetchval("retention_workers", float(days), batch):
        workers += deleted
    return workers


async def count(db: Database, days: float, keep_last: int, keep_failed: float, batch: int = 500) -> Pruned:
    """Return how many runs `prune` would delete; nothing is written."""
    runs = 0
    async for found in prune_runs(db, days, keep_last, keep_failed, batch, dry=True):
        runs += found
    return Pruned(runs)


async def prune_runs(
    db: Database, days: float, keep_last: int, keep_failed: float, batch: int = 500, *, dry: bool = False
) -> AsyncIterator[int]:
    """Do the same for runs only, yielding how many went with each batch, for one who wants to pause between.

    With `dry` they are only counted.
    """
    at, last = _FIRST
    while True:
        row = await db.fetchrow("retention_runs", at, last, batch, float(days), keep_last, float(keep_failed), dry)
        if row is None:
            return
        at, last = row["created_at"], row["id"]
        yield row["deleted"]
        if row["looked"] < batch:
            return
