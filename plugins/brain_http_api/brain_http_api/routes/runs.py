"""`/runs`: the history, one run, and cancelling it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from brain_core import facade
from brain_http_api.access import Reader, Starter
from brain_http_api.answers import CancelOut, RunsOut, RunStatus, WholeRunOut
from brain_http_api.api import Api, api_of
from brain_http_api.bodies import CancelIn, Moment, body_of, documented
from brain_http_api.encoding import answer, json_text
from brain_http_api.routes.described import Responses, problems, takes_body
from brain_http_api.routes.seen import run_of, trigger_of
from brain_http_api.waiting import turn, whole

router = APIRouter(tags=["runs"])

RunId = Annotated[str, Path(alias="id", description="The whole id of a run.", json_schema_extra={"format": "uuid"})]


CANCELLED: Responses = {
    200: {"description": "It has ended: `cancelled` by this, or `over` before."},
    202: {"model": CancelOut, "description": "`requested`: its process ends it."},
}


class RunsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    workflow: str | None = Field(default=None, description="Only runs of this workflow.")
    status: RunStatus | None = Field(default=None, description="Only runs with this status.")
    trigger: str | None = Field(default=None, description="Only runs of this trigger, unregistered or not.")
    since: Moment | None = Field(default=None, description="Only runs created from then on.")
    until: Moment | None = Field(default=None, description="Only runs created before then.")
    limit: int = Field(default=20, ge=1, le=1_000)
    cursor: str | None = Field(default=None, description="The `next_cursor` of the page before.")


@router.get("/runs", operation_id="list_runs", response_model=RunsOut, responses=problems(404))
async def list_runs(
    access: Reader, api: Annotated[Api, Depends(api_of)], query: Annotated[RunsQuery, Query()]
) -> Response:
    """Return runs without their steps, the latest first. What starts meanwhile does not move the pages."""
    if query.trigger is not None:
        await trigger_of(api, access, query.trigger, unregistered=True)
    found, cursor = await api.brain.history_page(workflows=access.patterns or None, **dict(query))
    runs = [facade.run_shape(run, steps=False) for run in found]
    return answer(json_text({"runs": runs, "next_cursor": cursor}))


@router.get("/runs/{id}", operation_id="get_run", response_model=WholeRunOut, responses=problems(404))
async def get_run(access: Reader, api: Annotated[Api, Depends(api_of)], run_id: RunId) -> Response:
    """Return one run with its steps and outputs."""
    async with turn(api):
        return answer(await whole(api, await run_of(api, access, run_id, steps=True)))


@router.post(
    "/runs/{id}/cancel",
    operation_id="cancel_run",
    response_model=CancelOut,
    responses=CANCELLED | takes_body(404),
    openapi_extra=documented(CancelIn),
)
async def cancel_run(
    access: Starter,
    api: Annotated[Api, Depends(api_of)],
    run_id: RunId,
    body: Annotated[CancelIn, Depends(body_of(CancelIn))],
) -> Response:
    """End a run as cancelled: at once when it waits, by its own process when it runs. To repeat it is harmless."""
    run = await run_of(api, access, run_id)
    reason = body.reason or f"cancelled over HTTP by the token '{access.name}'"
    done = await api.brain.control.cancel(run.id, reason)
    return answer(json_text(facade.cancelled_shape(done)), 202 if done.answer == "requested" else 200)
