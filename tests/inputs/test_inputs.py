"""Declared inputs, values as JSON and texts from a command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from brain_core.errors import InputError
from brain_core.inputs import accept_inputs, declare


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


def accept(declared: Any, value: Any, *, typed: bool = False) -> Any:
    return accept_inputs({"x": declare("x", declared)}, {"x": value}, typed=typed)["x"]


FROM_JSON = [
    (int, 3, 3), (float, 3, 3.0), (bool, True, True), (str, "3", "3"), (list, [1], [1]), (dict, {"a": 1}, {"a": 1}),
    (3, 4, 4), (False, True, True), ("a", "{x}\0\udc80", "{x}\0\udc80"), (["a"], ["b", 1], ["b", 1]),
    (None, {"any": [1]}, {"any": [1]}), (date, "2026-01-02", "2026-01-02"), (tuple[int, str], [1, "a"], [1, "a"]),
    (set[int], [1], [1]), (int | None, None, None), (Literal["a", "b"], "b", "b"), (Colour, "red", "red"),
    (Path, "/x", "/x"), (Point, {"x": 1}, {"x": 1}), (list[int], [], []), (Any, "3", "3"),
]  # fmt: skip

NOT_FROM_JSON = [
    (int, "3"), (int, True), (int, 3.0), (bool, 1), (bool, "true"), (str, 3), (str, None), (float, "1"), (3, "3"),
    (list, "[1]"), (list, {"a": 1}), (dict, [1]), (list[int], ["1"]), (int, object()), (Literal["a"], "b"), (list, b""),
]  # fmt: skip

FROM_TEXT = [
    (int, "3", 3), (int, "-3", -3), (float, "2.5", 2.5), (float, "2", 2.0), (bool, "true", True), (bool, "no", False),
    (False, "1", True), (7, "8", 8), (str, "3", "3"), (str, "[1]", "[1]"), (str, "", ""), (str, "\udc80", "\udc80"),
    ("a", '"b"', '"b"'), (list, '["a", 1]', ["a", 1]), (["a"], "[]", []),
    (dict, '{"a": {"b": null}}', {"a": {"b": None}}),
    (list[int], "[1, 2]", [1, 2]), (int | None, "null", None), (int | None, "4", 4), (Any, "3", "3"), (None, "x", "x"),
    (date, "2026-01-02", "2026-01-02"), (Point, '{"x": 1}', {"x": 1}), (int | str, "3", "3"), (Colour, "red", "red"),
]  # fmt: skip

NOT_FROM_TEXT = [
    (int, "three", "input 'x' has to be int, and 'three' is not: Input should be a valid integer, unable to parse "
     "string as an integer"),
    (int, "", "input 'x' has to be int, and '' is not: Input should be a valid integer, unable to parse string as an "
     "integer"),
    (bool, "maybe", "input 'x' has to be bool, and 'maybe' is not: Input should be a valid boolean, unable to "
     "interpret input"),
    (list, "a,b", "input 'x' has to be list, and 'a,b' is not: Input should be a valid list"),
    (list[int], '["a"]', "input 'x' has to be list[int], and ['a'] is not: at 0: Input should be a valid integer"),
    (Annotated[int, Field(gt=0)], "-1", "input 'x' has to be int, and '-1' is not: Input should be greater than 0"),
    (dict, "3", "input 'x' has to be dict, and '3' is not: Input should be a valid dictionary"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "value", "expected"), FROM_JSON)
def test_json_values(declared: Any, value: Any, expected: Any) -> None:
    got = accept(declared, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(("declared", "value"), NOT_FROM_JSON)
def test_json_values_have_types_of_their_own(declared: Any, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        accept(declared, value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("declared", "text", "expected"), FROM_TEXT)
def test_texts_from_a_command_line(declared: Any, text: str, expected: Any) -> None:
    got = accept(declared, text, typed=True)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(("declared", "text", "expected"), NOT_FROM_TEXT)
def test_texts_that_do_not_fit(declared: Any, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        accept(declared, text, typed=True)
    assert str(caught.value) == expected


def test_other_values_of_a_typed_call_are_json() -> None:
    assert accept(int, 3, typed=True) == 3
    with pytest.raises(InputError):
        accept(str, 3, typed=True)


def test_unknown_and_missing() -> None:
    specs = {name: declare(name, value) for name, value in {"who": "x", "count": int}.items()}
    with pytest.raises(InputError) as caught:
        accept_inputs(specs, {"hwo": "a"})
    assert str(caught.value) == "the workflow has no input 'hwo'; did you mean 'who'? (declared: who, count)"
    with pytest.raises(InputError) as caught:
        accept_inputs({}, {"a": "a"})
    assert str(caught.value) == "the workflow has no input 'a' (declared: none)"
    with pytest.raises(InputError) as caught:
        accept_inputs(specs, {"who": "a"})
    assert str(caught.value) == "input 'count' (int) is required; give it with --input count=…"
    assert accept_inputs(specs, {"count": 1}) == {"who": "x", "count": 1}


def test_a_default_is_not_shared_between_runs() -> None:
    specs = {"tags": declare("tags", ["a"])}
    accept_inputs(specs, {})["tags"].append("b")
    assert accept_inputs(specs, {}) == {"tags": ["a"]}


@pytest.mark.parametrize(
    ("default", "stored"),
    [(date(2026, 1, 2), "2026-01-02"), (Colour.RED, "red"), (Path("/x"), "/x"), ((1, 2), [1, 2]), ("\udc80", "\udc80")],
)
def test_defaults_are_json(default: Any, stored: Any) -> None:
    spec = declare("x", default)
    assert (spec.required, spec.default) == (False, stored)


@pytest.mark.parametrize("value", [object(), lambda: 1, type(sys), [object()], {1: object()}, list["Nowhere"]])  # type: ignore[name-defined] # noqa: F821
def test_what_json_cannot_hold_is_refused_when_it_is_declared(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^input 'x' is .*, which JSON cannot hold; give a JSON value or a type$"):
        declare("x", value)


@pytest.mark.parametrize("name", ["", "a b", "1", "a.b", "x" * 101, "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name") as caught:
        declare(name, "x")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("annotation", "text"),
    [(int, "int"), (list[str], "list[str]"), (int | None, "int | None"), (Literal["a"], "Literal['a']"), (Any, "Any")],
)
def test_types_read_as_they_are_written(annotation: Any, text: str) -> None:
    assert declare("x", annotation).type_text == text


@given(text=st.text(st.characters()))
def test_any_text_is_taken_as_it_is(text: str) -> None:
    assert accept("default", text, typed=True) == text
    assert accept(str, text) == text


@given(number=st.integers(-(10**30), 10**30))
def test_any_number(number: int) -> None:
    assert accept(int, str(number), typed=True) == number
    assert accept(int, number) == number


@given(value=st.sampled_from([int, bool, list, dict, list[int], date, Point, float]), text=st.text(max_size=30))
def test_any_text_for_any_type_is_taken_or_refused_in_one_line(value: Any, text: str) -> None:
    problem = ""
    try:
        accept(value, text, typed=True)
    except InputError as error:
        problem = str(error)
    assert problem.isprintable()
