"""`GET /runs/{id}/events`: what becomes of a run, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from brain_http_api.access import Reader, bearer_of
from brain_http_api.api import Api, api_of
from brain_http_api.routes.described import other_answer, problems
from brain_http_api.routes.runs import RunId
from brain_http_api.routes.seen import run_of, uuid_of
from brain_http_api.streaming import EventStream, refuse_more

router = APIRouter(tags=["runs"])

EVENT = {
    "type": "object",
    "description": "One event; `data` is JSON.",
    "properties": {
        "event": {"enum": ["state", "step", "live", "cut", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
    "required": ["event", "data"],
    "additionalProperties": False,
}


@router.get(
    "/runs/{id}/events",
    operation_id="follow_run",
    response_class=Response,
    responses=other_answer("text/event-stream", EVENT, "Events until the run has ended or is parked.") | problems(404),
)
async def follow_run(
    request: Request,
    access: Reader,
    api: Annotated[Api, Depends(api_of)],
    run_id: RunId,
    after: Annotated[str | None, Query(description="The id of the last event that is known.")] = None,
    last_event_id: Annotated[str | None, Header(description="The same; it counts when both are sent.")] = None,
) -> Response:
    """Stream what becomes of a run: `state`, `step`, `live`, `cut`, and `end` when nothing more comes.

    Each but the last has an id; who sends the last one back goes on after it and misses nothing.
    """
    refuse_more(api)
    events = api.brain.events(uuid_of(run_id), last_event_id or after or None)
    await run_of(api, access, run_id)
    return EventStream(api, events, bearer_of(request))
