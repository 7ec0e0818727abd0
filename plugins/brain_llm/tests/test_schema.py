"""`output=`: what may be asked for, what the model is told, and what of its answers is taken."""

from __future__ import annotations

import re
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from brain_llm.schema import WRAPPED, BadAnswer, NotJudged, shape_of
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, field_validator


class Label(Enum):
    good = "good"
    bad = "bad"


class Item(BaseModel):
    label: Label
    on: date
    score: int = Field(ge=0)


class Node(BaseModel):
    name: str
    inner: list[Node] = []


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("output", "answer", "value"),
    [
        (Item, '{"label": "good", "on": "2026-05-01", "score": 3}', {"label": "good", "on": "2026-05-01", "score": 3}),
        (list[Label], '{"result": ["good", "bad"]}', ["good", "bad"]),
        (Label, '{"result": "bad"}', "bad"),
        (Literal["x", 2], '{"result": 2}', 2),
        (bool, '{"result": false}', False),
        (float | None, '{"result": null}', None),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (SCHEMA, '{"n": 1, "more": [1]}', {"n": 1, "more": [1]}),
        ({"enum": ["a", "b"]}, '{"result": "a"}', "a"),
        (
            Node,
            '{"result": {"name": "a", "inner": [{"name": "b"}]}}',
            {"name": "a", "inner": [{"name": "b", "inner": []}]},
        ),
    ],
)
def test_an_answer_becomes_a_json_value(output: Any, answer: str, value: Any) -> None:
    shape = shape_of(output)
    assert shape.schema["type"] == "object"
    assert shape.read(answer) == value
    assert shape.read(f"```json\n{answer}\n```") == value
    assert shape.read(f"  {answer}\n") == value


def test_what_is_no_object_is_wrapped_and_its_references_still_lead_somewhere() -> None:
    shape = shape_of(list[Label])
    assert shape.schema["required"] == [WRAPPED]
    assert shape.schema["properties"][WRAPPED]["items"] == {"$ref": "#/$defs/Label"}
    assert shape.schema["$defs"]["Label"]["enum"] == ["good", "bad"]
    assert "$defs" not in shape.schema["properties"][WRAPPED]


def test_words_around_the_object_are_taken_only_from_a_model_that_was_told_in_words() -> None:
    shape = shape_of(SCHEMA)
    for answer in ('Sure! {"n": 1} Anything else?', 'Here:\n```json\n{"n": 1}\n```\nBye.'):
        assert shape.read(answer, loose=True) == {"n": 1}
        with pytest.raises(BadAnswer, match="the answer is not JSON"):
            shape.read(answer)
    assert shape_of(Label).read('"good"', loose=True) == "good"
    with pytest.raises(BadAnswer, match='has to be an object with the one key "result"'):
        shape_of(Label).read('"good"')


@pytest.mark.parametrize(
    ("output", "answer", "problem"),
    [
        (
            Item,
            '{"label": "fine", "on": "2026-05-01", "score": -1}',
            r"label: Input should be 'good' or 'bad'; score: ",
        ),
        (Item, "{}", "label: Field required; on: Field required; score: Field required"),
        (Item, "[1]", "Input should be an object"),
        (Item, "hello", "the answer is not JSON: Expecting value"),
        (Item, "", "the answer is not JSON"),
        (SCHEMA, '{"n": "1"}', "n: '1' is not of type 'integer'"),
        (SCHEMA, '{"n": NaN}', "NaN is no JSON number"),
        ({"type": "object"}, '{"n": [-1e999]}', "-1e999 is larger than a number can be"),
        (list[float], '{"result": [1e999]}', "1e999 is larger than a number can be"),
        (SCHEMA, "[" * 100_000, "nested too deeply"),
        (Node, '{"result":' + '{"name":"a","inner":[' * 3_000 + "]}" * 3_000 + "}", "nested too deeply|recursion"),
        (list[int], '{"result": ["' + "x" * 10_000 + '"]}', "0: Input should be a valid integer"),
        (SCHEMA, '{"n": ' + "1" * 5_000 + "}", "the answer is not JSON"),
    ],
)
def test_a_bad_answer_is_named_shortly(output: Any, answer: str, problem: str) -> None:
    with pytest.raises(BadAnswer, match=problem) as error:
        shape_of(output).read(answer)
    assert len(str(error.value)) < 1_500


