"""Reads what was typed on the command line: inputs, moments and durations. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from brain_core.errors import UsageError, nearest
from brain_core.schedule import MAX_CATCH_UP, CatchUp

Overlap: TypeAlias = Literal["skip", "allow"]
When: TypeAlias = Callable[[datetime], datetime]
"""A moment by what is now, with a zone. The database's clock says that (G5): the one here may be wrong."""

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_inputs(texts: Iterable[str]) -> dict[str, str]:
    """Return `NAME=VALUE` texts as a dict; UsageError names the first that is none or comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--input {text!r} is not NAME=VALUE; write for example --input who=ann")
        if name in found:
            raise UsageError(f"--input {name} is given twice, as {found[name]!r} and as {value!r}; give it once")
        found[name] = value
    return found


def read_since(text: str) -> When:
    """Return the moment that `text` names: ISO 8601 (local time unless it says a zone), or an age such as `2h`.

    UsageError says what is accepted.
    """
    if match := _AGO.fullmatch(text.strip().lower()):
        age = timedelta(**{_UNITS[match[2]]: int(match[1])})

        def ago(now: datetime) -> datetime:
            try:
                return now - age
            except OverflowError:
                raise UsageError(f"--since {text!r} lies before all time; give a shorter age") from None

        return ago
    try:
        moment = datetime.fromisoformat(text.strip())
        given = moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r} is neither an age (30s, 5m, 2h, 3d, 1w) nor a time (2026-05-01, 2026-05-01T08:00+02:00)"
        ) from None
    return lambda now: given


def read_until(text: str, option: str = "--until") -> When:
    """Return the moment to come that `text` names: ISO 8601 (local time unless it says a zone), or a time from now.

    UsageError names the option and says what is accepted; that the moment is over is said when it is asked for.
    """
    ahead, given = timedelta(0), None
    if match := _AGO.fullmatch(text.strip().lower()):
        ahead = timedelta(**{_UNITS[match[2]]: int(match[1])})
    else:
        try:
            given = datetime.fromisoformat(text.strip()).astimezone()
        except (ValueError, OverflowError):
            raise UsageError(
                f"{option} {text!r} is neither a time from now (30s, 5m, 2h, 3d, 1w) nor a time "
                "(2026-05-01, 2026-05-01T08:00+02:00)"
            ) from None

    def until(now: datetime) -> datetime:
        try:
            moment = given or now + ahead
        except OverflowError:
            raise UsageError(f"{option} {text!r} lies after all time; give a shorter time") from None
        if moment <= now:
            raise UsageError(f"{option} {text!r} is over; give a time to come, such as 2h")
        return moment

    return until


def read_age(text: str) -> timedelta:
    """Return the duration that `text` of --max-age names, such as `26h`; UsageError says what is accepted."""
    match = _AGO.fullmatch(text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(f"--max-age {text!r} is no duration; write for example 90m, 26h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def read_catch_up(text: str) -> tuple[CatchUp, int | None]:
    """Return the policy that `--catch-up` names and, with `all:N`, how many instants; UsageError says what there is."""
    policy, colon, number = text.strip().partition(":")
    if policy == "all" and number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= MAX_CATCH_UP:
        return "all", int(number)
    if policy == "all":
        raise UsageError(
            f"--catch-up {text!r} does not say how many; write all:N with N from 1 to {MAX_CATCH_UP:,}, such as all:10"
        )
    if policy in ("latest", "none") and not colon:
        return ("latest" if policy == "latest" else "none"), None
    raise UsageError(
        f"--catch-up {text!r} is none of latest, none and all:N{nearest(policy, ['latest', 'none', 'all'])}"
    )


def read_overlap(text: str) -> Overlap:
    """Return what `--overlap` names; UsageError says what there is."""
    if text == "skip":
        return "skip"
    if text == "allow":
        return "allow"
    raise UsageError(f"--overlap {text!r} is neither skip nor allow{nearest(text, ['skip', 'allow'])}")
