"""One cycle of a daemon: take over what the dead left, find what is due, fire it, advance it. The unit of behaviour.

`daemon_tick` takes a moment and knows no other clock, so that tests drive it with one that stands still; the daemon
hands it the database's (G5). Any number of daemons may tick at once: an instant is fired by the one whose
compare-and-set on `next_due_at` comes first (G1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Protocol
from uuid import UUID

from brain_core.engine.sweep import Watcher, sweep_seen
from brain_core.errors import DatabaseError, DatabaseUnreachable, TriggerNotFound, TriggerRefused
from brain_core.schedule import decide, last_until
from brain_core.store import fires, triggers, workers
from brain_core.store.daemon import Look
from brain_core.store.database import Database
from brain_core.store.fires import DueTrigger, Fire, FireResult, Taker
from brain_core.store.triggers import TriggerRow
from brain_core.store.workers import Settled
from brain_core.threads import what_raised
from brain_core.trigger import Trigger

BATCH = 1_000
"""How many due triggers are read, and fired, in one statement."""
AT_ONCE = 200
"""How many of them in one statement when they begin at once: the runs of one begin while the next one is on its way."""
SLICE = 0.02
"""Seconds of arithmetic after which others get their turn: after an outage a thousand triggers take seconds, and a loop
that does not answer is taken for dead."""


class Ticking(Protocol):
    """What a tick needs of the brain."""

    @property
    def db(self) -> Database: ...
    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]: ...
    @property
    def receivers(self) -> Sequence[str]: ...


class Taking(Protocol):
    """A worker that begins what it fires: `fire` fires `asked` triggers and lets it take their runs."""

    def starts_first(self) -> AbstractContextManager[None]: ...

    async def fire(self, fire: Callable[[Taker], Awaitable[list[FireResult]]], asked: int) -> list[FireResult]: ...


@dataclass(slots=True)
class TickReport:
    """What one cycle did. `problems` holds a line for each trigger that could not be decided, and stays due, and for
    each worker whose runs could not be taken over.

    `held` are triggers that somebody else had locked at that moment; they stay due too.
    """

    fired: list[FireResult] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    taken_over: list[Settled] = field(default_factory=list)
    problems: dict[UUID, str] = field(default_factory=dict)
    held: set[UUID] = field(default_factory=set)


async def daemon_tick(
    brain: Ticking,
    now: datetime,
    *,
    me: UUID,
    watcher: Watcher | None = None,
    look: Look | None = None,
    worker: Taking | None = None,
) -> TickReport:
    """Do one whole cycle at the moment `now` for the worker `me` and return what was done.

    Runs that are fired begin at once in `worker`, as far as it has room; other runs are queued.

    `look` is what a beat has just seen: what there is nothing to do about by it costs no query. `watcher` remembers
    between cycles what was seen of others; without it only those are given up whose process is known to be gone.

    DatabaseError when the database is away; what was not committed is done by the next tick, of whichever daemon.
    """
    report = TickReport()
    others = look.others if look is not None else await workers.watched(brain.db, me)
    if others:
        report.taken_over = await sweep_seen(
            brain.db, others, watcher or Watcher(gap=0.0), brain.receivers, report.problems
        )
    if look is None or (look.next_due is not None and look.next_due <= now):
        await resume_paused(brain, now, report)
        await fire_due(brain, now, report, worker)
    return report


async def fire_decided(
    brain: Ticking, decided: Sequence[Fire], now: datetime | None, worker: Taking | None
) -> list[FireResult]:
    """Fire what was decided; the runs are the worker's, if there is one and it has room, or queued."""
    if worker is None:
        return await fires.fire(brain.db, decided, now)
    results: list[FireResult] = []
    with worker.starts_first() if len(decided) > AT_ONCE else nullcontext():
        for first in range(0, len(decided), AT_ONCE):
            some = decided[first : first + AT_ONCE]
            results += await worker.fire(partial(fires.fire, brain.db, some, now), len(some))
    return results


async def fire_due(brain: Ticking, now: datetime, report: TickReport, worker: Taking | None = None) -> None:
    """Fire every schedule that is due at `now`; one that cannot be decided is noted, and the others go on (G18)."""
    types = brain.trigger_types
    timed = timed_types(types)
    while True:
        rows = await fires.due(brain.db, now, BATCH, timed, [*report.problems, *report.held])
        decided = {}
        began = time.monotonic()
        for row in rows:
            if time.monotonic() - began > SLICE:
                await asyncio.sleep(0)
                began = time.monotonic()
            try:
                decided[row.id] = decided_fire(row, types[row.type], now)
            except Exception as error:  # noqa: BLE001 - a stranger's arithmetic, or no file descriptor for a zone
                report.problems[row.id] = f"{row.name}: its next instant cannot be found: {what_raised(error)}"
        names = {row.id: row.name for row in rows}
        for result in await fire_decided(brain, list(decided.values()), now, worker):
            decided.pop(result.trigger_id, None)
            if result.outcome == "refused":
                report.problems[result.trigger_id] = f"{names[result.trigger_id]}: cannot be fired: {result.error}"
            else:
                report.fired.append(result)
        report.held |= decided.keys()
        if len(rows) < BATCH:
            return


async def resume_paused(brain: Ticking, now: datetime, report: TickReport) -> None:
    """Resume the schedules whose pause was to end by `now`; what was due in the pause is not fired (G8)."""
    changed: list[UUID] = []
    while True:
        rows = await fires.resumable(brain.db, now, BATCH, list(brain.trigger_types), [*report.problems, *changed])
        for row in rows:
            if not await _resumed(brain, row, now, report):
                changed.append(row.id)
        if len(rows) < BATCH:
            return


async def _resumed(brain: Ticking, row: TriggerRow, now: datetime, report: TickReport) -> bool:
    """Resume a schedule, or note why it cannot be; False when it was changed meanwhile, which the next cycle sees."""
    try:
        next_after = timed(brain.trigger_types[row.type], row.config_text).next_after
        first = row.skipping_from
        skipped = None if first is None or first > now else last_until(next_after, first, now)
        following = next_after(now)
    except Exception as error:  # noqa: BLE001 - as in fire_due
        report.problems[row.id] = f"{row.name}: cannot be resumed: {what_raised(error)}"
        return True
    try:
        await triggers.resume(brain.db, row.name, now, skipped, following, expected=row)
    except DatabaseUnreachable:
        raise
    except (TriggerNotFound, TriggerRefused):
        return False
    except DatabaseError as error:
        report.problems[row.id] = f"{row.name}: cannot be resumed: {error}"
    else:
        report.resumed.append(row.name)
    return True


def timed_types(types: Mapping[str, type[Trigger]]) -> list[str]:
    """Return the names of the types that can be asked for their next instant."""
    return [name for name, kind in types.items() if kind.is_timed()]


def decided_fire(row: DueTrigger, kind: type[Trigger], now: datetime) -> Fire:
    """Decide what becomes of a due trigger at `now`."""
    due = row.next_due_at
    decision = decide(timed(kind, row.config_text).next_after, due, now, row.catch_up, row.catch_up_max or 1)
    return Fire(row.id, row.revision, due, decision.fire, decision.merged, decision.next_due, decision.reason)


@lru_cache(maxsize=4_096)
def timed(kind: type[Trigger], config: str) -> Trigger:
    """Return the trigger of a stored configuration (its JSON text)."""
    return kind.model_validate_json(config)
