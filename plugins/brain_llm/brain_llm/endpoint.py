"""Which server, model and key a step uses: what the step says goes over its named model, that over the settings."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple, TypeAlias

from pydantic import SecretStr

from brain_core import StepFailed
from brain_llm.keys import from_environment, key_problem
from brain_llm.settings import LLMSettings, NamedModel
from brain_llm.urls import EXAMPLE, place_of

Protocol: TypeAlias = Literal["openai", "anthropic"]


class Provider(NamedTuple):
    """A service that a model's name may begin with, `openai:NAME`."""

    url: str
    key: str
    protocol: Protocol = "openai"


PROVIDERS = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Provider("https://api.anthropic.com", "ANTHROPIC_API_KEY", "anthropic"),
    "google": Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY"),
}
"""Names that no model of a local server begins with: `mistral:7b` is one of Ollama's."""


class Wanted(NamedTuple):
    """What one place says of the model: the step, a named model or the settings."""

    where: str
    model: str | None = None
    url: str | None = None
    key: SecretStr | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class Endpoint(NamedTuple):
    """A model on a server, and how it is asked. `key` is None for a server that asks for none."""

    protocol: Protocol
    url: str
    provider: str
    model: str
    key: SecretStr | None
    key_from: str
    own_url: bool
    temperature: float | None
    max_tokens: int | None
    named: NamedModel | None = None

    @property
    def secret(self) -> str | None:
        return None if self.key is None else self.key.get_secret_value()


def endpoint_of(step: Wanted, settings: LLMSettings) -> Endpoint:
    """Return what a step uses; StepFailed says what is not configured and how to set it."""
    base = Wanted(
        "[plugins.llm]",
        settings.model,
        settings.provider_url,
        settings.api_key,
        settings.temperature,
        settings.max_tokens,
    )
    called = step.model or base.model
    if called is None:
        raise StepFailed(
            "no model is configured; set model= in the step, or THE_BRAIN_LLM_MODEL (model in [plugins.llm] of "
            "brain.toml)"
        )
    named = settings.models.get(called)
    places = [step._replace(model=None), base._replace(model=None)] if named else [step, base]
    if named is not None:
        middle = Wanted(
            f"[plugins.llm.models.{called}]",
            named.model,
            named.provider_url,
            named.api_key,
            named.temperature,
            named.max_tokens,
        )
        places.insert(1, middle)
    return _chosen(places, called, settings, named)


def _chosen(places: Sequence[Wanted], called: str, settings: LLMSettings, named: NamedModel | None) -> Endpoint:
    model_at = next(at for at, place in enumerate(places) if place.model)
    model = places[model_at].model or ""
    url_at = next((at for at, place in enumerate(places) if place.url), None)
    prefix, colon, rest = model.partition(":")
    provider = PROVIDERS.get(prefix) if colon and rest else None
    # A server that is set further out than the model is meant for other models than one that names its provider.
    own = url_at is not None and (provider is None or url_at <= model_at)
    if provider is None and not own:
        raise StepFailed(_no_server(called, settings, named))
    url = ((places[url_at].url or "") if own and url_at is not None else provider.url if provider else "").rstrip("/")
    reach = url_at if own and url_at is not None else model_at
    key, key_from = _key_of(places, reach, url, provider if not own or model_at == reach else None, own)
    return Endpoint(
        protocol=provider.protocol if provider else "openai",
        url=url,
        provider=place_of(url) if own or provider is None else prefix,
        model=rest if provider else model,
        key=key,
        key_from=key_from,
        own_url=own,
        temperature=next((place.temperature for place in places if place.temperature is not None), None),
        max_tokens=next((place.max_tokens for place in places if place.max_tokens is not None), None),
        named=named,
    )


def _key_of(
    places: Sequence[Wanted], reach: int, url: str, provider: Provider | None, own: bool
) -> tuple[SecretStr | None, str]:
    """Return the key for a server and where it came from.

    A key that is set further out than the server belongs to another server and is not sent to this one, unless it is
    set beside the same URL.
    """
    for at, place in enumerate(places):
        if place.key is None:
            continue
        if at <= reach or (place.url or "").rstrip("/") == url:
            return _read(place.key, place.where)
    if provider is None:
        return None, ""
    found, name = from_environment(f"env:{provider.key}")
    if found is None:
        if own:
            return None, ""
        raise StepFailed(f"no key for {url}: set the environment variable {name}, or api_key='env:NAME' to another one")
    return _read(SecretStr(f"env:{name}"), "")


def _read(key: SecretStr, where: str) -> tuple[SecretStr, str]:
    text = key.get_secret_value()
    if not text.startswith("env:"):
        return key, where
    found, name = from_environment(text)
    if found is None:
        raise StepFailed(
            f"the environment variable {name}, which api_key names, is not set where the workflow runs; "
            f"set it there, or change api_key in {where}"
        )
    if problem := key_problem(found):
        raise StepFailed(f"the environment variable {name}, which api_key names, cannot be used: {problem}")
    return SecretStr(found), f"env:{name}"


def _no_server(called: str, settings: LLMSettings, named: NamedModel | None) -> str:
    shown = f"'{called[:100]}'"
    if named is not None:
        return (
            f"no server is configured for model {shown}; set provider_url in [plugins.llm.models.{called}] (such as "
            f"{EXAMPLE}), or write its model with the provider ({', '.join(f'{name}:…' for name in PROVIDERS)})"
        )
    close = get_close_matches(called, settings.models, n=1)
    if close:
        guess = f" (did you mean the named model '{close[0]}'?)"
    elif settings.models:
        guess = f" (named models: {', '.join(sorted(settings.models)[:10])})"
    else:
        guess = ""
    return (
        f"no server is configured for model {shown}{guess}; set provider_url= in the step or "
        f"THE_BRAIN_LLM_PROVIDER_URL (such as {EXAMPLE}), or write the model with its provider "
        f"({', '.join(f'{name}:…' for name in PROVIDERS)})"
    )
