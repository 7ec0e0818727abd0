"""An expression in words, and what surprises about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from brain_core.builtin.cron.fields import LONGEST, Expression, Field
from brain_core.builtin.cron.zones import Change, next_change, zone_of

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MOST_TIMES = 6


def described(expression: Expression, timezone: str | None) -> str:
    """Return an expression in one line, such as `at 09:00 on Monday to Friday (UTC)`."""
    parts = [_times(expression), _days(expression), _months(expression.month)]
    zone = f" ({timezone})" if timezone is not None else ""
    return " ".join(part for part in parts if part) + zone


def _times(expression: Expression) -> str:
    minute, hour = expression.minute, expression.hour
    if len(minute.values) * len(hour.values) <= _MOST_TIMES:
        return "at " + _and([f"{at:02}:{past:02}" for at in hour.values for past in minute.values])
    pace = _pace(minute)
    if minute.whole:
        past = "every minute"
    elif pace:
        past = f"every {pace} minutes" if 60 % pace == 0 else f"every {pace} minutes from each full hour"
    else:
        past = f"at minute{'s' if len(minute.values) > 1 else ''} {_and(_runs(minute.values))}"
    if hour.whole:
        return past if minute.starred else f"{past} of every hour"
    if every := _pace(hour):
        return f"{past} of every {_ordinal(every)} hour from 00:00"
    return f"{past} of hour{'s' if len(hour.values) > 1 else ''} {_and(_runs(hour.values))}"


def _days(expression: Expression) -> str:
    day, weekday = expression.day, expression.weekday
    every = _pace(day)
    numbers = f"day{'s' if len(day.values) > 1 else ''} {_and(_runs(day.values))} of the month"
    if every:
        numbers = f"every {_ordinal(every)} day of the month from the 1st"
    # The week begins on Monday, so that Saturday and Sunday stand together.
    order = [_DAYS[number % 7] for number in range(1, 8)]
    names = _runs([(number - 1) % 7 for number in weekday.values], order)
    if weekday.whole:
        return "" if day.whole else f"on {numbers}"
    if day.whole:
        return f"on {_and(names)}"
    if expression.either_day:
        return f"on {numbers} or on {_and(names)}"
    return f"on {numbers}, if that is a {_and(names, 'or')}"


def _months(month: Field) -> str:
    return "" if month.whole else f"in {_and(_runs([number - 1 for number in month.values], _MONTHS))}"


def _pace(field: Field) -> int | None:
    """Return n when a field is `*/n`, with n over 1."""
    star, slash, pace = field.text.partition("/")
    return int(pace) if star == "*" and slash and pace.isdigit() and int(pace) > 1 else None


def _runs(values: Sequence[int], names: Sequence[str] | None = None) -> list[str]:
    """Return values in order, three and more that follow one another as `a to b`."""
    found: list[list[int]] = []
    for value in sorted(values):
        if found and value == found[-1][-1] + 1:
            found[-1].append(value)
        else:
            found.append([value])
    words = []
    for run in found:
        shown = [names[value] if names else str(value) for value in run]
        words += [f"{shown[0]} to {shown[-1]}"] if len(run) > 2 else shown
    return words


def _and(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def noted(expression: Expression, timezone: str, since: datetime) -> list[str]:
    """Return what surprises about an expression in a zone, one line each; of changed clocks those of a year."""
    notes = [
        *_of_days(expression),
        *_of_months(expression),
        *_of_paces(expression),
        *_of_clocks(expression, timezone, since),
    ]
    if timezone.startswith(("Etc/GMT+", "Etc/GMT-")) and timezone[-1] != "0":
        hours = timezone[8:]
        notes.append(
            f"{timezone} is {hours} h {'behind' if timezone[7] == '+' else 'ahead of'} UTC: its sign is reversed"
        )
    return notes


def _of_days(expression: Expression) -> Iterator[str]:
    day, weekday = expression.day, expression.weekday
    if day.whole or weekday.whole:
        return
    if expression.either_day:
        yield (
            f"day-of-month '{day.text}' and day-of-week '{weekday.text}' are both restricted: "
            "a day that fits either of them counts, as in any cron"
        )
        return
    name, starred = ("day-of-month", day) if day.starred else ("day-of-week", weekday)
    yield (
        f"{name} '{starred.text}' begins with '*': a day has to fit both day-of-month and day-of-week, "
        "as in Debian's cron; without a leading '*' either would do"
    )


def _of_months(expression: Expression) -> Iterator[str]:
    day, months = expression.day, expression.month.values
    # Who lists most of the days wants those that are there.
    if day.starred or len(day.values) >= LONGEST[1] - 1:
        return
    for number in day.values:
        lacking = [month for month in months if number > LONGEST[month - 1]]
        if lacking:
            names = _and([_MONTHS[month - 1] for month in lacking])
            yield f"{names} {'have' if len(lacking) > 1 else 'has'} no day {number}: nothing comes due on it there"
        if number == LONGEST[1] and 2 in months:
            yield "29 February comes in leap years only"


def _of_paces(expression: Expression) -> Iterator[str]:
    for field, whole, of, unit in (
        (expression.minute, 60, "hour", "min"),
        (expression.hour, 24, "day", "h"),
    ):
        pace = _pace(field)
        if pace and whole % pace:
            rest = whole - field.values[-1]
            yield f"'{field.text}' begins anew with each {of}: the last step of each {of} is {rest} {unit}, not {pace}"
    if (pace := _pace(expression.day)) is not None:
        yield f"'{expression.day.text}' begins anew on the 1st of each month: the last step of a month is a shorter one"


def _of_clocks(expression: Expression, timezone: str, since: datetime) -> Iterator[str]:
    """Tell of the first fixed time within a year that the clocks leap over, and of the first that they repeat."""
    if expression.follows_elapsed_time:
        return
    zone = zone_of(timezone)
    told: set[bool] = set()
    at, until = since, since + timedelta(days=366)
    while (change := next_change(zone, at, until)) is not None:
        if not told and len(expression.hour.values) == 24:
            yield (
                f"hour '{expression.hour.text}' counts as fixed times, which do not come twice when the clocks of "
                f"{timezone} go back; '*' follows elapsed time"
            )
            return
        at = change.instant
        leap = change.after > change.before
        found = _first_between(expression, min(change.before, change.after), max(change.before, change.after))
        if found is not None and leap not in told:
            told.add(leap)
            yield _clocks(found, change, timezone)


def _clocks(found: datetime, change: Change, timezone: str) -> str:
    when = f"{found:%Y-%m-%d %H:%M}"
    if change.after > change.before:
        return f"the clocks of {timezone} leap over {when}: it comes due at {change.after:%H:%M} then"
    return f"the clocks of {timezone} show {when} twice: it comes due the first time only"


def _first_between(expression: Expression, first: datetime, end: datetime) -> datetime | None:
    at = first.replace(second=0)
    while at < end:
        if at >= first and expression.fits(at):
            return at
        at += timedelta(minutes=1)
    return None
