"""What is in a delivery: its body as a value, and what its run is told of it. Pure; read only once it is verified."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from brain_http_api.problems import Problem
from brain_http_api.strict_json import distinct, loads

if TYPE_CHECKING:
    from brain_http_api.webhook.verify import Headers, Proof

Kind = Literal["json", "form", "text"]

MAX_FIELDS = 1_000

HEADERS = {
    "standard": ("content-type", "user-agent", "webhook-id", "webhook-timestamp"),
    "github": (
        "content-type",
        "user-agent",
        "x-github-event",
        "x-github-delivery",
        "x-github-hook-id",
        "x-github-hook-installation-target-id",
        "x-github-hook-installation-target-type",
    ),
    "bearer": ("content-type", "user-agent", "idempotency-key"),
}
"""What steps may read, by scheme. None of it proves the sender."""

_MEDIA_TYPE = re.compile(r"([!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(;.*)?", re.DOTALL)
_CHARSET = re.compile(r";[ \t]*charset=\"?([^\s;\"]*)\"?")
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})


def kind_of(headers: Headers) -> Kind:
    """Return what the body is said to be; a Problem for what cannot be read."""
    given = [value for name, value in headers if name == b"content-type"]
    kind = _kind(given[0]) if len(given) == 1 else None
    if kind is None:
        raise Problem(
            415,
            "unsupported-media-type",
            "a delivery has to be JSON, a form or text in UTF-8; send: Content-Type: application/json",
        )
    return kind


@lru_cache(maxsize=256)
def _kind(value: bytes) -> Kind | None:
    match = _MEDIA_TYPE.fullmatch(value.decode("latin-1").strip().lower())
    if match is None:
        return None
    if any(charset not in _UTF_8 for charset in _CHARSET.findall(match[2] or "")):
        return None
    if match[1] == "application/json" or match[1].endswith("+json"):
        return "json"
    if match[1] == "application/x-www-form-urlencoded":
        return "form"
    return "text" if match[1] == "text/plain" else None


def parsed(kind: Kind, body: bytes) -> Any:
    """Return the body as a value; a Problem when it is not what it is said to be, or holds what cannot be kept.

    A form is an object of its fields, and one with the only field `payload` the JSON in it, as GitHub sends it.
    """
    try:
        text = body.decode("utf-8")
        if kind == "text":
            return text
        return loads(text) if kind == "json" else _form(text)
    except UnicodeError:
        raise _unreadable("it is not UTF-8") from None
    except ValueError as error:
        raise _unreadable(str(error)) from None


def payload_of(scheme: str, proof: Proof, headers: Headers, body: Any, more: Collection[str]) -> dict[str, Any]:
    """Return what the run of a delivery is told: its id, its event, its body, and those headers that steps may read."""
    allowed = {*HEADERS[scheme], *more}
    told: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1")
        if name in allowed:
            key, text = name.replace("-", "_"), _text(value)
            told[key] = f"{told[key]}, {text}" if key in told else text
    event: Any = body.get("type") if isinstance(body, dict) else None
    if scheme == "github":
        event = told.get("x_github_event")
    return {"id": proof.id, "event": event if isinstance(event, str) else None, "body": body, "headers": told}


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _form(text: str) -> Any:
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)
    fields = distinct(pairs)
    return loads(fields["payload"]) if fields.keys() == {"payload"} else fields


def _unreadable(why: str) -> Problem:
    return Problem(400, "bad-request", f"the body cannot be read: {why}"[:300])
