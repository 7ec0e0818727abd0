"""What comes due against a walk through UTC, minute by minute, over zones whose clocks do odd things."""

from __future__ import annotations

import random
import sys
from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import pytest

from brain_core import Cron, TriggerRefused

from .oracle import ZONES, Made, Window, changes, due_in, make, walk

SEED = 20_260_501
YEARS = (1972, 2045)


def _windows(rng: random.Random, zone: str, count: int) -> list[Window]:
    """Stretches of a zone, most of them around a change of its clocks."""
    known = changes(zone, *YEARS)
    windows = []
    for _ in range(count):
        if known and rng.random() < 0.9:
            start = rng.choice(known) - timedelta(minutes=rng.randint(0, 2_200))
        else:
            start = datetime(rng.randint(*YEARS), rng.randint(1, 12), rng.randint(1, 28), tzinfo=UTC)
        windows.append(walk(zone, start, timedelta(hours=60)))
    return windows


def _hours(window: Window) -> tuple[int, ...]:
    """The hours on the wall around whatever happens in a window."""
    odd = [(hour, missed) for _, _, hour, _, first, missed in window.minutes if missed or not first]
    return tuple(sorted({hour for hour, _ in odd} | {gone.hour for _, missed in odd for gone in missed}))


def _hold(made: Made, window: Window, rng: random.Random) -> int:
    """Hold an expression against the walk; return at how many instants it was asked."""
    expected = due_in(made, window)
    trigger = Cron(made.text, timezone=window.zone)
    if not _comes_about(made):
        with pytest.raises(TriggerRefused, match="it never comes"):
            trigger.check()
        assert not expected
        return 0
    trigger.check()
    asked = [window.start, *expected[:25]]
    span = (window.end - window.start) // timedelta(milliseconds=1)
    asked += [window.start + timedelta(milliseconds=rng.randrange(span)) for _ in range(6)]
    for instant in asked:
        place = bisect_right(expected, instant)
        found = trigger.next_after(instant)
        if place < len(expected):
            assert found == expected[place], (made.text, window.zone, instant)
        else:
            assert found is None or found > window.end, (made.text, window.zone, instant, found)
    return len(asked)


def _comes_about(made: Made) -> bool:
    """Whether any day of a leap year or of the 27 years after it fits; after those the days of the week come again."""
    if any(made.on(2000, month, day) for month in made.months for day in range(1, 29)):
        return True
    days = (datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(28 * 366))
    return any(made.on(day.year, day.month, day.day) for day in days)


def _trial(seed: int, windows: int, expressions: int) -> tuple[int, int]:
    rng = random.Random(seed)
    held = asked = 0
    for zone in ZONES:
        for window in _windows(rng, zone, windows):
            hours = _hours(window)
            for _ in range(expressions):
                asked += _hold(make(rng, hours=hours), window, rng)
                held += 1
    return held, asked


def test_instants_are_those_of_the_walk():
    held, asked = _trial(SEED, windows=2, expressions=12)
    assert (held, asked > 3 * held) == (384, True)


@pytest.mark.long
def test_instants_of_many_expressions_are_those_of_the_walk(capsys):
    seed = random.SystemRandom().randrange(2**32)
    with capsys.disabled():
        sys.stdout.write(f"\nseed {seed}\n")
        held, asked = _trial(seed, windows=60, expressions=24)
        sys.stdout.write(f"{held:,} expressions in zones held against the walk, asked at {asked:,} instants\n")
    assert held >= 20_000


def _days(made: Made, after: datetime, count: int) -> list[datetime]:
    """Return the first due instants after one in UTC, by looking at each day of up to 41 years."""
    found: list[datetime] = []
    day = after.replace(hour=0, minute=0)
    times = sorted((hour, minute) for hour in made.hours for minute in made.minutes)
    for _ in range(41 * 366):
        if made.on(day.year, day.month, day.day):
            found += [at for hour, minute in times if (at := day.replace(hour=hour, minute=minute)) > after]
        if len(found) >= count:
            break
        day += timedelta(days=1)
    return found[:count]


def test_rare_days_come_as_a_walk_through_the_days_has_them():
    rng = random.Random(SEED)
    for number in range(150):
        made = make(rng)
        if number % 3 == 0:  # days that few months have
            days = frozenset(rng.sample(range(28, 32), 2))
            text = made.text.split()
            text[2] = ",".join(map(str, days))
            made = Made(" ".join(text), made.minutes, made.hours, days, made.months, made.weekdays)
        after = datetime(
            rng.randint(1975, 2095), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), tzinfo=UTC
        )
        expected = _days(made, after, 5)
        trigger = Cron(made.text, timezone="UTC")
        found, at = [], after
        while len(found) < len(expected) and (due := trigger.next_after(at)) is not None:
            found.append(due)
            at = due
        assert found == expected, made.text
