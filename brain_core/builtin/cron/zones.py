"""Time zones: which there are, and the moments at which the clocks of one are changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from brain_core import TriggerRefused

# Of this host, of no place, or with leap seconds in them.
_NOT_PLACES = ("localtime", "posixrules", "Factory", "posix/", "right/", "Etc/Unknown", "leap")

_NAME = re.compile(r"[A-Za-z0-9_+/-]{1,100}")

_SAMPLE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Change:
    """The clocks go from one offset to another at an instant: from `before` (local, naive) to `after`."""

    instant: datetime
    before: datetime
    after: datetime


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> tzinfo:
    """Return a time zone; TriggerRefused names the nearest one when there is none of that name.

    What the operating system has against opening the file (too many open files) is not the name's fault and goes
    through as it is.
    """
    import zoneinfo

    if _NAME.fullmatch(name) and not name.startswith(_NOT_PLACES):
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ValueError):
            pass
    raise TriggerRefused(f"there is no time zone {name[:80]!a}{_nearest(name)}")


def _nearest(name: str) -> str:
    import difflib
    import zoneinfo

    zones = sorted(zoneinfo.available_timezones())
    known = {zone.lower(): zone for zone in zones if not zone.startswith(_NOT_PLACES)}
    wanted = name[:100].strip().lower().replace(" ", "_")
    # A city without its continent first: `Berlin`, `New York`.
    cities = [zone for lower, zone in known.items() if wanted and lower.rpartition("/")[2] == wanted]
    close = cities or [known[one] for one in difflib.get_close_matches(wanted, known, n=1, cutoff=0.8)]
    if close:
        return f"; did you mean '{close[0]}'?"
    return "; write a name of the tz database, such as 'UTC' or 'Europe/Berlin'"


# A year of a zone costs a fraction of a millisecond and a few hundred bytes.
@lru_cache(maxsize=8_192)
def _changes_of_year(zone: tzinfo, year: int) -> tuple[Change, ...]:
    """Return the changes within a year of UTC. No zone has ever had two that cancel out within twelve hours."""
    found = []
    at = datetime(year, 1, 1, tzinfo=UTC)
    offset = _offset(zone, at)
    end = datetime(year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        later = at + _SAMPLE
        if (new := _offset(zone, later)) != offset:
            found.append(_change(zone, at, later))
        at, offset = later, new
    return tuple(found)


def _change(zone: tzinfo, low: datetime, high: datetime) -> Change:
    """Return the change between two instants, to the second."""
    before = _offset(zone, low)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    naive = high.replace(tzinfo=None)
    return Change(high, naive + before, naive + _offset(zone, high))


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def next_change(zone: tzinfo, after: datetime, until: datetime) -> Change | None:
    """Return the first change of a zone later than `after` and not later than `until`."""
    for year in range(after.year, min(until.year, 9_998) + 1):
        for change in _changes_of_year(zone, year):
            if after < change.instant <= until:
                return change
    return None


def last_change(zone: tzinfo, until: datetime) -> Change | None:
    """Return the last change within the two days that end with `until`."""
    found = None
    after = until - timedelta(days=2)
    while (change := next_change(zone, after, until)) is not None:
        found, after = change, change.instant
    return found
