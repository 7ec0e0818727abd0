"""Bodies: what routes take, read and judged in the order that clients expect, after who they are.

FastAPI reads a body before it looks at the token, and calls much JSON; so this does both.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from email.message import Message
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from brain_core import facade
from brain_http_api.problems import Problem
from brain_http_api.strict_json import LARGE, loads

MAX_KEY = 255
_MOST_TOLD = 5
_FIELD = 80
# A `+` that was not written as %2B arrives as a space.
_LOST_PLUS = re.compile(r"(?<=T)(.*) ([0-9]{2}:?[0-9]{2})")

Body = TypeVar("Body", bound=BaseModel)


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("give a time as text, such as 2026-05-01T08:00:00Z")
    match = _LOST_PLUS.search(value)
    text = value if match is None else f"{value[: match.start(2) - 1]}+{match[2]}"
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("this is no time; give ISO 8601, such as 2026-05-01T08:00:00Z") from None


Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
"""A moment in ISO 8601; one without an offset is UTC."""
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunIn(_Body):
    """What to run, and whether to wait for it."""

    workflow: str = Field(
        min_length=1, description="The name that something is registered under, or the path of a workflow file."
    )
    inputs: dict[str, Any] = Field(default_factory=dict, description="As the workflow declares them.")
    idempotency_key: Key | None = Field(default=None, description="The same key gives the same run.")
    wait: bool = Field(default=True, description="Whether to answer when the run has ended.")
    wait_timeout: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Seconds after which the run is answered as it is; `max_wait` unless given."
    )


class FireIn(_Body):
    """Inputs for this run alone."""

    inputs: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: Key | None = Field(default=None, description="The same key gives the same run.")


class CancelIn(_Body):
    """Why a run is cancelled."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class PauseIn(_Body):
    """Until when a trigger is paused."""

    resume_at: Moment | None = Field(default=None, description="A time to come; without it somebody has to resume it.")


def body_of(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """Return a dependency: the body as this model. No body is an empty one where no field is needed."""
    optional = not any(field.is_required() for field in model.model_fields.values())

    async def read(request: Request) -> Body:
        raw = await request.body()
        if not raw and optional:
            return model()
        _check_type(request)
        value = await _parsed(raw)
        if not isinstance(value, dict):
            raise Problem(422, "invalid", "the body has to be a JSON object")
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise Problem(422, "invalid", told(error.errors(include_url=False), model.model_fields)) from None

    return read


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI says of a body that `body_of` reads."""
    schema = model.model_json_schema()
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": bool(schema.get("required")), "content": content}}


def told(errors: Any, known: Collection[str] = ()) -> str:
    """Return the first errors of a validation as one line; `known` are the fields that there are."""
    lines = [_one_told(one, known) for one in errors[:_MOST_TOLD]]
    return "; ".join(lines).encode("utf-8", "backslashreplace").decode()


def _one_told(error: Any, known: Collection[str]) -> str:
    """Return one error; only simple values are repeated, and nothing of the inputs, which may hold secrets."""
    where, *parts = (str(part)[:_FIELD] for part in error["loc"])
    of_query = where == "query" and bool(parts)
    name = ".".join(parts) if of_query else ".".join((where, *parts))
    if where == "header" and parts:
        name = f"the header {'.'.join(parts)}"
    if error["type"] == "extra_forbidden":
        return f"there is no {'parameter' if of_query else 'field'} '{name}'{facade.nearest(name, known)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    given = error.get("input")
    value = f" (it is {ascii(given)[:_FIELD]})" if isinstance(given, str | int | float) and where != "inputs" else ""
    # The one pattern that there is, in words.
    of_key = error["type"] == "string_pattern_mismatch" and where == "header"
    wanted = "it has to be visible ASCII, spaces only within" if of_key else facade.wanted(error)
    return f"{name}: {wanted}{value}"


def _check_type(request: Request) -> None:
    given = request.headers.getlist("content-type")
    message = Message()
    message["content-type"] = given[0] if len(given) == 1 else ""
    charset = str(message.get_param("charset", "utf-8")).lower()
    # Message calls what it cannot read text/plain.
    if message.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise Problem(
            415, "unsupported-media-type", "the body has to be JSON in UTF-8; send: Content-Type: application/json"
        )


async def _parsed(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8")
        return loads(text) if len(raw) < LARGE else await asyncio.to_thread(loads, text)
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    except ValueError as error:
        raise _unreadable(str(error)) from None


def _unreadable(why: str) -> Problem:
    return Problem(400, "bad-request", f"the body cannot be read as JSON: {why}"[:300])
