"""Figures: what there is of runs and triggers, counted cheaply however long the history is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_core.store.database import Database

_STATUSES = ("queued", "running", "parked", "failed", "cancelled")


class Counts(NamedTuple):
    """Counts by status and state, none left out; `oldest_queued` in seconds since it was created, 0 without any."""

    runs: Mapping[str, int]
    triggers: Mapping[str, int]
    oldest_queued: float
    overdue: int


async def counts(db: Database) -> Counts:
    """Count the runs that have not succeeded, which an index holds, and the triggers that are not deleted."""
    row = await db.fetchrow("figures", list(_STATUSES))
    if row is None:
        raise AssertionError("the statement returns one row")
    return Counts(
        dict(zip(_STATUSES, row["runs"], strict=True)),
        {"active": row["active"], "paused": row["paused"]},
        row["oldest_queued"],
        row["overdue"],
    )
