"""One HTTP client and one model object for each endpoint in an event loop, shared by all steps in it.

Imports the providers' libraries: import this module only where a call is about to be made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import httpx2

from brain_core import StepFailed
from brain_llm.endpoint import PROVIDERS, Endpoint
from brain_llm.wire import Client

if TYPE_CHECKING:
    from pydantic_ai.models import Model

IDLE = 60.0
"""Seconds after which the connections of an endpoint that nobody uses are closed."""
NO_KEY = "none"
"""What is sent to a server that asks for no key: the libraries want one."""


class Connection:
    """The connections to one server in one event loop, and what is known of its models."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.http = Client()
        self.models: dict[str, Model[Any]] = {}
        self.prompted: set[str] = set()
        """Models that cannot be given a schema: they are told it in words."""
        self._users = 0
        self._used_at = loop.time()
        self._keeper: asyncio.Task[None] | None = None

    def __enter__(self) -> Connection:
        self._users += 1
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="brain-llm-connections")
        return self

    def __exit__(self, *error: object) -> None:
        self._users -= 1
        self._used_at = asyncio.get_running_loop().time()

    async def _keep(self) -> None:
        """Close the connections once nobody has used them for a while, or when the loop ends and cancels its tasks."""
        loop = asyncio.get_running_loop()
        try:
            while self._users or loop.time() - self._used_at < IDLE:
                await asyncio.sleep(IDLE / 2)
        finally:
            # Whoever comes from here on gets a client of its own.
            http, self.http = self.http, Client()
            self.models.clear()
            self._keeper = None
            await http.aclose()


_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str, str | None], Connection]] = (
    WeakKeyDictionary()
)


def connection_to(endpoint: Endpoint) -> Connection:
    """Return the connections to an endpoint in the running event loop."""
    loop = asyncio.get_running_loop()
    mine = _connections.setdefault(loop, {})
    key = (endpoint.protocol, endpoint.url, endpoint.secret)
    if (found := mine.get(key)) is None:
        found = mine[key] = Connection(loop)
    return found


def model_of(endpoint: Endpoint, connection: Connection) -> Model[Any]:
    """Return the object through which a model is asked; StepFailed when its provider's library is not installed."""
    if (found := connection.models.get(endpoint.model)) is None:
        make = _anthropic if endpoint.protocol == "anthropic" else _openai
        found = connection.models[endpoint.model] = make(endpoint, connection.http)
    return found


def _timeout() -> httpx2.Timeout:
    from brain_llm.wire import CONNECT

    return httpx2.Timeout(None, connect=CONNECT)


def _openai(endpoint: Endpoint, http: Client) -> Model[Any]:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    client = AsyncOpenAI(
        base_url=endpoint.url,
        api_key=endpoint.secret or NO_KEY,
        http_client=http,
        max_retries=0,
        timeout=_timeout(),
    )
    if endpoint.url == PROVIDERS["openai"].url:
        return OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client))
    # Tried rather than believed: a server that cannot take a schema answers with a 400, and is then told in words. The
    # older name of the token limit is the one that all of them know.
    profile = OpenAIModelProfile(supports_json_schema_output=True, openai_chat_supports_max_completion_tokens=False)
    provider = OpenAICompatibleProvider(endpoint.provider, openai_client=client, profile=profile)
    return OpenAIChatModel(endpoint.model, provider=provider)


def _anthropic(endpoint: Endpoint, http: Client) -> Model[Any]:
    try:
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
    except ImportError:
        raise StepFailed(
            f"model 'anthropic:{endpoint.model}' needs the library of Anthropic; install brain-llm[anthropic] "
            "into the environment of brain"
        ) from None
    client = AsyncAnthropic(
        base_url=endpoint.url,
        api_key=endpoint.secret or NO_KEY,
        http_client=cast(Any, http),
        max_retries=0,
        timeout=cast(Any, _timeout()),
    )
    return AnthropicModel(endpoint.model, provider=AnthropicProvider(anthropic_client=client))


def takes_schema(model: Model[Any], endpoint: Endpoint, connection: Connection) -> bool:
    """Whether a model is given the schema of an answer beside the prompt, as far as is known."""
    return endpoint.model not in connection.prompted and bool(model.profile.get("supports_json_schema_output"))
