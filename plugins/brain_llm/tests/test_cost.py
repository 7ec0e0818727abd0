"""What a call has cost: known by the server's address, NULL where it is not known; odd counts of tokens are none."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from brain_llm.endpoint import PROVIDERS, Endpoint
from brain_llm.pricing import cost_of
from genai_prices import calc_price
from pydantic_ai.usage import RequestUsage

from .conftest import Lab
from .scripted import says

MODEL = "claude-sonnet-4-5"
USAGE = RequestUsage(input_tokens=11, output_tokens=7)


def endpoint(url: str, *, protocol: Any = "openai", own: bool = False) -> Endpoint:
    return Endpoint(protocol, url, "host", MODEL, None, "", own, None, None)


def test_the_address_decides() -> None:
    price = format(calc_price(USAGE, MODEL, provider_id="anthropic").total_price, "f")
    assert Decimal(price) > 0
    assert cost_of(endpoint(PROVIDERS["anthropic"].url, protocol="anthropic"), MODEL, USAGE) == price
    # What the server calls the model may be unknown; what it was asked for is not.
    assert cost_of(endpoint(PROVIDERS["anthropic"].url, protocol="anthropic"), "no such model", USAGE) == price
    for url in ("http://127.0.0.1:11434/v1", "https://anthropic.com.example/v1"):
        assert cost_of(endpoint(url, own=True), MODEL, USAGE) is None
        assert cost_of(endpoint(url, protocol="anthropic", own=True), MODEL, USAGE) is None


def test_every_service_that_is_known_by_name_has_prices() -> None:
    models = {"openai": "gpt-4o", "anthropic": MODEL, "google": "gemini-2.0-flash", "groq": "llama-3.3-70b-versatile"}
    for name, model in models.items():
        known = PROVIDERS[name]
        cost = cost_of(endpoint(known.url, protocol=known.protocol), model, USAGE)
        assert cost is not None, name
        assert Decimal(cost) > 0


async def test_it_is_in_the_row(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # A service is known by its address, and only this machine's can be asked here.
    monkeypatch.setattr("brain_llm.asking.cost_of", lambda _, model, usage: cost_of(_service(), model, usage))
    lab.server.will(says("fine", tokens=(11, 7)))
    asked = await lab.ask(model="gpt-4o")
    (row,) = asked.calls
    assert row["cost"] == calc_price(USAGE, "gpt-4o", provider_id="openai").total_price
    assert row["first_token_ms"] <= row["latency_ms"]
    assert row["answered_by"] == "gpt-4o"
    assert row["finish_reason"] == "stop"


def _service() -> Endpoint:
    return endpoint(PROVIDERS["openai"].url)._replace(model="gpt-4o")


@pytest.mark.parametrize("tokens", [(10**30, 2), (2, 10**30), (0, 0)])
async def test_counts_that_no_column_can_hold_are_unknown(lab: Lab, tokens: tuple[int, int]) -> None:
    lab.server.will(says("fine", tokens=tokens))
    asked = await lab.ask()
    (row,) = asked.calls
    assert (asked.status, row["status"], row["input_tokens"], row["output_tokens"]) == (
        "success",
        "success",
        None,
        None,
    )
    assert "tokens" not in json.dumps(asked.details["llm"])
