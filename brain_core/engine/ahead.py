"""Decides what is due next before it is due, so that nothing stands between the instant and its one statement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from brain_core.engine.tick import AT_ONCE, BATCH, Taking, Ticking, TickReport, decided_fire, fire_decided, timed_types
from brain_core.store import fires
from brain_core.store.fires import Fire

AHEAD = 2.0
"""Seconds before an instant at which its triggers are read."""
WAKES_BEFORE = 0.003
"""Seconds before an instant at which the loop is awake for it: its timers are late by up to two milliseconds."""
MOST = 4 * BATCH
"""How many triggers are decided ahead; where more are due at one instant the tick takes them, batch by batch."""
TOO_LATE = 1.0
"""Seconds after which what was decided is decided anew: more may be due by then."""


@dataclass(frozen=True, slots=True)
class _Decided:
    due: datetime
    at: float
    fires: tuple[Fire, ...]


class Ahead:
    """What was decided for one instant. What has changed since, firing leaves alone: the next tick finds it."""

    def __init__(self, brain: Ticking) -> None:
        self._brain = brain
        self._decided: _Decided | None = None

    @property
    def is_time(self) -> bool:
        """Whether the instant of what was decided has come, or is about to."""
        return self._decided is not None and time.monotonic() >= self._decided.at - WAKES_BEFORE

    async def prepare(self, due: datetime, seconds: float, leave_out: Collection[UUID]) -> float:
        """Read what is due at `due`, in `seconds` from now; return how long to sleep. Too early, it is until later."""
        before = self._decided
        if before is not None and before.due == due and before.at >= time.monotonic():
            return max(0.0, seconds - WAKES_BEFORE)
        self._decided = None
        if seconds > AHEAD:
            return seconds - AHEAD / 2
        at = time.monotonic() + seconds
        types = self._brain.trigger_types
        rows = await fires.due(self._brain.db, due, MOST, timed_types(types), list(leave_out))
        found = []
        try:
            for number, row in enumerate(rows):
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
                if row.next_due_at == due:
                    found.append(decided_fire(row, types[row.type], due))
        except Exception:  # noqa: BLE001 - what cannot be decided, the tick tells
            return max(0.0, at - time.monotonic())
        if found and len(rows) < MOST:
            self._decided = _Decided(due, at, tuple(found))
            return max(0.0, at - WAKES_BEFORE - time.monotonic())
        return max(0.0, at - time.monotonic())

    async def fire(self, worker: Taking | None = None) -> TickReport | None:
        """Fire what was decided, for the worker, when its instant has come; None when there is no such thing.

        Whether it has come the database says once more (G5).
        """
        ready, now = self._decided, time.monotonic()
        if ready is None or now < ready.at - WAKES_BEFORE:
            return None
        self._decided = None
        if now - ready.at > TOO_LATE:
            return None
        while time.monotonic() < ready.at:  # noqa: ASYNC110 - no event comes at an instant, and a timer comes too late
            await asyncio.sleep(0)
        report = TickReport()
        for result in await fire_decided(self._brain, ready.fires, None, worker):
            if result.outcome != "refused":
                report.fired.append(result)
        return report
