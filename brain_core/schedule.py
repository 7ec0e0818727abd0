"""What becomes of due instants: pure arithmetic over a trigger's `next_after`; knows no clock and no database.

Every function asks `next_after` a bounded number of times, whatever the length of the gap: a year of downtime costs no
more than an hour of it (G3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

NextAfter: TypeAlias = Callable[[datetime], datetime | None]
"""The first due instant strictly after an instant, in UTC; None when there is none. It never goes back."""

CatchUp: TypeAlias = Literal["latest", "none", "all"]

ON_TIME = timedelta(seconds=60)
"""Within this the policy `none` takes an instant for on time: a daemon that restarts does not lose it."""
MAX_CATCH_UP = 1_000
_TICK = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look at a due schedule decides; together `fire` and `merged` hold every instant from the due one to now.

    `merged` is the first and the last instant of the stretch that is not fired. `next_due` is the first instant after
    now, None when the schedule has come to its end.
    """

    fire: tuple[datetime, ...]
    merged: tuple[datetime, datetime] | None
    next_due: datetime | None
    reason: str = ""


def decide(next_after: NextAfter, due: datetime, now: datetime, catch_up: CatchUp, most: int = 1) -> Decision:
    """Decide about a schedule whose next instant `due` has come (`due <= now`).

    `latest` fires the last instant that was missed, `all` the last `most`, and `none` the last one if it is on time;
    what lies before is merged.
    """
    if due > now:
        raise ValueError(f"{due} has not come at {now}")
    next_due = next_after(now)
    latest = last_until(next_after, due, now)
    fire = [latest]
    if catch_up == "none" and now - latest > ON_TIME:
        fire = []
    elif catch_up == "all":
        while len(fire) < min(most, MAX_CATCH_UP) and fire[0] > due:
            fire.insert(0, last_until(next_after, due, fire[0] - _TICK))
    if not fire:
        return Decision((), (due, latest), next_due, "missed, and catch_up is none")
    merged = None if fire[0] == due else (due, last_until(next_after, due, fire[0] - _TICK))
    return Decision(tuple(fire), merged, next_due, "" if merged is None else f"missed; catch_up is {catch_up}")


def last_until(next_after: NextAfter, first: datetime, until: datetime) -> datetime:
    """Return the last due instant that is not after `until`; `first` is a due instant at or before it."""
    # Windows that double, back from the end, until one holds an instant; then the place is found by halving.
    empty_from, width = until, _MINUTE
    while (start := until - width) > first:
        if _at_or_before(next_after, start, until):
            break
        empty_from, width = start, 2 * width
    else:
        start = first
        if not _at_or_before(next_after, start, until):
            return first
    while empty_from - start > _SECOND:
        middle = start + (empty_from - start) / 2
        if _at_or_before(next_after, middle, until):
            start = middle
        else:
            empty_from = middle
    found = next_after(start)
    # Types finer than a second may have several in the last window.
    while found is not None and (later := next_after(found)) is not None and later <= until:
        found = later
    return first if found is None else found


def _at_or_before(next_after: NextAfter, start: datetime, until: datetime) -> bool:
    found = next_after(start)
    return found is not None and found <= until
