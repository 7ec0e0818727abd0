"""Whatever a step returns: it is stored by PostgreSQL for real, and read back as what the codec said."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from brain_core.errors import StepFailed
from brain_core.store.codec import MAX_DEPTH, decode, encode, visible
from brain_core.store.database import Database

LIMIT = 1_000_000
_ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40) | st.sampled_from(
    ["\0", "\ud800", "\udc80x", "\\u0000", "\U0001f600", "\ud83d\ude00", "a\x1fb", '"', "\u2028"]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**30), 10**30),
    # Built, not sampled: hypothesis would print the samples, and Python refuses to print such numbers.
    st.builds(pow, st.sampled_from([10, -10, 7]), st.sampled_from([3_999, 4_000, 4_001, 10_000])),
    st.floats(allow_nan=True, allow_infinity=True),
    _ANY_TEXT,
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ANY_TEXT, inner, max_size=4), max_leaves=20
)


def _kept(value: Any) -> Any:
    """What the codec is to make of a value, written down a second time."""
    if isinstance(value, str):
        return "".join("\\x00" if c == "\0" else f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**4000:
        return str(Decimal(value))
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {_kept(key): _kept(item) for key, item in value.items()}
    return value


@given(_JSON)
def test_any_json_value_comes_back_as_what_was_said(value: Any) -> None:
    try:
        encoded = encode(value, LIMIT)
    except StepFailed:
        return  # two keys of a dict that became one
    back = decode(encoded.text)
    assert back == _kept(value)
    assert encode(back, LIMIT).text == encoded.text, "what later steps get is stored as itself"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(value=_JSON)
async def test_postgresql_keeps_it_verbatim(stored_by: Any, value: Any) -> None:
    try:
        encoded = encode(value, LIMIT)
    except StepFailed:
        return
    assert await stored_by(encoded.text) == encoded.text


@pytest.fixture
async def stored_by(db: Database) -> Any:
    """Sends a text through a json column and back."""
    async with db.session() as session:
        await session.script("CREATE TEMPORARY TABLE kept (value json)")

        async def through(text: str) -> str:
            await session.connection.execute("TRUNCATE kept")
            await session.connection.execute("INSERT INTO kept SELECT $1::text::json", text)
            return str(await session.connection.fetchval("SELECT value FROM kept"))

        yield through


async def test_the_limits_themselves_are_stored(stored_by: Any) -> None:
    nested: Any = "end"
    for _ in range(6_000):
        nested = [nested]
    for value in (nested, "x" * LIMIT, 10**4299, -(10**5000), {"a": "\0" * 1000}, ["\ud800"] * 100):
        text = encode(value, LIMIT).text
        assert await stored_by(text) == text
        decode(text)


@given(_ANY_TEXT)
def test_visible_text_fits_a_text_column(text: str) -> None:
    assert visible(text) == _kept(text)
    assert "\0" not in visible(text)
    visible(text).encode()


@pytest.mark.parametrize("size", [99, 100, 101, 250])
@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_long_text_is_cut_and_the_record_says_how_much(letter: str, size: int) -> None:
    encoded = encode(letter * size, 100)
    kept = decode(encoded.text)
    cut = len((letter * size).encode()) - len(kept.encode())
    assert (letter * size).startswith(kept)
    assert len(kept.encode()) <= 100
    assert encoded.notes.get("output_cut_bytes", 0) == cut


def test_one_byte_over_the_limit_is_refused_for_what_is_no_text() -> None:
    value = ["x" * 96]
    assert len(encode(value, 100).text) == 100
    with pytest.raises(StepFailed, match="is 100 bytes of JSON and the limit is 99"):
        encode(value, 99)


def test_depth_is_kept_up_to_the_limit_and_is_text_below_it() -> None:
    def nest(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert encode(nest(MAX_DEPTH), LIMIT).notes == {}
    deep = encode(nest(MAX_DEPTH + 2), LIMIT)
    assert deep.notes == {"output_deep_as_text": 1}
    assert deep.text == "[" * MAX_DEPTH + '"[[1]]"' + "]" * MAX_DEPTH
    assert encode(nest(sys.getrecursionlimit() * 20), LIMIT).notes == {"output_deep_as_text": 1}


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    at: date
    inner: list[Path]


@dataclasses.dataclass
class Point:
    x: int
    y: tuple[int, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Model(at=date(2026, 1, 2), inner=[Path("/a")]), {"at": "2026-01-02", "inner": ["/a"]}),
        (Point(1, (2, 3)), {"x": 1, "y": [2, 3]}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.50"), "1.50"),
        ({3, 1, 2}, [1, 2, 3]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (b"a\xff", "a\\xff"),
        (OrderedDict([(1, "a"), (None, "b"), (True, "c"), (1.5, "d")]), {"1": "a", "null": "b", "1.5": "d"}),
    ],
)
def test_what_python_has_besides_json_is_converted(value: Any, expected: Any) -> None:
    if isinstance(value, OrderedDict):
        expected = {"1": "c", "null": "b", "1.5": "d"}  # True is the same key as 1
    assert decode(encode(value, LIMIT).text) == expected


def test_what_json_cannot_hold_is_refused_by_its_type() -> None:
    for value, name in ((object(), "object"), ([iter(())], "tuple_iterator"), ({(1, 2): 3}, "tuple"), (Point, "type")):
        with pytest.raises(StepFailed, match=name):
            encode(value, LIMIT)


def test_what_contains_itself_or_grows_for_ever_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(StepFailed, match="contains itself"):
        encode(loop, LIMIT)
    bomb: list[Any] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(StepFailed, match="more than"):
        encode(bomb, 10_000)
    with pytest.raises(StepFailed, match="two keys"):
        encode({1: "a", "1": "b"}, LIMIT)


def test_json_escapes_are_not_confused_with_the_real_thing() -> None:
    assert json.loads(encode("\\u0000", LIMIT).text) == "\\u0000"


@pytest.mark.parametrize("make", ["shared_lists", "shared_text", "deep_and_shared"])
def test_a_small_object_that_is_large_as_json_is_refused_or_cut_at_once(make):
    value = [0]
    if make == "shared_text":
        value = ["x" * 1_000_000] * 3_000
    else:
        for _ in range(40 if make == "shared_lists" else 28):
            value = [value, value]
    if make == "deep_and_shared":
        for _ in range(199 - 28):
            value = [value]
    with pytest.raises(StepFailed):
        encode(value, 1_000_000)


def test_a_number_of_a_million_digits_is_written_as_hex():
    number = -(10**1_000_000)
    assert decode(encode(number, 16_000_000).text) == hex(number)
