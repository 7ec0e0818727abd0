"""The section `[plugins.llm]` of the configuration: defaults of every step, and models that steps call by a name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from brain_llm.keys import key_problem
from brain_llm.urls import url_problem


class _Endpoint(BaseModel):
    """Where a model is and how it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    provider_url: str | None = None
    """The base URL of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1."""
    api_key: SecretStr | None = None
    """The key of that server, or better `env:NAME`, the variable that holds it."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)
    """How many tokens an answer may have."""

    @field_validator("provider_url")
    @classmethod
    def _url_is_one(cls, url: str | None) -> str | None:
        if url is not None and (problem := url_problem(url)):
            raise ValueError(problem)
        return url

    @field_validator("api_key")
    @classmethod
    def _key_can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and (problem := key_problem(key.get_secret_value())):
            raise ValueError(problem)
        return key


class NamedModel(_Endpoint):
    """A model that steps call by the name of its table, `[plugins.llm.models.NAME]`."""

    model: str = Field(min_length=1)
    """What the server calls it; or `openai:NAME`, `anthropic:NAME` and the like."""
    timeout: float | None = Field(default=None, gt=0)
    stall: float | None = Field(default=None, gt=0)


class LLMSettings(_Endpoint):
    """Defaults of every LLM step."""

    model: str | None = Field(default=None, min_length=1)
    """The model of steps that name none: one of `models`, what the server calls it, or `openai:NAME` and the like."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that a step without a `timeout` of its own may take, waits and repetitions included."""
    stall: float = Field(default=120.0, gt=0)
    """Seconds without a token after which a call is given up."""
    retries: int = Field(default=3, ge=0, le=100)
    """How often a call is tried again after a transient fault."""
    output_retries: int = Field(default=2, ge=0, le=100)
    """How often a model is asked again when its answer does not fit `output`."""
    store: bool = True
    """Whether prompts and answers are kept with the calls."""
    models: dict[str, NamedModel] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _models_are_tables(cls, values: Any) -> Any:
        """Name what is wrong in a named model without its value: a misspelt `api_key` must not show the key."""
        models = values.get("models") if isinstance(values, Mapping) else None
        if models is None:
            return values
        if not isinstance(models, Mapping):
            raise ValueError("models has to be tables: [plugins.llm.models.NAME] with model = and provider_url =")
        for name, table in models.items():
            if isinstance(table, NamedModel):
                continue
            _check_table(name, table)
        return values


def _check_table(name: Any, table: Any) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"models.{name} has to be a table: [plugins.llm.models.{name}] with model = …")
    known = NamedModel.model_fields
    for setting in table:
        if setting not in known:
            near = get_close_matches(str(setting), known, n=1)
            guess = f"; did you mean '{near[0]}'?" if near else f" (it has: {', '.join(sorted(known))})"
            raise ValueError(f"models.{name}: '{str(setting)[:100]}' is no setting of a model{guess}")
    key = table.get("api_key")
    if key is not None and not isinstance(key, SecretStr):
        problem = key_problem(key) if isinstance(key, str) else "write it as text, best as 'env:NAME'"
        if problem:
            raise ValueError(f"models.{name}.api_key: {problem}")
    if "model" not in table:
        raise ValueError(f"models.{name} names no model; write model = and what the server calls it")
