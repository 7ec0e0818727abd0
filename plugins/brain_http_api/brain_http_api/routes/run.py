"""`POST /run`: start a workflow, and answer when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from brain_core import facade
from brain_http_api.access import Access, Starter
from brain_http_api.answers import WholeRunOut
from brain_http_api.api import Api, api_of
from brain_http_api.bodies import MAX_KEY, RunIn, body_of, documented
from brain_http_api.paths import is_path
from brain_http_api.problems import Problem
from brain_http_api.routes.described import Responses, header, takes_body
from brain_http_api.routes.seen import no_trigger, trigger_of
from brain_http_api.waiting import ended, run_answer

router = APIRouter(tags=["runs"])

Find = Callable[[], Awaitable[Path]]

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY,
        pattern="^[!-~]([ -~]*[!-~])?$",
        description="The same key gives the same run; another way to send `idempotency_key`.",
    ),
]
STARTED: Responses = {
    200: {
        "description": "The run has ended; its status says how.",
        "headers": header("Location") | header("Idempotency-Replayed"),
    },
    202: {
        "model": WholeRunOut,
        "description": "The run as it is now; look for its end there.",
        "headers": header("Location") | header("Idempotency-Replayed"),
    },
}


@router.post(
    "/run",
    operation_id="run",
    response_model=WholeRunOut,
    responses=STARTED | takes_body(404, 409),
    openapi_extra=documented(RunIn),
)
async def run(
    request: Request,
    access: Starter,
    api: Annotated[Api, Depends(api_of)],
    body: Annotated[RunIn, Depends(body_of(RunIn))],
    key: KeyHeader = None,
) -> Response:
    """Start what is registered under a name, or a workflow file by its path, and answer when it has ended.

    The run is committed before anything is answered, and goes on if the client goes away. With `wait: false`, when
    `wait_timeout` is over and when the run is parked the answer is 202 with the run as it is.
    """
    longest = api.settings.max_wait
    seconds = longest if body.wait_timeout is None else body.wait_timeout
    if seconds > longest:
        raise Problem(422, "invalid", f"wait_timeout: at most {longest:g} seconds here (the setting max_wait)")
    key = one_key(request, key, body.idempotency_key)
    find = await _finder(api, access, body.workflow)
    wait = seconds if body.wait else 0.0
    return await start_and_answer(request, api, access, body.workflow, body.inputs, key, wait, find)


async def start_and_answer(
    request: Request,
    api: Api,
    access: Access,
    what: str,
    inputs: dict[str, Any],
    key: str | None,
    seconds: float,
    find: Find | None = None,
) -> Response:
    """Start a run of a name, or of the file that `find` returns, and answer with it. `seconds` 0 is not to wait."""
    source = {"type": "http", "token": access.name}
    try:
        run_id, created = await api.brain.start_run(what, inputs, source=source, idempotency_key=key, find=find)
    except facade.IdempotencyConflict:
        if access.patterns:
            raise _conflict() from None
        raise
    except facade.TriggerNotFound:
        if access.patterns:
            raise no_trigger(what) from None
        raise
    found = await ended(api, request.receive, run_id, seconds)
    if found is None:
        return Response(status_code=202)  # nobody hears it
    if not access.sees(found.workflow):
        raise _conflict()
    return await run_answer(api, found, None if created else {"Idempotency-Replayed": "true"})


def one_key(request: Request, of_header: str | None, of_body: str | None) -> str | None:
    """Return the idempotency key; a Problem for several headers, and for a header and a field that differ."""
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise Problem(400, "bad-request", "there are several headers Idempotency-Key; send one of them")
    if of_header is not None and of_body is not None and of_header != of_body:
        raise Problem(
            400, "bad-request", "the header Idempotency-Key and the field idempotency_key differ; send one of them"
        )
    return of_body if of_header is None else of_header


def _conflict() -> Problem:
    # Of which run is not for this bearer to know.
    return Problem(409, "idempotency-conflict", "the idempotency key was used for another request; use a new one")


async def _finder(api: Api, access: Access, workflow: str) -> Find | None:
    """Return what finds the file of a path, None for a name; a Problem when the bearer may not run it."""
    if is_path(workflow):
        if not access.allows("admin"):
            raise Problem(
                403,
                "forbidden",
                f"to run a file by its path needs a token with the right 'admin'; this one has '{access.scope}' and "
                "may run what is registered, by its name",
            )
        if access.patterns:
            raise Problem(403, "forbidden", "a token that is bound to workflows runs no files by their path")
        return partial(asyncio.to_thread, api.folders.file, workflow)
    if access.patterns:
        # One that was unregistered since: a key that was used before still gives its run.
        await trigger_of(api, access, workflow, unregistered=True)
    return None