def test_only_the_first_problems_are_told() -> None:
    with pytest.raises(BadAnswer) as error:
        shape_of(list[int]).read('{"result": ' + str(["x"] * 1_000).replace("'", '"') + "}")
    assert str(error.value).count(";") == 5
    assert str(error.value).endswith("; …")


class Opaque:
    pass


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (str, "output=str is what a step gives anyway; leave output= out"),
        (list, r"output=list does not say what is in it; give a pydantic model"),
        (dict, "output=dict does not say what is in it"),
        (Item(label=Label.good, on=date(2026, 5, 1), score=1), "an object of the class Item; give the class itself"),
        ("Item", "output is str 'Item', and no type; give a pydantic model"),
        (3, "output is int '3', and no type"),
        (Opaque, "output=Opaque cannot be asked for: Unable to generate pydantic-core schema"),
        ({}, "output is an empty dict"),
        ({"typ": "object"}, r"output is a dict and no JSON schema \(typ\)"),
        ({"type": "objekt"}, r"output is no JSON schema: \$.type: 'objekt' is not valid"),
        (
            {"type": "object", "properties": {"a": {"$ref": "http://x/y"}}},
            "output refers to 'http://x/y'; a schema may",
        ),
        ({"type": "string", "description": "x" * 70_000}, "output has a schema of 7"),
        ({"type": "object", "default": {1, 2}}, "output is a dict that JSON cannot hold"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(output: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        shape_of(output)
    assert "\n" not in str(error.value)


def test_the_authors_schema_is_left_as_it_is() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}}
    before = repr(schema)
    assert shape_of(schema).read('{"result": [1, 2]}') == [1, 2]
    assert repr(schema) == before


class Broken(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _breaks(cls, n: int) -> int:
        raise {1: KeyError("lost"), 2: SystemExit(3), 3: RuntimeError("x" * 9_000)}[n]


@pytest.mark.parametrize(("n", "why"), [(1, "KeyError: 'lost'"), (2, "SystemExit: 3"), (3, "RuntimeError: xxx")])
def test_a_validator_that_breaks_is_named(n: int, why: str) -> None:
    with pytest.raises(NotJudged, match=why) as error:
        shape_of(Broken).read(f'{{"n": {n}}}')
    assert "test_schema.py" in str(error.value)


def test_references_to_the_root_lead_to_where_it_stands_in_the_wrapper() -> None:
    tree = {"type": "array", "items": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/leaf"}, {"$ref": "#/prefix/0"}]}}
    shape = shape_of({**tree, "prefix": [True], "$defs": {"leaf": {"type": "integer"}}})
    Draft202012Validator(shape.schema).validate({"result": [1, [], [[2]]]})
    told = shape.schema["properties"]["result"]["items"]["anyOf"]
    assert [one["$ref"] for one in told] == ["#/properties/result", "#/$defs/leaf", "#/properties/result/prefix/0"]
    assert shape.read('{"result": [1, [], [[2]]]}') == [1, [], [[2]]]


@pytest.mark.parametrize("name", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("#/$defs/none", "'#/$defs/none', which is not in it"),
        ("#/properties/a/items/1", "which is not in it"),
        ("https://there/schema", "a schema may refer to itself only"),
    ],
)
def test_a_reference_to_nothing_is_refused(name: str, to: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        shape_of({"type": "object", "properties": {"a": {"items": [True]}, "b": {name: to}}})


def test_a_reference_may_be_escaped() -> None:
    defs = {"a/b~c d": {"type": "integer"}}
    shape = shape_of({"type": "object", "properties": {"n": {"$ref": "#/$defs/a~1b~0c%20d"}}, "$defs": defs})
    assert shape.read('{"n": 1}') == {"n": 1}
    with pytest.raises(BadAnswer, match="not of type 'integer'"):
        shape.read('{"n": "1"}')
