"""Patterns for names against an oracle that knows `*` and `?` alone, here and in the database."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_core.store.database import Database
from brain_core.store.patterns import like, like_itself, matches, matches_any

TEXT = st.text(alphabet=r"ab*?%_\[].é" + "\n", max_size=8)


def oracle(pattern: str, name: str) -> bool:
    @cache
    def rest(p: int, n: int) -> bool:
        if p == len(pattern):
            return n == len(name)
        if pattern[p] == "*":
            return rest(p + 1, n) or (n < len(name) and rest(p, n + 1))
        return n < len(name) and pattern[p] in ("?", name[n]) and rest(p + 1, n + 1)

    return rest(0, 0)


def sql_like(text: str, name: str) -> bool:
    """Say what LIKE finds, by its definition: % any text, _ one character, after a backslash the character itself."""
    units: list[str | None] = []
    characters = iter(text)
    for one in characters:
        units.append({"%": "*", "_": None}.get(one, "=" + (next(characters) if one == "\\" else one)))

    @cache
    def rest(u: int, n: int) -> bool:
        if u == len(units):
            return n == len(name)
        unit = units[u]
        if unit == "*":
            return rest(u + 1, n) or (n < len(name) and rest(u, n + 1))
        return n < len(name) and (unit is None or unit[1:] == name[n]) and rest(u + 1, n + 1)

    return rest(0, 0)


@given(TEXT, TEXT)
def test_a_pattern_matches_as_it_is_said(pattern: str, name: str) -> None:
    assert matches(pattern, name) == oracle(pattern, name)
    assert sql_like(like(pattern), name) == oracle(pattern, name)
    assert sql_like(like_itself(pattern), name) == (pattern == name)


@given(TEXT)
def test_what_has_no_mark_matches_itself(name: str) -> None:
    assert matches(name, name)
    assert matches("*", name)
    assert matches("?" * len(name), name)
    assert not matches("?" * (len(name) + 1), name)


def test_many_stars_end_soon() -> None:
    assert not matches("*a" * 60 + "b", "a" * 400)
    assert matches_any(["b", "a*"], "abc")
    assert not matches_any([], "abc")


NAMES = ["", "a", "ab", "a%", "a_", "a\\", "a\\b", "a*", "a?", "é", "aéb", "a\nb", "A", "[a]"]


@pytest.mark.parametrize(
    "pattern", ["", "*", "a*", "a?", "?", "a%", "a_", "a\\", "a\\*", "*b", "a?b", "[a]", "\\", "%*"]
)
async def test_the_database_finds_the_same(db: Database, pattern: str) -> None:
    async with db.session() as session:
        rows = await session.connection.fetch(
            "SELECT n FROM unnest($1::text[]) AS n WHERE n LIKE ANY ($2::text[])", NAMES, [like(pattern)]
        )
        itself = await session.connection.fetch(
            "SELECT n FROM unnest($1::text[]) AS n WHERE n LIKE ANY ($2::text[])", NAMES, [like_itself(pattern)]
        )
    assert [row["n"] for row in rows] == [name for name in NAMES if oracle(pattern, name)]
    assert [row["n"] for row in itself] == [name for name in NAMES if name == pattern]
