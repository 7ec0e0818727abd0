"""Figures of the whole brain, for who asks every few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from brain_core.app.control import daemons
from brain_core.engine.sweep import census
from brain_core.store.figures import counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_core.store.database import Database


class Figures(NamedTuple):
    """How many there are: runs by status, but for `success`; triggers by state; workers alive, silent and dead.

    `oldest_queued` is for how many seconds the oldest queued run has been there, 0 without one. `overdue` are triggers
    whose instant passed a minute ago, `fresh_daemons` those that have ticked within 30 seconds.
    """

    runs: Mapping[str, int]
    oldest_queued: float
    triggers: Mapping[str, int]
    overdue: int
    workers: Mapping[str, int]
    fresh_daemons: int


async def figures(db: Database) -> Figures:
    """Return the figures as they are now."""
    found, workers = await counts(db), await census(db)
    return Figures(
        runs=found.runs,
        oldest_queued=found.oldest_queued,
        triggers=found.triggers,
        overdue=found.overdue,
        workers={state: workers.get(state, 0) for state in ("alive", "silent", "dead")},
        fresh_daemons=sum(bool(one["fresh"]) for one in await daemons(db)),
    )
