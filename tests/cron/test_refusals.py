"""What is refused, with the whole line that the user reads, and that what a line advises to write is taken."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from brain_core import Cron, TriggerRefused

FIVE = "and five are needed (minute, hour, day-of-month, month, day-of-week)"
APART = "a user, a command or a comment does not belong into it"
NAMES = "(there are: @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually)"
EMPTY = "it is empty; write five fields, such as '0 9 * * 1-5' (09:00 on Monday to Friday)"
LAST = "'L' (the last day) is not cron; write 28, or run daily and check in the first step"
CHOICE = "'H' and 'R' (a value of the machine's choice) are of Jenkins; write a number"

REFUSED = {
    # wrong
    "": EMPTY,
    " \t ": EMPTY,
    "every day": f"it has 2 fields, {FIVE}",
    "* * * *": f"it has 4 fields, {FIVE}",
    "0\u00a09 * * *": f"it has 4 fields, {FIVE}",
    "0 0 9 * * 1-5": f"it has 6 fields, {FIVE}; there are no seconds: write '0 9 * * 1-5'",
    "*/5 * * * * *": f"it has 6 fields, {FIVE}; there are no seconds and no years",
    "0 9 * * * 2030": f"it has 6 fields, {FIVE}; there are no years: write '0 9 * * *'",
    "0 0 31 2 * 2030": f"it has 6 fields, {FIVE}; there are no seconds and no years",
    "TZ=UTC 0 9 * * *": f"it has 6 fields, {FIVE}; the time zone is given apart from it: write '0 9 * * *'",
    "CRON_TZ=UTC @daily": f"it has 2 fields, {FIVE}; the time zone is given apart from it: write '@daily'",
    "0 9 * * 1-5 /opt/backup.sh": f"it has 6 fields, {FIVE}; {APART}: write '0 9 * * 1-5'",
    "*/5 * * * *\troot cd / && run -x 5": f"it has 12 fields, {FIVE}; {APART}: write '*/5 * * * *'",
    "30 6 * * 1 # weekly": f"it has 7 fields, {FIVE}; {APART}: write '30 6 * * 1'",
    "0 9 * * MONDAY run": f"it has 6 fields, {FIVE}; there are no seconds and no years",
    "0 0 9 * * 1 2030": f"it has 7 fields, {FIVE}; there are no seconds and no years",
    "61 * * * *": "minute 61 is out of range; it goes from 0 to 59",
    "* 24 * * *": "hour 24 is out of range; it goes from 0 to 23",
    "* 8-24 * * *": "hour 24 in '8-24' is out of range; it goes from 0 to 23",
    "* * 0 * *": "day-of-month 0 is out of range; it goes from 1 to 31",
    "* * * 13 *": "month 13 is out of range; it goes from 1 to 12",
    "* * * * 8": "day-of-week 8 is out of range; it goes from 0 to 7",
    "0 0 99999999999 * *": "day-of-month '99999999999' is not understood; write numbers from 1 to 31",
    "0 9 * * \u0665": "day-of-week '\\u0665' holds a character that no field has",
    "0 9 * * 1\u20135": "day-of-week '1\\u20135' holds a character that no field has",
    "0 9 * * *\n": "day-of-week '*\\n' holds a character that no field has",
    "0 9 * * \x00": "day-of-week '\\x00' holds a character that no field has",
    "9:00 * * * *": "minute '9:00' holds a character that no field has",
    "0 9 * * MONDAY": "day-of-week 'MONDAY' is not understood; did you mean 'MON'?",
    "0 9 * * teu": "day-of-week 'teu' is not understood; did you mean 'TUE'?",
    "0 9 * JANUAR *": "month 'JANUAR' is not understood; did you mean 'JAN'?",
    "0 9 * 5-x *": "month '5-x' is not understood; write numbers from 1 to 12 or JAN to DEC",
    "MON * * * *": "minute 'MON' is not understood; write numbers from 0 to 59",
    "1,,2 * * * *": "minute '1,,2' has a comma too many",
    "0 9 * * mon-fri,": "day-of-week 'mon-fri,' has a comma too many",
    "5- * * * *": "minute '5-' lacks a number; write numbers from 0 to 59",
    "-5 * * * *": "minute '-5' lacks a number; write numbers from 0 to 59",
    "1-5-7 * * * *": "minute '1-5-7' is not understood; write numbers from 0 to 59",
    "*5 * * * *": "minute '*5' is not understood; write numbers from 0 to 59",
    "*/ * * * *": "minute '*/': after '/' stands a number, as in '*/5'",
    "1-5/2/3 * * * *": "minute '1-5/2/3': after '/' stands a number, as in '*/5'",
    # of others
    "@reboot": f"a restart of the machine is no instant that can be computed ahead {NAMES}",
    "@every 5m": "@every is not cron; every five minutes is '*/5 * * * *', every two hours '0 */2 * * *'",
    "@DAILY": "there is no @DAILY; did you mean '@daily'?",
    "@noon": f"there is no @noon {NAMES}",
    "@daily 5": "@daily stands alone; write '@daily', or the five fields",
    "R * * * *": f"minute 'R': {CHOICE}",
    "H/15 * * * *": f"minute 'H/15': {CHOICE}",
    "0 h(0-7) * * *": f"hour 'h(0-7)': {CHOICE}",
    "0~30 * * * *": "minute '0~30': '~' (a random value) is not taken: a schedule's instants have to be the same on "
    "each host",
    "0 0 ? * 1": "day-of-month '?': '?' is of Quartz; write '*'",
    "0 0 L * *": f"day-of-month 'L': {LAST}",
    "0 0 1,l * *": f"day-of-month '1,l': {LAST}",
    "0 0 * * 5L": f"day-of-week '5L': {LAST}",
    "0 0 * * L5": f"day-of-week 'L5': {LAST}",
    "0 0 * * 1#2": "day-of-week '1#2': '#' (the nth weekday of a month) is not cron; name days of the month, such as "
    "8-14 for the second week",
    "0 0 15W * *": "day-of-month '15W': 'W' (the nearest weekday) is not cron; write the day alone",
    # impossible
    "0 0 31 2 *": "it never comes: there is no day 31 in Feb",
    "0 0 30,31 2 */2": "it never comes: there is no day 30 in Feb",
    "0 0 31 4,6,9,11 *": "it never comes: there is no day 31 in Apr, Jun, Sep, Nov",
    "*/0 * * * *": "minute '*/0': a step of 0 leads nowhere; write 1 or more",
    # surprising
    "1-1 * * * *": "minute '1-1' begins and ends with the same value; write '1'",
    "1-1/2 * * * *": "minute '1-1/2' begins and ends with the same value; write '1'",
    "0 9 * * MON-MON": "day-of-week 'MON-MON' begins and ends with the same value; write 'MON'",
    "0 9 * * 7-7": "day-of-week '7-7' begins and ends with the same value; write '7'",
    "0 22-2 * * *": "hour '22-2' runs backwards; write '22-23,0-2'",
    "0 23-0 * * *": "hour '23-0' runs backwards; write '23,0'",
    "0 9 * * FRI-MON": "day-of-week 'FRI-MON' runs backwards; write 'FRI-SAT,SUN-MON'",
    "0 9 * * 5-1": "day-of-week '5-1' runs backwards; write '5-6,0-1'",
    "0 9 * * SAT-SUN": "day-of-week 'SAT-SUN' runs backwards; Sunday is 0 or 7: write '6-7'",
    "0 9 * * 7-2": "day-of-week '7-2' runs backwards; Sunday is 0 or 7: write '0-2'",
    "0 9 * NOV-FEB *": "month 'NOV-FEB' runs backwards; write 'NOV-DEC,JAN-FEB'",
    "*/70 * * * *": "minute '*/70': a step of 70 leaves only 0 of 0-59; write '0'",
    "*/60 * * * *": "minute '*/60': a step of 60 leaves only 0 of 0-59; write '0'",
    "10-20/15 * * * *": "minute '10-20/15': a step of 15 leaves only 10 of 10-20; write '10'",
    "5/15 * * * *": "minute '5/15': a step needs a range or '*' before it; write '5-59/15', or '5' alone",
    "59/15 * * * *": "minute '59/15': a step needs a range or '*' before it; write '59'",
    "*,5 * * * *": "minute '*,5': '*' is every value already; write '*', or the others without it",
}


def _complaint(expression: str, timezone: str | None = None) -> str:
    with pytest.raises(TriggerRefused) as raised:
        Cron(expression, timezone=timezone).check()
    return str(raised.value)


@pytest.mark.parametrize("expression", REFUSED, ids=ascii)
def test_an_expression_is_refused_with_the_reason(expression: str) -> None:
    assert _complaint(expression) == f"cron expression {expression!a}: {REFUSED[expression]}"


def test_a_long_expression_is_refused_in_a_short_line() -> None:
    sixty = ",".join(map(str, range(60)))
    Cron(f"{sixty} {sixty[:61]} * * *").check()
    fits, over = "0 " + " " * 991 + "9 * * *", "0 " + " " * 992 + "9 * * *"
    assert (len(fits), len(over)) == (1_000, 1_001)
    Cron(fits).check()
    text = _complaint(over)
    assert text.endswith("...': it has 1,001 characters; at most 1,000 are taken")
    assert len(text) < 150


@pytest.mark.parametrize(
    "expression", [each for each in REFUSED if re.search(r"write '[^']", REFUSED[each])], ids=ascii
)
def test_what_a_refusal_advises_is_taken(expression: str) -> None:
    for advice in re.findall(r"write '([^']+)'", REFUSED[expression]):
        words = expression.split()
        if " " in advice or advice.startswith("@"):
            Cron(advice).check()
            continue
        wrong = REFUSED[expression].split("'")[1]
        assert wrong in words
        Cron(" ".join(advice if word == wrong else word for word in words)).check()


TAKEN = [
    "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually",
    "* * * * *", "  0\t9 * * 1-5  ", "0 9 * * mon-FRI", "0 9 * Jan-Mar,jul *", "0 0 * * 7", "0 0 * * 0-7",
    "0 0 * * 6-7",
    "0 0 29 2 *", "0 0 31 2 1", "*/59 */23 */30 */11 */6", "00 09 01 01 *", "1-59/2 * * * *", "*/5,7 * * * *",
    "0 0 30 1,2 *",
]  # fmt: skip


@pytest.mark.parametrize("expression", TAKEN)
def test_an_expression_is_taken(expression: str) -> None:
    Cron(expression).check()


HINT = "; write a name of the tz database, such as 'UTC' or 'Europe/Berlin'"
ZONES = {
    "Europe/Berln": "; did you mean 'Europe/Berlin'?",
    "europe/berlin": "; did you mean 'Europe/Berlin'?",
    "berlin": "; did you mean 'Europe/Berlin'?",
    "New York": "; did you mean 'America/New_York'?",
    "UTC\x00": "; did you mean 'UTC'?",
    "": HINT,
    "Europe": HINT,
    "PST": HINT,
    "UTC+2": HINT,
    "+02:00": HINT,
    "localtime": HINT,
    "/etc/localtime": HINT,
    "../../etc/passwd": HINT,
    "posix/UTC": HINT,
    "right/UTC": HINT,
    "zone.tab": HINT,
    "x" * 300: HINT,
}


@pytest.mark.parametrize("name", ZONES, ids=lambda name: ascii(name[:20]))
def test_a_time_zone_is_refused_with_the_nearest(name: str) -> None:
    assert _complaint("@daily", name) == f"there is no time zone {name[:80]!a}{ZONES[name]}"


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "EST5EDT", "CET", "Etc/GMT+3", "GMT0"])
def test_a_time_zone_is_taken(name: str) -> None:
    Cron("@daily", timezone=name).check()


def test_too_many_open_files_are_not_the_fault_of_the_name(tmp_path: Any) -> None:
    import resource
    import zoneinfo

    zoneinfo.ZoneInfo.clear_cache(only_keys=["Pacific/Chatham"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                held.append((tmp_path / "x").open("w"))
        with pytest.raises(OSError, match="Too many open files"):
            Cron("@daily", timezone="Pacific/Chatham").check()
    finally:
        for file in held:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    Cron("@daily", timezone="Pacific/Chatham").check()
