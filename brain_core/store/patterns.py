"""Patterns for names: `*` is any text, `?` one character, and everything else itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKS = {"*": "%", "?": "_"}


def like(pattern: str) -> str:
    r"""Return the pattern as LIKE takes it, whose escape is `\`."""
    return re.sub(r"[*?%_\\]", lambda found: _MARKS.get(found[0], "\\" + found[0]), pattern)


def like_itself(text: str) -> str:
    """Return what LIKE finds this text alone by, marks and all."""
    return re.sub(r"[%_\\]", r"\\\g<0>", text)


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name matches. It takes the product of both lengths at most, whatever the pattern."""
    at = mark = 0
    star, p = -1, 0
    while at < len(name):
        if p < len(pattern) and pattern[p] == "*":
            # It takes nothing at first, and one character more each time that the rest does not match.
            star, mark, p = p, at, p + 1
        elif p < len(pattern) and pattern[p] in ("?", name[at]):
            at, p = at + 1, p + 1
        elif star >= 0:
            mark += 1
            at, p = mark, star + 1
        else:
            return False
    return not pattern[p:].strip("*")


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Whether a name matches one of the patterns at least."""
    return any(matches(pattern, name) for pattern in patterns)
