"""`output=`: what becomes the step's output, and what is asked again."""

from __future__ import annotations

import enum
import json
import re
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from .conftest import Lab
from .scripted import answers, says


class Ticket(BaseModel):
    label: Literal["bug", "praise"]
    stars: int = Field(ge=0, le=5)


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("output", "answer", "value"),
    [
        (Ticket, {"label": "bug", "stars": 4}, {"label": "bug", "stars": 4}),
        (list[Ticket], {"result": [{"label": "bug", "stars": 4}]}, [{"label": "bug", "stars": 4}]),
        (Mood, {"result": "good"}, "good"),
        (Literal["yes", "no"], {"result": "no"}, "no"),
        (int, {"result": 7}, 7),
        (bool, {"result": False}, False),
        (date, {"result": "2026-05-01"}, "2026-05-01"),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (SCHEMA, {"n": 3}, {"n": 3}),
        ({"type": "array", "items": {"type": "string"}}, {"result": ["a"]}, ["a"]),
    ],
    ids=str,
)
async def test_the_output_is_the_value(lab: Lab, output: Any, answer: Any, value: Any) -> None:
    lab.server.will(answers(answer))
    asked = await lab.ask(output=output)
    assert (asked.status, asked.output) == ("success", value)
    told = lab.server.requests[0].json["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["schema"]["type"] == "object"


async def test_later_steps_reach_into_it(lab: Lab) -> None:
    lab.server.will(answers({"label": "bug", "stars": 4}), says("noted"))
    run = await lab.run(
        lab.step(name="classify", output=Ticket),
        lab.step(name="note", prompt="It is a {classify.label} of {classify.stars}"),
    )
    assert run.status == "success"
    assert lab.server.requests[1].texts == ["It is a bug of 4"]


BAD = [
    ("nonsense", "the answer is not JSON"),
    ('{"label": "bug"}', "stars: Field required"),
    ('{"label": "spam", "stars": 1}', "label: Input should be 'bug' or 'praise'"),
    ('{"label": "bug", "stars": 9}', "stars: Input should be less than or equal to 5"),
    ('{"label": "bug", "stars": NaN}', "NaN is no JSON number"),
    ("[" * 100_000, "the answer is nested too deeply"),
]


@pytest.mark.parametrize(("bad", "why"), BAD, ids=[why for _, why in BAD])
async def test_a_bad_answer_is_asked_again_with_the_error(lab: Lab, bad: str, why: str) -> None:
    lab.server.will(says(bad), answers({"label": "bug", "stars": 1}))
    asked = await lab.ask(output=Ticket)
    assert (asked.status, asked.output) == ("success", {"label": "bug", "stars": 1})
    again = lab.server.requests[1].texts
    assert again[0] == "Say hello."
    assert why in again[-1]
    assert [(row["ordinal"], row["status"]) for row in asked.calls] == [(1, "failed"), (2, "success")]


async def test_it_is_asked_so_often_and_the_text_is_kept(lab: Lab) -> None:
    lab.server.will(says("first"), says("second"), says("third"), says("fourth"))
    asked = await lab.ask(output=Ticket, output_retries=2)
    assert asked.status == "failed"
    assert len(lab.server.requests) == 3
    assert "the answer is not JSON" in asked.error
    assert "\n" not in asked.error
    assert "third" in json.dumps(asked.details)
    assert [row["answer"] for row in asked.calls] == ["first", "second", "third"]


async def test_none_asks_once(lab: Lab) -> None:
    lab.server.will(says("no"))
    assert (await lab.ask(output=Ticket, output_retries=0)).status == "failed"
    assert len(lab.server.requests) == 1


async def test_cut_off_by_length_is_not_asked_again(lab: Lab) -> None:
    lab.server.will(says('{"label": "bu', finish="length"))
    asked = await lab.ask(output=Ticket, max_tokens=5)
    assert asked.status == "failed"
    assert "max_tokens" in asked.error
    assert len(lab.server.requests) == 1


class Broken(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _breaks(cls, n: int) -> int:
        raise KeyError(n)


async def test_a_validator_that_breaks_fails_the_step_and_closes_the_row(lab: Lab) -> None:
    lab.server.will(says('{"n": 4}'))
    asked = await lab.ask(output=Broken)
    assert asked.status == "failed"
    assert re.match(
        r"the check of the answer has itself failed: KeyError: 4 \(test_typed.py:\d+\); correct", asked.error
    )
    assert [(row["status"], row["error"], row["answer"]) for row in asked.calls] == [
        ("failed", asked.error, '{"n": 4}')
    ]


async def test_half_a_character_of_a_bad_answer_goes_back_as_a_replacement(lab: Lab) -> None:
    lab.server.will(says("bad \ud800 answer"), answers({"label": "bug", "stars": 1}))
    asked = await lab.ask(output=Ticket)
    assert asked.status == "success", asked.error
    assert lab.server.requests[1].texts[1] == "bad \ufffd answer"
