"""JSON from outside: what others could read in another way, or what cannot be kept, is refused (RFC 8259, RFC 7493).

Pure.
"""

from __future__ import annotations

import json
import re
from sys import get_int_max_str_digits
from typing import Any

MAX_DEPTH = 150
"""Of lists and objects in one another: what a run's trigger is stored with holds some more."""
LARGE = 64 * 1024
"""Bytes that may be hundreds of thousands of values, over which the event loop would stand still: read in a thread."""

# What may be a number that no float holds, or half of a pair: looked at closer then.
_ODD_NUMBER = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{300}")
_ODD_TEXT = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str) -> Any:
    """Return the value of a text of JSON; ValueError says why it is none that is read."""
    try:
        value = json.loads(text, object_pairs_hook=distinct, parse_constant=_constant)
        if _ODD_NUMBER.search(text):
            json.dumps(value, allow_nan=False)
        if _ODD_TEXT.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        # As deep as it is at most, without a look at it.
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from None
    except UnicodeError:
        raise ValueError("it holds half of a character") from None
    except ValueError as error:
        if "set_int_max_str_digits" not in str(error):
            raise
        raise ValueError(f"a number in it has more than {get_int_max_str_digits():,} digits") from None
    return value


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as an object; ValueError when a name is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object in it has a name twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
    raise RecursionError
