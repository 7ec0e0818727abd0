"""Reads what was typed on the command line: inputs and moments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from brain_core.errors import UsageError

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


def read_since(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names: ISO 8601 (local time unless it says a zone), or an age such as `2h`.

    UsageError says what is accepted. `now` has to have a zone.
    """
    if match := _AGO.fullmatch(text.strip().lower()):
        try:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            raise UsageError(f"--since {text!r} lies before all time; give a shorter age") from None
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r} is neither an age (30s, 5m, 2h, 3d, 1w) nor a time (2026-05-01, 2026-05-01T08:00+02:00)"
        ) from None
