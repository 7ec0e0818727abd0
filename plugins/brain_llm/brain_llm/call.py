"""One streamed request to a model: sent, read as it comes, and judged. Imports the providers' libraries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError, UnexpectedModelBehavior, UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from brain_core import StepFailed
from brain_llm import faults
from brain_llm.clients import Connection, model_of
from brain_llm.endpoint import Endpoint
from brain_llm.faults import Fault
from brain_llm.schema import Shape
from brain_llm.wire import WATCH, Watch

MAX_ANSWER = 1_048_576
"""Characters of an answer, reasoning included."""


MAX_TOKENS = 10**12
"""A count over this is none: a server may say anything, and the row has to hold it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said in a conversation, by the model or to it."""

    text: str
    by_model: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model has answered. `finish` is its own word for why it stopped; tokens are None where it counts none."""

    text: str
    reasoning: int
    finish: str | None
    refusal: str | None
    model: str
    usage: Any
    input_tokens: int | None
    output_tokens: int | None
    first_token: float | None


async def call(
    endpoint: Endpoint,
    connection: Connection,
    turns: Sequence[Turn],
    system: str | None,
    *,
    shape: Shape | None,
    stall: float,
    hearing: Hearing,
) -> Reply:
    """Send one request and return the whole answer; Fault says what went wrong.

    `hearing` hears the text as it comes. With a `shape` the model is given its schema beside the prompt.
    """
    watch = Watch(endpoint)
    token = WATCH.set(watch)
    try:
        async with asyncio.timeout(stall) as guard:
            hearing.alive = lambda: guard.reschedule(asyncio.get_running_loop().time() + stall)
            async with model_request_stream(
                model_of(endpoint, connection),
                _messages(turns, system),
                model_settings=_settings(endpoint),
                model_request_parameters=_parameters(shape),
                instrument=False,
            ) as stream:
                async for event in stream:
                    hearing.take(event)
        return _judged(stream.get(), hearing, watch)
    except TimeoutError:
        if not guard.expired():
            raise
        raise faults.stalled(endpoint, stall, hearing.first_token is None) from None
    except (StepFailed, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library makes of what a server sends
        raise _fault_of(error, watch) from None
    finally:
        WATCH.reset(token)


class Hearing:
    """Takes the events of a stream: counts what comes, keeps the text and passes it on."""

    def __init__(self, on_text: Callable[[str], None] = lambda text: None) -> None:
        self._on_text = on_text
        self._pieces: list[str] = []
        self._began = monotonic()
        self.alive: Callable[[], None] = lambda: None
        self.first_token: float | None = None
        self.size = 0
        self.reasoning = 0

    @property
    def text(self) -> str:
        """What the model has said so far, reasoning left out."""
        return "".join(self._pieces)

    def take(self, event: Any) -> None:
        part = event.part if isinstance(event, PartStartEvent) else None
        delta = event.delta if isinstance(event, PartDeltaEvent) else None
        if isinstance(part, TextPart | ThinkingPart):
            text = part.content
        elif isinstance(delta, TextPartDelta | ThinkingPartDelta):
            text = delta.content_delta or ""
        else:
            return
        if not text:
            return
        if self.first_token is None:
            self.first_token = monotonic() - self._began
        self.alive()
        self.size += len(text)
        if self.size > MAX_ANSWER:
            raise _TooMuch
        if isinstance(part, TextPart) or isinstance(delta, TextPartDelta):
            self._pieces.append(text)
            self._on_text(text)
        else:
            self.reasoning += len(text)


class _TooMuch(Exception):
    """An answer is over MAX_ANSWER characters."""


def _sendable(text: str) -> str:
    """Return a text as JSON in UTF-8 can hold it: half a surrogate pair becomes a replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _messages(turns: Sequence[Turn], system: str | None) -> list[ModelMessage]:
    messages: list[ModelMessage] = []
    for number, turn in enumerate(turns):
        text = _sendable(turn.text)
        if turn.by_model:
            messages.append(ModelResponse(parts=[TextPart(text)]))
        elif number == 0 and system:
            messages.append(ModelRequest(parts=[SystemPromptPart(_sendable(system)), UserPromptPart(text)]))
        else:
            messages.append(ModelRequest(parts=[UserPromptPart(text)]))
    return messages


def _settings(endpoint: Endpoint) -> ModelSettings:
    settings = ModelSettings()
    if endpoint.temperature is not None:
        settings["temperature"] = endpoint.temperature
    if endpoint.max_tokens is not None:
        settings["max_tokens"] = endpoint.max_tokens
    return settings


def _parameters(shape: Shape | None) -> ModelRequestParameters:
    if shape is None:
        return ModelRequestParameters()
    return ModelRequestParameters(
        output_mode="native",
        output_object=OutputObjectDefinition(json_schema=shape.schema, name=shape.name),
    )


def _judged(response: ModelResponse, hearing: Hearing, watch: Watch) -> Reply:
    details = response.provider_details or {}
    finish = details.get("finish_reason") or details.get("stop_reason")
    refusal = details.get("refusal")
    if finish is None and refusal is None and not watch.done:
        raise faults.dropped(watch.endpoint, "the stream ended without saying that it is complete")
    usage = response.usage
    counts = (usage.input_tokens, usage.output_tokens)
    counted = not getattr(usage, "unmeasured_requests", 0) and any(counts) and all(0 <= n <= MAX_TOKENS for n in counts)
    reasoning = hearing.reasoning or int((usage.details or {}).get("reasoning_tokens", 0))
    return Reply(
        text="".join(part.content for part in response.parts if isinstance(part, TextPart)),
        reasoning=reasoning,
        finish=response.finish_reason or (str(finish) if finish else None),
        refusal=str(refusal) if refusal else None,
        model=str(response.model_name or watch.endpoint.model),
        usage=usage if counted else None,
        input_tokens=usage.input_tokens if counted else None,
        output_tokens=usage.output_tokens if counted else None,
        first_token=hearing.first_token,
    )


def _fault_of(error: Exception, watch: Watch) -> Fault:
    """Return the fault for what a provider's library raises about an answer."""
    endpoint = watch.endpoint
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            break
        if isinstance(cause, Fault):
            return cause
        if isinstance(cause, json.JSONDecodeError):
            return faults.not_json(endpoint, cause.doc)
        if isinstance(cause, UnicodeDecodeError):
            return faults.not_json(endpoint, bytes(cause.object).decode("utf-8", "replace"))
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, _TooMuch):
        return faults.too_large(endpoint, "an answer", MAX_ANSWER, "characters")
    if isinstance(error, ModelHTTPError):
        body = error.body if isinstance(error.body, str) else json.dumps(error.body, default=str)
        return faults.in_stream(endpoint, error.status_code, body)
    if isinstance(error, ModelAPIError):
        return faults.in_stream(endpoint, None, error.message)
    if isinstance(error, UnexpectedModelBehavior):
        return faults.dropped(endpoint, "the stream ended without an answer")
    if isinstance(error, UserError):
        return Fault(
            f"model '{endpoint.model}' cannot be asked this way: {faults.said(endpoint, str(error))}; set model="
        )
    what = f"{type(error).__name__}: {faults.said(endpoint, str(error), 100)}"
    return Fault(
        f"{endpoint.url} answers in a form that is not that of its protocol ({what}); set provider_url to an "
        f"{'Anthropic' if endpoint.protocol == 'anthropic' else 'OpenAI'}-compatible API",
        kind="form",
    )
