"""Which server, model and key a step uses, and that no key goes to a server that it is not meant for."""

from __future__ import annotations

from typing import Any

import pytest
from brain_llm.endpoint import Endpoint, Wanted, endpoint_of
from brain_llm.settings import LLMSettings
from pydantic import SecretStr

from brain_core import StepFailed

LOCAL, OTHER = "http://127.0.0.1:1234/v1", "http://127.0.0.1:9999/v1"


def chosen(settings: dict[str, Any], **step: Any) -> Endpoint:
    if "key" in step:
        step["key"] = SecretStr(step["key"])
    return endpoint_of(Wanted("step 'x'", **step), LLMSettings.model_validate(settings))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_step_over_named_model_over_settings() -> None:
    settings = {
        "model": "base",
        "provider_url": LOCAL,
        "temperature": 0.1,
        "max_tokens": 10,
        "models": {"fast": {"model": "small", "provider_url": OTHER, "max_tokens": 20}},
    }
    plain = chosen(settings)
    assert (plain.model, plain.url, plain.temperature, plain.max_tokens) == ("base", LOCAL, 0.1, 10)
    named = chosen(settings, model="fast")
    assert (named.model, named.url, named.temperature, named.max_tokens) == ("small", OTHER, 0.1, 20)
    own = chosen(settings, model="fast", url=LOCAL, temperature=0.9, max_tokens=30)
    assert (own.model, own.url, own.temperature, own.max_tokens) == ("small", LOCAL, 0.9, 30)
    assert chosen({**settings, "model": "fast"}).model == "small"


def test_a_temperature_of_nought_is_one() -> None:
    assert chosen({"model": "m", "provider_url": LOCAL, "temperature": 0.5}, temperature=0.0).temperature == 0.0


def test_a_provider_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-12345678")
    found = chosen({}, model="groq:llama")
    assert (found.url, found.model, found.provider) == ("https://api.groq.com/openai/v1", "llama", "groq")
    assert (found.secret, found.key_from, found.own_url) == ("gsk-12345678", "env:GROQ_API_KEY", False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "ant-12345678")
    assert chosen({"provider_url": LOCAL}, model="anthropic:claude").protocol == "anthropic"


def test_a_model_of_a_local_server_may_have_a_colon() -> None:
    assert chosen({"provider_url": LOCAL}, model="llama3.2:3b").model == "llama3.2:3b"
    assert chosen({"provider_url": LOCAL}, model="mistral:7b").model == "mistral:7b"


@pytest.mark.parametrize(
    "step",
    [
        {"url": OTHER},  # the step's own server
        {"model": "openai:gpt"},  # a provider by name
        {"model": "named"},  # a named model on another server
    ],
)
def test_a_key_of_the_settings_goes_to_their_server_only(step: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    settings = {
        "model": "m",
        "provider_url": LOCAL,
        "api_key": "key-of-local",
        "models": {"named": {"model": "n", "provider_url": OTHER}},
    }
    assert chosen(settings).secret == "key-of-local"
    assert chosen(settings, **step).secret in (None, "sk-of-openai")
    assert chosen(settings, url=LOCAL + "/").secret == "key-of-local"
    # The other way round: a provider's own variable is not for a server of one's own.
    assert chosen({"model": "m", "provider_url": LOCAL}).secret is None


def test_a_key_further_in_goes_to_a_server_further_out() -> None:
    assert chosen({"model": "m", "provider_url": LOCAL, "api_key": "outer-key"}, key="inner-key").secret == "inner-key"


def test_a_reference_is_read_where_the_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-from-there")
    found = chosen({"model": "m", "provider_url": LOCAL}, key="env:MY_KEY")
    assert (found.secret, found.key_from) == ("sk-from-there", "env:MY_KEY")
    assert "sk-from-there" not in repr(found)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(StepFailed, match=r"MY_KEY, which api_key names, is not set .* or change api_key in step 'x'"):
        chosen({"model": "m", "provider_url": LOCAL}, key="env:MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk with blanks")
    with pytest.raises(
        StepFailed, match="variable MY_KEY, which api_key names, cannot be used: the key holds blanks"
    ) as e:
        chosen({"model": "m", "provider_url": LOCAL}, key="env:MY_KEY")
    assert "sk with" not in str(e.value)


@pytest.mark.parametrize(
    ("settings", "step", "problem"),
    [
        ({}, {}, "no model is configured; set model= in the step, or THE_BRAIN_LLM_MODEL"),
        ({}, {"model": "m"}, "no server is configured for model 'm'; set provider_url="),
        (
            {"models": {"fast": {"model": "m", "provider_url": LOCAL}}},
            {"model": "fats"},
            r"model 'fats' \(did you mean the named model 'fast'\?\); set",
        ),
        (
            {"model": "fast", "models": {"fast": {"model": "m"}}},
            {},
            r"for model 'fast'; set provider_url in \[plugins.llm.models.fast\] \(such as",
        ),
        ({"models": {"fast": {"model": "m"}}}, {"model": "zzz"}, r"\(named models: fast\)"),
        (
            {},
            {"model": "openai:gpt"},
            "no key for https://api.openai.com/v1: set the environment variable OPENAI_API_KEY",
        ),
    ],
)
def test_what_is_missing_is_said(settings: dict[str, Any], step: dict[str, Any], problem: str) -> None:
    with pytest.raises(StepFailed, match=problem):
        chosen(settings, **step)
