"""One cycle of a daemon: take over what the dead left, find what is due, fire it, advance it. The unit of behaviour.

`daemon_tick` takes a moment and knows no other clock, so that tests drive it with one that stands still; the daemon
hands it the database's (G5). Any number of daemons may tick at once: an instant is fired by the one whose
compare-and-set on `next_due_at` comes first (G1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from brain_core.engine.sweep import sweep
from brain_core.schedule import decide, last_until
from brain_core.store import fires, triggers
from brain_core.store.database import Database
from brain_core.store.fires import DueTrigger, Fire, FireResult
from brain_core.threads import what_raised
from brain_core.trigger import Trigger

BATCH = 1_000
"""How many due triggers are fired in one statement."""


class Ticking(Protocol):
    """What a tick needs of the brain."""

    @property
    def db(self) -> Database: ...
    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]: ...
    @property
    def receivers(self) -> Sequence[str]: ...


@dataclass(slots=True)
class TickReport:
    """What one cycle did. `problems` holds a line for each trigger that could not be decided; they stay due."""

    fired: list[FireResult] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    taken_over: list[UUID] = field(default_factory=list)
    problems: dict[UUID, str] = field(default_factory=dict)


async def daemon_tick(brain: Ticking, now: datetime, *, me: UUID) -> TickReport:
    """Do one whole cycle at the moment `now` for the worker `me` and return what was done.

    DatabaseError when the database is away; what was not committed is done by the next tick, of whichever daemon.
    """
    report = TickReport()
    report.taken_over = await sweep(brain.db, me, brain.receivers)
    await resume_paused(brain, now, report)
    await fire_due(brain, now, report)
    return report


async def fire_due(brain: Ticking, now: datetime, report: TickReport) -> None:
    """Fire every schedule that is due at `now`; one that cannot be decided is noted, and the others go on (G18)."""
    types = brain.trigger_types
    timed = [name for name, kind in types.items() if kind.is_timed()]
    while True:
        rows = await fires.due(brain.db, now, BATCH, timed, list(report.problems))
        decided = []
        for row in rows:
            try:
                decided.append(_decided(row, types[row.type], now))
            except Exception as error:  # noqa: BLE001 - a stranger's arithmetic, or no file descriptor for a zone
                report.problems[row.id] = f"{row.name}: its next instant cannot be found: {what_raised(error)}"
        if decided:
            for result in await fires.fire(brain.db, decided, now):
                if result.error is None:
                    report.fired.append(result)
                else:
                    report.problems[result.trigger_id] = f"trigger {result.trigger_id} cannot fire: {result.error}"
        if len(rows) < BATCH:
            return


async def resume_paused(brain: Ticking, now: datetime, report: TickReport) -> None:
    """Resume the schedules whose pause was to end by `now`; what was due in the pause is not fired (G8)."""
    for row in await fires.resumable(brain.db, now):
        kind = brain.trigger_types.get(row.type)
        if kind is None:
            continue
        try:
            next_after = timed(kind, row.config_text).next_after
            first = row.skipping_from
            skipped = None if first is None or first > now else last_until(next_after, first, now)
            await triggers.resume(brain.db, row.name, now, skipped, next_after(now), expected=row)
        except Exception as error:  # noqa: BLE001 - as in fire_due
            report.problems[row.id] = f"{row.name}: cannot be resumed: {what_raised(error)}"
        else:
            report.resumed.append(row.name)


def _decided(row: DueTrigger, kind: type[Trigger], now: datetime) -> Fire:
    due = row.next_due_at
    decision = decide(timed(kind, row.config_text).next_after, due, now, row.catch_up, row.catch_up_max or 1)
    return Fire(row.id, row.revision, due, decision.fire, decision.merged, decision.next_due, decision.reason)


@lru_cache(maxsize=4_096)
def timed(kind: type[Trigger], config: str) -> Trigger:
    """Return the trigger of a stored configuration (its JSON text)."""
    return kind.model_validate_json(config)
