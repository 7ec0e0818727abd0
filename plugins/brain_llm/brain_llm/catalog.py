"""The list of models that a server says it has. Imports the HTTP client."""

from __future__ import annotations

import asyncio
import json

from brain_llm import faults
from brain_llm.clients import Connection
from brain_llm.endpoint import Endpoint
from brain_llm.wire import WATCH, Watch, read_some

MAX_LIST = 4 * 1024 * 1024
MAX_MODELS = 10_000


async def models_at(endpoint: Endpoint, connection: Connection, *, seconds: float) -> list[str]:
    """Return the names of the models at an endpoint; Fault says why there is no list."""
    watch = Watch(endpoint)
    token = WATCH.set(watch)
    headers = {"accept": "application/json"}
    url = f"{endpoint.url}/models"
    if endpoint.protocol == "anthropic":
        url = f"{endpoint.url}/v1/models?limit=1000"
        headers["anthropic-version"] = "2023-06-01"
    if endpoint.secret:
        headers["authorization"] = f"Bearer {endpoint.secret}"
    try:
        async with asyncio.timeout(seconds), connection.http.stream("GET", url, headers=headers) as response:
            body, whole = await read_some(response, watch, MAX_LIST)
    except TimeoutError:
        raise faults.stalled(endpoint, seconds, True) from None
    finally:
        WATCH.reset(token)
    if not whole:
        raise faults.too_large(endpoint, "a list of models", MAX_LIST, "bytes")
    return _names(endpoint, body)


def _names(endpoint: Endpoint, body: str) -> list[str]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise faults.not_json(endpoint, body) from None
    entries = found.get("data", found.get("models")) if isinstance(found, dict) else found
    if not isinstance(entries, list):
        raise faults.other_json(endpoint, body, "list of models")
    names = []
    for entry in entries[:MAX_MODELS]:
        name = entry.get("id", entry.get("name")) if isinstance(entry, dict) else entry
        if isinstance(name, str):
            names.append(name.removeprefix("models/"))
    return names
