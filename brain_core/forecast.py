"""What schedules will do: the instants to come, in their order, and what stands out about them. Pure.

The instants come from the same `next_after` that the daemon asks.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from brain_core.schedule import NextAfter

MOST = 100_000
"""How many instants are looked at, over all schedules."""
_BUSIEST = 5
_SHIFTS = 20


@dataclass(frozen=True, slots=True)
class Upcoming:
    """One schedule to look ahead for: its instants after `after`.

    `skips` says that an instant is not fired while the run of an earlier one goes on, `seconds` how long a run of it
    takes (None when nothing is known), `zone` in which zone its times are meant (None when it has none).
    """

    name: str
    next_after: NextAfter
    after: datetime
    skips: bool = True
    seconds: float | None = None
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant to come. `shift` is by how much the clocks of its zone have changed since the instant before."""

    name: str
    at: datetime
    zone: tzinfo | None = None
    overlaps: bool = False
    skipped: bool = False
    shift: timedelta = timedelta(0)


@dataclass(slots=True)
class Forecast:
    """The instants until `until`: the first of them in full, counts over all of them.

    `busiest` holds the minutes in which more than one instant is due, with their numbers, the fullest first. When there
    were more than MOST instants, `until` is the last one that was looked at and `cut` is True.
    """

    until: datetime
    instants: list[Instant] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    overlaps: dict[str, int] = field(default_factory=dict)
    shifts: list[Instant] = field(default_factory=list)
    busiest: list[tuple[datetime, int]] = field(default_factory=list)
    cut: bool = False


def forecast(schedules: Sequence[Upcoming], until: datetime, *, keep: int, most: int = MOST) -> Forecast:
    """Look ahead until `until`, inclusive; `keep` says how many instants are kept in full."""
    found = Forecast(until, counts={one.name: 0 for one in schedules})
    minutes: Counter[datetime] = Counter()
    ahead = heapq.merge(*(_instants(one, until) for one in schedules), key=lambda instant: (instant.at, instant.name))
    for number, instant in enumerate(ahead):
        if number == most:
            found.until, found.cut = instant.at, True
            break
        found.counts[instant.name] += 1
        if instant.overlaps:
            found.overlaps[instant.name] = found.overlaps.get(instant.name, 0) + 1
        if instant.shift and len(found.shifts) < _SHIFTS:
            found.shifts.append(instant)
        if number < keep:
            found.instants.append(instant)
        minutes[instant.at.replace(second=0, microsecond=0)] += 1
    full = heapq.nsmallest(_BUSIEST, minutes.items(), key=lambda item: (-item[1], item[0]))
    found.busiest = [(minute, count) for minute, count in full if count > 1]
    return found


def _instants(one: Upcoming, until: datetime) -> Iterator[Instant]:
    at, busy_until = one.after, one.after
    offset = at.astimezone(one.zone).utcoffset() if one.zone is not None else None
    while (due := one.next_after(at)) is not None and at < due <= until:
        at = due
        overlaps = due < busy_until
        skipped = overlaps and one.skips
        if not skipped and one.seconds is not None:
            busy_until = max(busy_until, due + timedelta(seconds=one.seconds))
        here = due.astimezone(one.zone).utcoffset() if one.zone is not None else None
        shift = here - offset if here is not None and offset is not None else timedelta(0)
        offset = here
        yield Instant(one.name, due, one.zone, overlaps, skipped, shift)
