"""When an expression comes due in a time zone: croniter steps through naive local time, and this maps it to UTC.

As Debian's cron has it: a fixed time that the clocks leap over comes due once, at the first instant after the leap,
and one that they repeat comes due on the first pass alone. A job with `*` at the front of its minute or hour follows
elapsed time: it comes due whenever the clock on the wall shows a time that fits, so in both passes, and not in a leap.

Either way the due instants of an expression are a set that does not depend on where one starts to look, so the next
one is always later and never goes back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from brain_core.builtin.cron.fields import Expression, Field, parsed
from brain_core.builtin.cron.zones import last_change, next_change, zone_of

Step = Callable[[datetime], datetime | None]

HORIZON_YEARS = 50
"""How far ahead is looked: enough for 29 February on two days of the week, which may take 28 years (`0 0 29 2 */6`)."""

_SECOND = timedelta(seconds=1)


# Thousands of schedules come due at one instant, and most of them share a few expressions.
@lru_cache(maxsize=16_384)
def next_due(text: str, timezone: str, instant: datetime) -> datetime | None:
    """Return the first due instant strictly after `instant` (UTC), None when none comes within 50 years."""
    expression = parsed(text)
    zone = zone_of(timezone)
    search = _by_elapsed_time if expression.follows_elapsed_time else _by_the_clock
    try:
        return search(_stepper(expression), zone, instant)
    except OverflowError:  # the end of the calendar, in the year 9999
        return None


def _by_elapsed_time(step: Step, zone: tzinfo, instant: datetime) -> datetime | None:
    at, local = instant, _local(zone, instant)
    start = local
    found = step(start)
    while found is not None:
        due = at + (found - local)
        change = next_change(zone, at, due)
        if change is None:
            return due
        at, local = change.instant, change.after
        # Between `start` and `found` nothing fits; it is looked again only where the clocks went back or over it.
        if not start < local <= found:
            start = local - _SECOND
            found = step(start)
    return None


def _by_the_clock(step: Step, zone: tzinfo, instant: datetime) -> datetime | None:
    local: datetime | None = _local(zone, instant)
    while local is not None and (local := step(local)) is not None:
        due = _first_instant(zone, local)
        # On the second pass, what fits until its end came due on the first one.
        if due > instant:
            return due
    return None


def _first_instant(zone: tzinfo, local: datetime) -> datetime:
    """Return the first instant at which the clocks show a local time; for one that they leap over, the leap's end."""
    due = local.replace(tzinfo=zone).astimezone(UTC)
    if _local(zone, due) == local:
        return due
    # Read with the offset before the leap, a local time inside it lies behind it by less than its length.
    change = last_change(zone, due)
    return due if change is None else change.instant


def _local(zone: tzinfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


@lru_cache(maxsize=4_096)
def _stepper(expression: Expression) -> Step:
    """Return the function that gives the first fitting minute after a naive local time; None when there is none."""
    from croniter import croniter

    walker = croniter(
        _for_croniter(expression),
        datetime(2000, 1, 1),  # noqa: DTZ001 - naive on purpose
        ret_type=datetime,
        implement_cron_bug=True,  # what it calls Debian's rule for two days of which one begins with `*`
        max_years_between_matches=HORIZON_YEARS,
    )
    # A croniter keeps its place while it looks.
    lock = threading.Lock()

    def step(local: datetime) -> datetime | None:
        try:
            with lock:
                found: datetime = walker.get_next(start_time=local, update_current=False)
        except ValueError:  # none within the horizon, or none before the year 10000
            return None
        return found

    return step


def _for_croniter(expression: Expression) -> str:
    """Return the expression with nothing left in it that croniter could read otherwise than `parsed`."""
    return " ".join(_plain(field) for field in expression.fields)


def _plain(field: Field) -> str:
    return field.text if field.starred else ",".join(map(str, field.values))
