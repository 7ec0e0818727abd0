"""A cron expression → the values that each field stands for, or one line that says what is wrong and what to write.

Taken is what Debian's cron takes and means; what croniter, Quartz or Jenkins read otherwise, or what looks like
something that it is not, is refused. No library is needed for this: a workflow file with a schedule is checked at
each run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NoReturn

from brain_core import TriggerRefused

MAX_LENGTH = 1_000

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The most days that each month can have."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one of the five fields may hold."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def value_of(self, text: str) -> int | None:
        """Return the number that a number or a name stands for, whatever its size; None for anything else."""
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


KINDS = (
    Kind("minute", 0, 59),
    Kind("hour", 0, 23),
    Kind("day-of-month", 1, 31),
    Kind("month", 1, 12, MONTHS),
    Kind("day-of-week", 0, 7, WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its text, the values in it (of day-of-week 0 to 6, Sunday is 0), and whether it begins with `*`."""

    text: str
    values: tuple[int, ...]
    starred: bool

    @property
    def whole(self) -> bool:
        """Whether it is `*`: any value, and by that alone no restriction."""
        return self.text == "*"


@dataclass(frozen=True, slots=True)
class Expression:
    """A cron expression that means something and that comes about sometime."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def text(self) -> str:
        """The five fields, with one space between them."""
        return " ".join(field.text for field in self.fields)

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.minute, self.hour, self.day, self.month, self.weekday

    @property
    def follows_elapsed_time(self) -> bool:
        """Whether it is a wildcard job, which keeps its pace when the clock changes; else its times are fixed ones."""
        return self.minute.starred or self.hour.starred

    @property
    def either_day(self) -> bool:
        """Whether a day need fit day-of-month or day-of-week only; as Debian has it, a leading `*` asks for both."""
        return not (self.day.starred or self.weekday.starred)

    def fits(self, local: datetime) -> bool:
        """Whether a minute of local time fits; says nothing about the clocks being changed."""
        day = local.day in self.day.values
        weekday = local.isoweekday() % 7 in self.weekday.values
        return (
            local.minute in self.minute.values
            and local.hour in self.hour.values
            and local.month in self.month.values
            and (day or weekday if self.either_day else day and weekday)
        )


def _refuse(text: str, reason: str) -> NoReturn:
    shown = text if len(text) <= 60 else text[:57] + "..."
    raise TriggerRefused(f"cron expression {shown!a}: {reason}")


# Bounded, and enough for all the expressions that a daemon has; what is refused is not kept.
@lru_cache(maxsize=4_096)
def parsed(text: str) -> Expression:
    """Return what an expression means; TriggerRefused says why it means nothing, or not what it seems to."""
    if len(text) > MAX_LENGTH:
        _refuse(text, f"it has {len(text):,} characters; at most {MAX_LENGTH:,} are taken")
    words = re.findall(r"[^ \t]+", text)
    if not words:
        _refuse(text, "it is empty; write five fields, such as '0 9 * * 1-5' (09:00 on Monday to Friday)")
    if words[0].startswith("@"):
        words = _nickname(text, words).split()
    if len(words) != len(KINDS):
        _refuse(text, _count_problem(words))
    fields = [_field(text, kind, word) for kind, word in zip(KINDS, words, strict=True)]
    expression = Expression(*fields)
    _refuse_never(text, expression)
    return expression


def _nickname(text: str, words: list[str]) -> str:
    name = words[0]
    known = ", ".join(NICKNAMES)
    if name in NICKNAMES and len(words) == 1:
        return NICKNAMES[name]
    if name.lower() == "@reboot":
        _refuse(text, f"a restart of the machine is no instant that can be computed ahead (there are: {known})")
    if name.lower() == "@every":
        _refuse(text, "@every is not cron; every five minutes is '*/5 * * * *', every two hours '0 */2 * * *'")
    if name in NICKNAMES:
        _refuse(text, f"{name} stands alone; write '{name}', or the five fields")
    close = _close(name.lower(), NICKNAMES, 0.6)
    _refuse(
        text,
        f"there is no {ascii(name)[1:-1]}" + (f"; did you mean '{close[0]}'?" if close else f" (there are: {known})"),
    )


def _close(word: str, known: Iterable[str], least: float) -> list[str]:
    import difflib  # late: only a mistake needs it

    return difflib.get_close_matches(word, list(known), n=1, cutoff=least)


def _count_problem(words: list[str]) -> str:
    fields = ", ".join(kind.title for kind in KINDS)
    has = f"it has {len(words)} field{'s' if len(words) != 1 else ''}, and five are needed ({fields})"
    first, rest = " ".join(words[:5]), " ".join(words[1:])
    if len(words) == 6 and words[0] in {"0", "*", "00"} and _is_taken(rest):
        return f"{has}; there are no seconds: write '{rest}'"
    if len(words) == 6 and re.fullmatch(r"\d{4}", words[5], re.ASCII) and _is_taken(first):
        return f"{has}; there are no years: write '{first}'"
    if re.match(r"(?i)(CRON_)?TZ=", words[0]) and _is_taken(rest):
        return f"{has}; the time zone is given apart from it: write '{rest}'"
    # A line of a crontab: what cannot be a field is who runs what.
    if len(words) >= 6 and re.search(r"[^0-9*/,\-]", words[5]) and _is_taken(first):
        return f"{has}; a user, a command or a comment does not belong into it: write '{first}'"
    if len(words) in {6, 7}:
        return f"{has}; there are no seconds and no years"
    return has


def _is_taken(text: str) -> bool:
    try:
        parsed(text)
    except TriggerRefused:
        return False
    return True


def _field(text: str, kind: Kind, word: str) -> Field:
    _refuse_strange(text, kind, word)
    values: set[int] = set()
    items = word.split(",")
    for item in items:
        if not item:
            _refuse(text, f"{kind.title} '{word}' has a comma too many")
        if item == "*" and len(items) > 1:
            _refuse(text, f"{kind.title} '{word}': '*' is every value already; write '*', or the others without it")
        values.update(_values(text, kind, item))
    if kind.names == WEEKDAYS:
        values = {value % 7 for value in values}
    if word == "*/1":
        word = "*"
    return Field(word.upper(), tuple(sorted(values)), word.startswith("*"))


def _values(text: str, kind: Kind, item: str) -> range:
    """Return the values of one entry of a list: `*`, `*/2`, `5`, `1-5`, `1-5/2`."""
    body, slash, pace = item.partition("/")
    if body == "*":
        low, high, dash = kind.low, kind.high - (kind.names == WEEKDAYS), "-"
    else:
        first, dash, last = body.partition("-")
        low = _number(text, kind, first, item)
        high = _number(text, kind, last, item) if dash else low
    if dash and low > high:
        _refuse(text, f"{kind.title} '{item}' runs backwards{_unrolled(kind, low, high, item)}")
    if dash and low == high:
        _refuse(text, f"{kind.title} '{item}' begins and ends with the same value; write '{item.partition('-')[0]}'")
    if not slash:
        return range(low, high + 1)
    step = int(pace) if re.fullmatch(r"\d{1,9}", pace, re.ASCII) else None
    if step is None:
        _refuse(text, f"{kind.title} '{item}': after '/' stands a number, as in '*/5'")
    if step == 0:
        _refuse(text, f"{kind.title} '{item}': a step of 0 leads nowhere; write 1 or more")
    if not dash:
        # Debian's cron ignores the step, others go on to the end of the field.
        more = f"; write '{body}-{kind.high}/{step}', or '{body}' alone" if low < kind.high else f"; write '{body}'"
        _refuse(text, f"{kind.title} '{item}': a step needs a range or '*' before it{more}")
    if step > high - low:
        _refuse(text, f"{kind.title} '{item}': a step of {step} leaves only {low} of {low}-{high}; write '{low}'")
    return range(low, high + 1, step)


def _number(text: str, kind: Kind, word: str, item: str) -> int:
    value = kind.value_of(word)
    if value is None:
        close = _close(word.upper(), kind.names, 0.3)
        names = f" or {kind.names[0]} to {kind.names[-1]}" if kind.names else ""
        guess = f"; did you mean '{close[0]}'?" if close else f"; write numbers from {kind.low} to {kind.high}{names}"
        what = "lacks a number" if not word else "is not understood"
        _refuse(text, f"{kind.title} '{item}' {what}{guess}")
    if not kind.low <= value <= kind.high:
        inside = "" if word == item else f" in '{item}'"
        _refuse(text, f"{kind.title} {value}{inside} is out of range; it goes from {kind.low} to {kind.high}")
    return value


def _unrolled(kind: Kind, low: int, high: int, item: str) -> str:
    """Return how a range over the end of the field is to be written: in names when it was written so."""
    top = 6 if kind.names == WEEKDAYS else kind.high

    def shown(value: int) -> str:
        return kind.names[value - kind.low] if kind.names and item[0].isalpha() else str(value)

    def run(first: int, last: int) -> str:
        return f"{shown(first)}-{shown(last)}" if first < last else shown(first)

    tail = run(kind.low, high)
    if low > top:
        return f"; Sunday is 0 or 7: write '{tail}'"
    if top < kind.high and high == 0:
        return f"; Sunday is 0 or 7: write '{low}-7'"
    return f"; write '{run(low, top)},{tail}'"


_STRANGE = (
    (r"\?", "'?' is of Quartz; write '*'"),
    (r"#", "'#' (the nth weekday of a month) is not cron; name days of the month, such as 8-14 for the second week"),
    (r"~", "'~' (a random value) is not taken: a schedule's instants have to be the same on each host"),
    (r"(?i)\b[HR]\b", "'H' and 'R' (a value of the machine's choice) are of Jenkins; write a number"),
    (r"(?i)^(L|L-?\d+|\d+L|LW)$", "'L' (the last day) is not cron; write 28, or run daily and check in the first step"),
    (r"(?i)^(W\d+|\d+W)$", "'W' (the nearest weekday) is not cron; write the day alone"),
)


def _refuse_strange(text: str, kind: Kind, word: str) -> None:
    """Refuse what other programs take, with the reason; the rest is said by the part that cannot be read."""
    if re.search(r"[^A-Za-z0-9*/,\-?#~()@%]", word):
        _refuse(text, f"{kind.title} {word[:40]!a} holds a character that no field has")
    for pattern, problem in _STRANGE:
        if any(re.search(pattern, item) for item in word.split(",")):
            _refuse(text, f"{kind.title} '{word}': {problem}")


def _refuse_never(text: str, expression: Expression) -> None:
    """Refuse what no calendar has, such as 31 February: some day that fits has to be in some month that fits."""
    if expression.either_day:
        return
    first = expression.day.values[0]
    if all(first > LONGEST[month - 1] for month in expression.month.values):
        months = ", ".join(MONTHS[month - 1].title() for month in expression.month.values)
        _refuse(text, f"it never comes: there is no day {first} in {months}")
