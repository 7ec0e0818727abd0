"""Problems: errors as RFC 9457 problem documents, each kind with a `type` that never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:brain-core:problem:"
RETRY_AFTER = 5
"""Seconds after which a client may try again what was refused because something was away or full."""


class Problem(Exception):
    """An error that a client is told. `kind` becomes its `type`; `detail` is one line that says what to do."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER))

    @property
    def document(self) -> dict[str, Any]:
        return {
            "type": PREFIX + self.kind,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    @property
    def body(self) -> bytes:
        return json.dumps(self.document).encode()


def unauthenticated(detail: str) -> Problem:
    """Return the answer to credentials that are missing, malformed or not (any longer) valid."""
    return Problem(401, "unauthenticated", detail, {"WWW-Authenticate": "Bearer"})


def problem_of(error: Exception) -> Problem | None:
    """Return what a client is told of an expected error; None for a bug."""
    # Late: the types come with most of brain-core.
    from brain_core import facade

    for kinds, status, kind in (
        (facade.InputError, 422, "input-refused"),
        (facade.UsageError, 400, "bad-request"),
        ((facade.WorkflowFileError, facade.RunnerDied), 422, "workflow-refused"),
        ((facade.RunNotFound, facade.TriggerNotFound), 404, "not-found"),
        (facade.IdempotencyConflict, 409, "idempotency-conflict"),
        (facade.TriggerRefused, 409, "trigger-refused"),
        (facade.DatabaseError, 503, "database-away"),
        (facade.BrainError, 409, "refused"),
    ):
        if isinstance(error, kinds):
            detail = "the database cannot be used at the moment; try again" if status == 503 else str(error)
            return Problem(status, kind, detail)
    return None


async def send_problem(send: Any, problem: Problem) -> None:
    """Answer with a problem by the bare ASGI protocol."""
    body = problem.body
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **problem.headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
