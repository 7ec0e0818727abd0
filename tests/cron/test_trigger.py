"""The trigger as a value, its words and notes, and what holds of its instants whatever the expression."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from brain_core import Cron, Trigger, TriggerRefused
from brain_core.builtin.cron import CronSettings
from brain_core.builtin.cron.fields import parsed
from brain_core.builtin.cron.instants import _stepper
from brain_core.builtin.cron.words import noted

from .oracle import ZONES, make

SINCE = datetime(2026, 5, 1, tzinfo=UTC)


def test_it_is_made_by_position_and_survives_json():
    trigger = Cron("0 9 * * 1-5", timezone="Europe/Berlin")
    assert trigger == Cron(cron="0 9 * * 1-5", timezone="Europe/Berlin")
    stored = trigger.model_dump(mode="json")
    assert stored == {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
    assert Cron.model_validate(stored) == trigger
    assert Cron("@daily").timezone is None
    assert Cron.is_timed()
    assert not Trigger.is_timed()


@pytest.mark.parametrize(
    ("unnamed", "named", "problem"),
    [
        (("a", "b"), {}, "Cron takes one expression: Cron"),
        (("a",), {"cron": "b"}, "Cron takes one expression: Cron"),
        ((), {}, "Field required"),
        ((5,), {}, "valid string"),
        (("@daily",), {"zone": "UTC"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_a_trigger_is_refused(unnamed, named, problem):
    with pytest.raises((TypeError, ValidationError), match=problem):
        Cron(*unnamed, **named)


def test_what_is_stored_names_its_time_zone():
    own = CronSettings(timezone="Asia/Tehran")
    assert Cron("@daily").with_defaults(own) == Cron("@daily", timezone="Asia/Tehran")
    assert Cron("@daily").with_defaults(None) == Cron("@daily", timezone="UTC")
    assert Cron("@daily", timezone="CET").with_defaults(own).timezone == "CET"
    with pytest.raises(ValidationError, match="there is no time zone 'Asia/Teheran'; did you mean 'Asia/Tehran'"):
        CronSettings(timezone="Asia/Teheran")


WORDS = {
    "0 9 * * 1-5": "at 09:00 on Monday to Friday",
    "0 9,17 * * 5": "at 09:00 and 17:00 on Friday",
    "@hourly": "at minute 0 of every hour",
    "@weekly": "at 00:00 on Sunday",
    "@monthly": "at 00:00 on day 1 of the month",
    "@yearly": "at 00:00 on day 1 of the month in January",
    "* * * * *": "every minute",
    "*/1 * * * *": "every minute",
    "* 9 * * *": "every minute of hour 9",
    "*/5 * * * *": "every 5 minutes",
    "*/7 * * * *": "every 7 minutes from each full hour",
    "0 */2 * * *": "at minute 0 of every 2nd hour from 00:00",
    "15,45 9-17 * * SAT,SUN": "at minutes 15 and 45 of hours 9 to 17 on Saturday and Sunday",
    "0-10,30 4 * * *": "at minutes 0 to 10 and 30 of hour 4",
    "0 0 13 * 5": "at 00:00 on day 13 of the month or on Friday",
    "0 0 */3 * 1,2": "at 00:00 on every 3rd day of the month from the 1st, if that is a Monday or Tuesday",
    "0 0 1-7 * */6": "at 00:00 on days 1 to 7 of the month, if that is a Saturday or Sunday",
    "0 9 * JAN-MAR,JUL 0-7": "at 09:00 on Monday to Sunday in January to March and July",
}


@pytest.mark.parametrize("expression", WORDS)
def test_it_is_told_in_words(expression):
    assert Cron(expression).describe() == WORDS[expression]
    assert Cron(expression, timezone="Europe/Berlin").describe() == f"{WORDS[expression]} (Europe/Berlin)"


EITHER = "are both restricted: a day that fits either of them counts, as in any cron"
BOTH = (
    "begins with '*': a day has to fit both day-of-month and day-of-week, as in Debian's cron; without a leading '*' "
    "either would do"
)
NOTES = [
    ("0 9 * * 1-5", "Europe/Berlin", []),
    ("0 0 * * 7", "UTC", []),
    ("*/15 * * * *", "UTC", []),
    ("0 0 13 * 5", "UTC", [f"day-of-month '13' and day-of-week '5' {EITHER}"]),
    ("0 0 1-7 * */6", "UTC", [f"day-of-week '*/6' {BOTH}"]),
    (
        "0 0 */2 * 1",
        "UTC",
        [
            f"day-of-month '*/2' {BOTH}",
            "'*/2' begins anew on the 1st of each month: the last step of a month is a shorter one",
        ],
    ),
    (
        "0 0 31 * *",
        "UTC",
        ["February, April, June, September and November have no day 31: nothing comes due on it there"],
    ),
    ("0 0 30 * *", "UTC", ["February has no day 30: nothing comes due on it there"]),
    ("0 0 29 * *", "UTC", ["29 February comes in leap years only"]),
    ("0 0 1-31 * *", "UTC", []),
    ("*/7 * * * *", "UTC", ["'*/7' begins anew with each hour: the last step of each hour is 4 min, not 7"]),
    ("0 */5 * * *", "UTC", ["'*/5' begins anew with each day: the last step of each day is 4 h, not 5"]),
    (
        "30 2 * * *",
        "Europe/Berlin",
        [
            "the clocks of Europe/Berlin show 2026-10-25 02:30 twice: it comes due the first time only",
            "the clocks of Europe/Berlin leap over 2027-03-28 02:30: it comes due at 03:00 then",
        ],
    ),
    ("30 2 * * 1-5", "Europe/Berlin", []),
    ("*/30 2 * * *", "Europe/Berlin", []),
    (
        "0 0-23 * * *",
        "Europe/Berlin",
        [
            "hour '0-23' counts as fixed times, which do not come twice when the clocks of Europe/Berlin go back; "
            "'*' follows elapsed time"
        ],
    ),
    ("0 0-23 * * *", "UTC", []),
    ("0 9 * * *", "Etc/GMT+3", ["Etc/GMT+3 is 3 h behind UTC: its sign is reversed"]),
    ("0 9 * * *", "Etc/GMT-12", ["Etc/GMT-12 is 12 h ahead of UTC: its sign is reversed"]),
]


@pytest.mark.parametrize(("expression", "timezone", "expected"), NOTES)
def test_what_surprises_is_noted(expression, timezone, expected):
    assert noted(parsed(expression), timezone, SINCE) == expected


def _due(expression: str, zone: str, since: str, count: int) -> list[str]:
    """Return what comes due after a local time, as local times with their offsets."""
    at: datetime | None = datetime.fromisoformat(since).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = []
    for _ in range(count):
        assert at is not None
        at = Cron(expression, timezone=zone).next_after(at)
        assert at is not None
        found.append(at.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


# The rows of the table in docs/reference/schedules.md, and the zones that are hard to get right.
CLOCKS = {
    ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00"): ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
    ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00"): ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"],
    ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00"): ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"],
    ("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:15"): ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"],
    ("0 */2 * * *", "Europe/Berlin", "2026-03-29T00:00"): ["2026-03-29T04:00+02:00", "2026-03-29T06:00+02:00"],
    ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00"): ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25T02:15"): [
        "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00", "2026-10-26T02:00+01:00",
    ],
    ("30 * * * *", "Europe/Berlin", "2026-10-25T02:00"): [
        "2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00",
    ],
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00"): ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00"): ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
    ("30 1 * * *", "Antarctica/Troll", "2026-03-28T12:00"): ["2026-03-29T03:00+02:00", "2026-03-30T01:30+02:00"],
    ("0 9 * * *", "Pacific/Apia", "2011-12-29T08:00"): [
        "2011-12-29T09:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T09:00+14:00",
    ],
    ("0 9 * * 5", "Pacific/Apia", "2011-12-29T08:00"): ["2011-12-31T00:00+14:00", "2012-01-06T09:00+14:00"],
    ("10 0 * * *", "Asia/Pyongyang", "2015-08-14T12:00"): ["2015-08-15T00:10+08:30", "2015-08-16T00:10+08:30"],
    ("45 23 * * *", "Asia/Pyongyang", "2018-05-04T12:00"): ["2018-05-05T00:00+09:00", "2018-05-05T23:45+09:00"],
    ("45 2 * * *", "America/Caracas", "2016-04-30T12:00"): ["2016-05-01T03:00-04:00", "2016-05-02T02:45-04:00"],
    ("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00"): ["2026-03-22T03:00+01:00", "2026-03-23T02:30+01:00"],
    ("30 0 * * *", "Asia/Beirut", "2026-03-28T12:00"): ["2026-03-29T01:00+03:00", "2026-03-30T00:30+03:00"],
}  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "since"), CLOCKS)
def test_changes_of_the_clocks(expression, zone, since):
    expected = CLOCKS[expression, zone, since]
    assert _due(expression, zone, since, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "since", "expected"),
    [
        # 2100 is no leap year.
        ("0 0 29 2 *", datetime(2096, 3, 1, tzinfo=UTC), datetime(2104, 2, 29, tzinfo=UTC)),
        # 29 February on a Saturday or Sunday: 28 years are the longest wait there is.
        ("0 0 29 2 */6", datetime(2072, 3, 1, tzinfo=UTC), datetime(2076, 2, 29, tzinfo=UTC)),
        ("0 0 29 2 */6", datetime(2088, 3, 1, tzinfo=UTC), datetime(2116, 2, 29, tzinfo=UTC)),
        ("0 0 1 1 *", datetime(9998, 6, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)),
        ("0 0 1 1 *", datetime(9999, 6, 1, tzinfo=UTC), None),
        ("* * * * *", datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None),
        ("0 0 * * *", datetime(2026, 5, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)),
        ("0 0 * * *", datetime(2026, 4, 30, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),
        ("* * * * *", datetime(2026, 5, 1, 0, 0, 59, 999_999, tzinfo=UTC), datetime(2026, 5, 1, 0, 1, tzinfo=UTC)),
    ],
)
def test_far_and_near_instants(expression, since, expected):
    assert Cron(expression, timezone="UTC").next_after(since) == expected
    if expected is None:
        assert Cron(expression, timezone="Europe/Berlin").next_after(since) is None


def test_an_instant_may_be_told_in_any_zone_but_needs_one():
    trigger = Cron("*/30 * * * *", timezone="Europe/Berlin")
    told = datetime(2026, 10, 25, 2, 15, tzinfo=ZoneInfo("Europe/Berlin"))
    found = [trigger.next_after(told.replace(fold=fold)) for fold in (0, 1)]
    assert found == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    with pytest.raises(ValueError, match="takes an instant with its offset"):
        trigger.next_after(datetime(2026, 10, 25))  # noqa: DTZ001


def test_threads_do_not_disturb_one_another():
    step = _stepper(parsed("7 3 * * *"))
    starts = [datetime(1980 + number % 100, 1 + number % 12, 5) for number in range(6_000)]  # noqa: DTZ001
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or threads hardly ever meet inside a call
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(step, starts, chunksize=1))
    finally:
        sys.setswitchinterval(interval)
    assert together == [start.replace(hour=3, minute=7) for start in starts]


EVERY_STEP = """
import sys
from brain_core import Cron
import brain_core.builtin.cron as plugin
Cron("0 9 * * 1-5").check()
Cron("0 9 * * 1-5").describe()
print(sorted({"croniter", "dateutil", "difflib", "typer"} & set(sys.modules)))
from datetime import datetime, UTC
print(Cron("0 9 * * 1-5").next_after(datetime(2026, 5, 1, 9, tzinfo=UTC)))
"""


def test_making_and_checking_one_loads_nothing_heavy(tmp_path):
    done = subprocess.run([sys.executable, "-c", EVERY_STEP], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n2026-05-04 09:00:00+00:00\n", "")


expressions = st.integers(0, 2**32).map(lambda seed: make(random.Random(seed), hours=(0, 1, 2, 3)).text)
instants = st.datetimes(datetime(1971, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=300, deadline=None)
@given(expressions, st.sampled_from(ZONES), instants, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_instants_are_later_and_never_go_back(expression, zone, first, distance):
    trigger = Cron(expression, timezone=zone)
    try:
        trigger.check()
    except TriggerRefused as error:  # the 31st of a month that has none
        assume("it never comes" not in str(error))
        raise
    second = first + distance
    one, two = trigger.next_after(first), trigger.next_after(second)
    assert one is not None
    assert two is not None
    assert first < one <= two
    assert two > second
    assert one.tzinfo is UTC
    # Nothing between: who asks again from within gets the same.
    assert trigger.next_after(one - timedelta(microseconds=1)) == one
    assert two == one or second >= one
    assert Cron.model_validate(trigger.model_dump(mode="json")).next_after(first) == one
