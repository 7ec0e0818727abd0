"""Fields of a step and settings: what is refused, and that no complaint shows a key."""

from __future__ import annotations

from typing import Any

import pytest
from brain_llm import LLMStep
from brain_llm.settings import LLMSettings
from pydantic import ValidationError

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("api_key", KEY, "api_key holds a key itself, .* write api_key='env:NAME'"),
        ("api_key", "", "api_key is empty; write api_key='env:NAME', or leave it out"),
        ("api_key", [KEY], "api_key holds a key itself"),
        ("api_key", "env:", "api_key names no variable"),
        ("api_key", "env:MY-KEY", "api_key names no variable"),
        ("provider_url", "localhost:1234", "'localhost:1234' is no URL of a server; write for example http"),
        ("provider_url", "ftp://x/v1", "is no URL of a server"),
        ("provider_url", "http://", "is no URL of a server"),
        ("provider_url", "http://h:99999/v1", "is no URL of a server"),
        ("provider_url", f"https://me:{KEY}@h/v1", "holds a user or password, .* api_key='env:NAME'"),
        ("provider_url", f"https://h/v1?key={KEY}", "ends in .*, which may hold a key"),
        ("provider_url", f"https://h/v1#{KEY}", "ends in .*, which may hold a key"),
        ("provider_url", "http://h/v1/chat/completions", "names one call; write the base URL alone"),
        ("provider_url", "http://h /v1", "holds blanks"),
        ("temperature", -0.1, "greater than or equal to 0"),
        ("temperature", float("nan"), "less than or equal to 2"),
        ("max_tokens", 0, "greater than 0"),
        ("timeout", 0, "greater than 0"),
        ("stall", -1, "greater than 0"),
        ("retries", -1, "greater than or equal to 0"),
        ("prompt", "  ", "prompt is empty"),
        ("model", "", "at least 1 character"),
        ("output", list, "output=list does not say what is in it"),
        ("output_retries", 1, "output_retries is set and output is not"),
        ("strore", True, "Extra inputs are not permitted"),
    ],
)
def test_a_bad_field_is_refused_when_the_file_is_loaded(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as error:
        LLMStep(**{"name": "x", "prompt": "hi", field: value})
    if field != "api_key" or value != [KEY]:
        assert KEY not in str(error.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"models": {"fast": {"model": "m", "api_kye": KEY}}},
            "models.fast: 'api_kye' is no setting .* mean 'api_key'",
        ),
        ({"models": {"fast": {"provider_url": "http://h/v1"}}}, "models.fast names no model; write model ="),
        ({"models": {"fast": KEY}}, "models.fast has to be a table"),
        ({"models": [KEY]}, "models has to be tables"),
        ({"models": {"fast": {"model": "m", "api_key": f"{KEY} "}}}, "models.fast.api_key: the key holds blanks"),
        ({"models": {"fast": {"model": "m", "api_key": [KEY]}}}, "models.fast.api_key: write it as text"),
        ({"api_key": f"{KEY}\n"}, "the key holds blanks, line ends"),
        ({"api_key": f"{KEY}ä"}, "characters that no header can carry"),
        ({"api_key": "env:no name"}, "after 'env:' stands the name of a variable"),
        ({"provider_url": "nowhere"}, "is no URL of a server"),
        ({"stall": 0}, "plugins.llm.stall is 0: it has to be greater than 0"),
        ({"provider_url": f"http://me:{KEY}@host/v1"}, "holds a user or password"),
        ({"provider_url": f"http://me:{KEY}/x@host/v1"}, "provider_url is no URL of a server"),
        ({"provider_url": f"http://host/v1?key={KEY}"}, "which may hold a key"),
        ({"provider_url": f"http://host:port/v1?key={KEY}"}, "provider_url is no URL of a server"),
        ({"provider_url": f"http://[::1/v1#{KEY}"}, "provider_url is no URL of a server"),
        (
            {"models": {"fast": {"model": "m", "provider_url": f"http://me:{KEY}@host"}}},
            "models.fast.provider_url: .*user",
        ),
    ],
)
def test_a_bad_setting_is_refused_and_its_key_not_shown(settings: dict[str, Any], problem: str) -> None:
    from brain_core.errors import ConfigError
    from brain_core.plugin.sections import settings_from

    with pytest.raises(ConfigError, match=problem) as error:
        settings_from(LLMSettings, "llm", settings)
    assert KEY not in str(error.value)


def test_keys_are_masked_when_settings_are_shown() -> None:
    settings = LLMSettings.model_validate({"api_key": KEY, "models": {"fast": {"model": "m", "api_key": KEY}}})
    assert KEY not in f"{settings!r} {settings.model_dump(mode='json')} {settings.model_dump_json()}"


def test_values_from_the_environment_are_texts() -> None:
    settings = LLMSettings.model_validate({"temperature": "0.5", "max_tokens": "10", "store": "false", "timeout": "9"})
    assert (settings.temperature, settings.max_tokens, settings.store, settings.timeout) == (0.5, 10, False, 9.0)
