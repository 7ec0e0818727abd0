"""Encoding: the JSON of answers and of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from starlette.responses import Response

_LARGE = 64 * 1024
"""Characters of the JSON of a step after which others get their turn."""


def json_text(value: Any) -> str:
    """Return a shape, or JSON values, as JSON; times become ISO 8601.

    Not by pydantic, whose serializer refuses values that are nested as deeply as outputs may be.
    """
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))


async def step_text(shape: Mapping[str, Any]) -> str:
    """Return the shape of a step as JSON; others get their turn after one that is large."""
    text = json_text(shape)
    if len(text) > _LARGE:
        await asyncio.sleep(0)
    return text


async def run_text(shape: Mapping[str, Any]) -> str:
    """Return the shape of a run with its steps as JSON; the event loop is held for one step's output at most."""
    steps = [await step_text(step) for step in shape["steps"]]
    head = json_text({name: value for name, value in shape.items() if name != "steps"})
    return f'{head[:-1]},"steps":[{",".join(steps)}]}}'


def answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response that holds a text of JSON."""
    return Response(text.encode(), status, headers, "application/json")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
