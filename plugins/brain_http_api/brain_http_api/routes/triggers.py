"""`/triggers`: what is registered, and what people do with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from brain_core import facade
from brain_http_api.access import Admin, Reader, Starter
from brain_http_api.answers import ChangedTriggerOut, ListedTriggerOut, TriggersOut, WholeRunOut
from brain_http_api.api import Api, api_of
from brain_http_api.bodies import FireIn, PauseIn, body_of, documented
from brain_http_api.encoding import answer, json_text
from brain_http_api.problems import Problem
from brain_http_api.routes.described import Responses, problems, takes_body
from brain_http_api.routes.run import STARTED, KeyHeader, one_key, start_and_answer
from brain_http_api.routes.seen import listed_of, trigger_of

router = APIRouter(tags=["triggers"])

FIRED: Responses = {200: STARTED[200] | {"model": WholeRunOut}, 202: STARTED[202]}
Name = Annotated[str, Path(description="The name that it is registered under.")]


@router.get("/triggers", operation_id="list_triggers", response_model=TriggersOut, responses=problems())
async def list_triggers(access: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return what is registered, by name, each with its last run and whether it is overdue."""
    listing = await api.brain.triggers.listing()
    seen = [facade.listed_shape(one) for one in listing if access.sees(one.row.workflow_name)]
    return answer(json_text({"triggers": seen}))


@router.get("/triggers/{name}", operation_id="get_trigger", response_model=ListedTriggerOut, responses=problems(404))
async def get_trigger(access: Reader, api: Annotated[Api, Depends(api_of)], name: Name) -> Response:
    """Return one trigger with its last run."""
    return answer(json_text(facade.listed_shape(await listed_of(api, access, name))))


@router.post(
    "/triggers/{name}/pause",
    operation_id="pause_trigger",
    response_model=ChangedTriggerOut,
    responses=takes_body(404, 409),
    openapi_extra=documented(PauseIn),
)
async def pause_trigger(
    access: Admin,
    api: Annotated[Api, Depends(api_of)],
    name: Name,
    body: Annotated[PauseIn, Depends(body_of(PauseIn))],
) -> Response:
    """Pause a trigger until it is resumed, or until `resume_at`; what comes due meanwhile is skipped."""
    await trigger_of(api, access, name)
    if body.resume_at is not None and body.resume_at <= await api.brain.clock():
        raise Problem(422, "invalid", f"resume_at: {body.resume_at.isoformat()} is over; give a time to come")
    return _changed(await api.brain.triggers.pause(name, resume_at=body.resume_at))


@router.post(
    "/triggers/{name}/resume",
    operation_id="resume_trigger",
    response_model=ChangedTriggerOut,
    responses=problems(404, 409),
)
async def resume_trigger(access: Admin, api: Annotated[Api, Depends(api_of)], name: Name) -> Response:
    """Resume a paused trigger at its first instant from now; one that is not paused stays as it is."""
    await trigger_of(api, access, name)
    return _changed(await api.brain.triggers.resume(name))


@router.post(
    "/triggers/{name}/fire",
    operation_id="fire_trigger",
    status_code=202,
    response_model=WholeRunOut,
    responses=FIRED | takes_body(404, 409),
    openapi_extra=documented(FireIn),
)
async def fire_trigger(
    request: Request,
    access: Starter,
    api: Annotated[Api, Depends(api_of)],
    name: Name,
    body: Annotated[FireIn, Depends(body_of(FireIn))],
    key: KeyHeader = None,
) -> Response:
    """Queue a run of a trigger, whatever its state and its schedule. 200 only for a key whose run has ended already."""
    key = one_key(request, key, body.idempotency_key)
    if access.patterns:
        # One that was unregistered since: a key that was used before still gives its run.
        await trigger_of(api, access, name, unregistered=True)
    return await start_and_answer(request, api, access, name, body.inputs, key, 0.0)


def _changed(one: facade.Described) -> Response:
    return answer(json_text(facade.changed_shape(one)))
