"""What comes due, found by walking through UTC minute by minute: no parser, no croniter, no arithmetic with offsets.

The walker looks at nothing but what the clock on the wall of a zone shows at each minute. An expression is made here
together with the values that it means.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

ZONES = (
    "America/New_York", "Europe/London", "Europe/Dublin", "Australia/Lord_Howe", "Antarctica/Troll",
    "America/Sao_Paulo", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Asia/Tehran",
    "Asia/Pyongyang", "Asia/Kathmandu", "America/Caracas", "Pacific/Apia", "UTC",
)  # fmt: skip

MINUTE = timedelta(minutes=1)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = {
    3: dict(enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1)),
    4: dict(enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])),
}


@dataclass(frozen=True)
class Made:
    """An expression as text, and what it means."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""

    @property
    def wildcard(self) -> bool:
        return any(self.text.split()[number].startswith("*") for number in (0, 1))

    def on(self, year: int, month: int, day: int) -> bool:
        if month not in self.months:
            return False
        number = day in self.days
        name = datetime(year, month, day, tzinfo=UTC).isoweekday() % 7 in self.weekdays
        both = any(self.text.split()[at].startswith("*") for at in (2, 4))
        return number and name if both else number or name


def make(rng: random.Random, *, hours: tuple[int, ...] = ()) -> Made:
    """Make an expression; its hours are often among the given ones, so that it meets changes of the clocks there."""
    shares = (0.35, 0.4, 0.7, 0.8, 0.6)
    fields = [("*", _all(at)) if rng.random() < shares[at] else _field(rng, at) for at in range(5)]
    if hours and rng.random() < 0.6:
        some = sorted(set(rng.choices(hours, k=rng.randint(1, 3))))
        fields[1] = (",".join(map(str, some)), frozenset(some))
    sets = [values for _, values in fields]
    return Made(" ".join(text for text, _ in fields), *sets[:4], frozenset(value % 7 for value in sets[4]))


def _all(at: int) -> frozenset[int]:
    low, high = _RANGES[at]
    return frozenset(range(low, high + 1))


def _field(rng: random.Random, at: int) -> tuple[str, frozenset[int]]:
    entries = [_entry(rng, at) for _ in range(1 if rng.random() < 0.6 else rng.randint(2, 4))]
    return ",".join(text for text, _ in entries), frozenset().union(*(values for _, values in entries))


def _entry(rng: random.Random, at: int) -> tuple[str, frozenset[int]]:
    low, high = _RANGES[at]
    kind = rng.random()
    if kind < 0.45:
        value = rng.randint(low, high)
        return _name(rng, at, value), frozenset({value})
    if kind < 0.65:
        high = 6 if at == 4 else high
        pace = rng.randint(1, min(high - low, rng.choice([3, 15, 59])))
        return f"*/{pace}", frozenset(range(low, high + 1, pace))
    first, last = sorted(rng.sample(range(low, high + 1), 2))
    pace = rng.randint(1, last - first) if kind < 0.8 else 1
    text = f"{_name(rng, at, first)}-{_name(rng, at, last)}" + (f"/{pace}" if kind < 0.8 else "")
    return text, frozenset(range(first, last + 1, pace))


def _name(rng: random.Random, at: int, value: int) -> str:
    name = _NAMES.get(at, {}).get(value)
    if name is None or rng.random() < 0.6:
        return f"0{value}" if value < 10 and rng.random() < 0.1 else str(value)
    return rng.choice([name, name.lower(), name.title()])


@dataclass(frozen=True)
class Window:
    """A stretch of time in a zone: each minute of UTC with what the clock shows, and the minutes that it left out."""

    zone: str
    start: datetime
    end: datetime
    minutes: tuple[tuple[datetime, tuple[int, int, int], int, int, bool, tuple[datetime, ...]], ...]
    """Instant; date, hour and minute on the wall; whether it is the first time it shows that; what it leapt over."""


def walk(zone: str, start: datetime, length: timedelta) -> Window:
    """Look at the clock of a zone at each minute of a stretch; two days before it count for what came before."""
    place = ZoneInfo(zone)
    minutes = []
    last = highest = (start - timedelta(days=2)).astimezone(place).replace(tzinfo=None, fold=0)
    at = start - timedelta(days=2)
    while at < start + length:
        at += MINUTE
        shown = at.astimezone(place).replace(tzinfo=None, fold=0)
        missed = []
        while shown - last > MINUTE:
            last += MINUTE
            missed.append(last)
        first = shown > highest
        highest, last = max(highest, shown), shown
        if at > start:
            date = (shown.year, shown.month, shown.day)
            minutes.append((at, date, shown.hour, shown.minute, first, tuple(missed)))
    return Window(zone, start, start + length, tuple(minutes))


def due_in(made: Made, window: Window) -> list[datetime]:
    """Return every instant in a window, its start left out and its end in it, at which an expression comes due."""
    found = []
    dates: dict[tuple[int, int, int], bool] = {}
    wildcard, hours, minutes = made.wildcard, made.hours, made.minutes
    for at, date, hour, minute, first, missed in window.minutes:
        fits = False
        if hour in hours and minute in minutes and (wildcard or first):
            if date not in dates:
                dates[date] = made.on(*date)
            fits = dates[date]
        if missed and not wildcard and not fits:
            fits = any(
                gone.hour in hours and gone.minute in minutes and made.on(gone.year, gone.month, gone.day)
                for gone in missed
            )
        if fits:
            found.append(at)
    return found


@lru_cache
def changes(zone: str, first: int, last: int) -> tuple[datetime, ...]:
    """Return the minutes of UTC at which the clocks of a zone changed, in some years."""
    place = ZoneInfo(zone)
    found = []
    at, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    while at < end:
        later = at + timedelta(hours=12)
        if at.astimezone(place).utcoffset() != later.astimezone(place).utcoffset():
            while at.astimezone(place).utcoffset() != later.astimezone(place).utcoffset():
                at += MINUTE
            found.append(at)
        at = later
    return tuple(found)
