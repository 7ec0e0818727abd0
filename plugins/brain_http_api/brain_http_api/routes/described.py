"""Described: what OpenAPI says of the answers that routes share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brain_http_api.problems import MEDIA_TYPE, PREFIX

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "The request is not one.",
    401: "No token, or none that is valid.",
    403: "The token lacks the right.",
    404: "It is not there, or not for this token.",
    408: "The request did not arrive in time.",
    409: "Something stands against it.",
    413: "The body is too large.",
    415: "The body has to be JSON.",
    422: "A field or an input is missing, unknown or of the wrong type.",
    503: "The database is away, or the server is busy or closing; try again.",
}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    503: {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "required": True}},
}


class ProblemOut(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(title="Problem", extra="forbid")

    type: str = Field(pattern=f"^{PREFIX}[a-z-]+$", description="The kind of error; it never changes its meaning.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")


def problems(*statuses: int) -> Responses:
    """Return the problems that a route with a token answers with, beside those that all have."""
    return {status: _problem(status) for status in sorted({400, 401, 403, 422, 503, *statuses})}


def takes_body(*statuses: int) -> Responses:
    """Return the problems of a route that takes a body, and has a token."""
    return problems(408, 413, 415, *statuses)


def other_answer(media_type: str, schema: dict[str, Any], description: str) -> Responses:
    """Return what OpenAPI says of an answer that is no JSON."""
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


def header(name: Literal["Location", "Idempotency-Replayed"]) -> dict[str, Any]:
    """Return what OpenAPI says of a header of an answer."""
    said = {
        "Location": "Where the run is to be looked at.",
        "Idempotency-Replayed": "`true` when it was there already.",
    }
    return {name: {"description": said[name], "schema": {"type": "string"}}}


def _problem(status: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "description": _MEANINGS.get(status, HTTPStatus(status).phrase),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return said | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
