"""One HTTP client and one model object for each endpoint in an event loop, shared by all steps in it.

Imports the providers' libraries: import this module only where a call is about to be made.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from brain_llm.endpoint import PROVIDERS, Endpoint, Protocol
from brain_llm.wire import Client, certificates

if TYPE_CHECKING:
    from pydantic_ai.models import Model

IDLE = 60.0
"""Seconds after which the connections of an endpoint that nobody uses are closed."""
NO_KEY = "none"
"""What is sent to a server that asks for no key: the libraries want one."""


class Connection:
    """The connections to one server in one event loop, and what is known of its models."""

    def __init__(self, url: str, forget: Callable[[], object]) -> None:
        self._forget = forget
        self.http = Client(url)
        self.models: dict[str, Model[Any]] = {}
        self.prompted: set[str] = set()
        """Models that cannot be given a schema: they are told it in words."""
        self._users = 0
        self._uses = 0
        self._free = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def __enter__(self) -> Connection:
        self._users += 1
        self._uses += 1
        self._free.clear()
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="brain-llm-connections")
        return self

    def __exit__(self, *error: object) -> None:
        self._users -= 1
        if not self._users:
            self._free.set()

    async def _keep(self) -> None:
        """Close the connections once nobody has used them for a while, or when the loop ends and cancels its tasks."""
        try:
            uses = -1
            while uses != self._uses:
                await self._free.wait()
                uses = self._uses
                await asyncio.sleep(IDLE)
        finally:
            self._forget()
            await self.http.aclose()


_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str, str | None], Connection]] = (
    WeakKeyDictionary()
)


def connection_to(endpoint: Endpoint) -> Connection:
    """Return the connections to an endpoint in the running event loop."""
    loop = asyncio.get_running_loop()
    mine = _connections.setdefault(loop, {})
    key = (endpoint.protocol, endpoint.url, endpoint.secret)
    if (found := mine.get(key)) is None:
        found = mine[key] = Connection(endpoint.url, lambda: mine.pop(key, None))
    return found


def model_of(endpoint: Endpoint, connection: Connection) -> Model[Any]:
    """Return the object through which a model is asked."""
    if (found := connection.models.get(endpoint.model)) is None:
        make = _anthropic if endpoint.protocol == "anthropic" else _openai
        found = connection.models[endpoint.model] = make(endpoint, connection.http)
    return found


def load_libraries(protocol: Protocol, *, secure: bool) -> None:
    """Import what a protocol needs, and with `secure` whom to trust, which takes seconds; called in a thread."""
    from importlib import import_module

    if secure:
        certificates()
    names = ["pydantic_ai.direct", "genai_prices.data"]
    if protocol == "anthropic":
        names += ["anthropic", "pydantic_ai.models.anthropic", "pydantic_ai.providers.anthropic"]
        names += ["anthropic.resources.beta.messages", "anthropic.resources.messages"]
    else:
        names += ["openai", "pydantic_ai.models.openai", "pydantic_ai.providers.openai_compatible"]
        names += ["pydantic_ai.providers.openai", "openai.resources.chat.completions"]
    for name in names:
        import_module(name)
    # Counts of tokens that are no numbers are warned of on standard error with what stands in their place, which a
    # server chooses: it may be the key.
    warnings.filterwarnings("ignore", r"(?s)Pydantic serializer warnings:.*field_name='\w*(tokens|usage)", UserWarning)
    warnings.filterwarnings("ignore", "Failed to extract usage")


def _openai(endpoint: Endpoint, http: Client) -> Model[Any]:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    client = AsyncOpenAI(
        base_url=endpoint.url, api_key=endpoint.secret or NO_KEY, http_client=http, max_retries=0, timeout=http.timeout
    )
    if endpoint.url == PROVIDERS["openai"].url:
        return OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client))
    # Tried rather than believed: a server that cannot take a schema answers with a 400, and is then told in words. The
    # older name of the token limit is the one that all of them know.
    profile = OpenAIModelProfile(supports_json_schema_output=True, openai_chat_supports_max_completion_tokens=False)
    provider = OpenAICompatibleProvider(endpoint.provider, openai_client=client, profile=profile)
    return OpenAIChatModel(endpoint.model, provider=provider)


def _anthropic(endpoint: Endpoint, http: Client) -> Model[Any]:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(
        base_url=endpoint.url, api_key=endpoint.secret or NO_KEY, http_client=http, max_retries=0, timeout=http.timeout
    )
    return AnthropicModel(endpoint.model, provider=AnthropicProvider(anthropic_client=client))


def takes_schema(model: Model[Any], endpoint: Endpoint, connection: Connection) -> bool:
    """Whether a model is given the schema of an answer beside the prompt, as far as is known."""
    return endpoint.model not in connection.prompted and bool(model.profile.get("supports_json_schema_output"))
