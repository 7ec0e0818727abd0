"""`/fires`, `/workflows` and `/plugins`: what can only be looked at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from brain_http_api.access import Reader
from brain_http_api.answers import FireOut, FiresOut, Outcome, PluginOut, PluginsOut, WorkflowsOut, answer
from brain_http_api.api import Api, api_of
from brain_http_api.bodies import Moment
from brain_http_api.routes.described import problems
from brain_http_api.routes.seen import trigger_of

router = APIRouter()


class FiresQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    trigger: str | None = Field(default=None, description="Only instants of this trigger, unregistered or not.")
    outcome: Outcome | None = Field(default=None, description="Only instants with this outcome.")
    since: Moment | None = Field(default=None, description="Only instants from then on.")
    until: Moment | None = Field(default=None, description="Only instants before then.")
    limit: int = Field(default=20, ge=1, le=1_000)
    cursor: str | None = Field(default=None, description="The `next_cursor` of the page before.")


@router.get(
    "/fires", operation_id="list_fires", tags=["triggers"], response_model=FiresOut, responses=problems(404, 422)
)
async def list_fires(
    access: Reader, api: Annotated[Api, Depends(api_of)], query: Annotated[FiresQuery, Query()]
) -> Response:
    """Return what became of due instants, the latest first."""
    if query.trigger is not None:
        await trigger_of(api, access, query.trigger, unregistered=True)
    found, cursor = await api.brain.fires_page(workflows=access.patterns or None, **dict(query))
    return answer(FiresOut(fires=[FireOut.of(entry) for entry in found], next_cursor=cursor))


@router.get(
    "/workflows", operation_id="list_workflows", tags=["triggers"], response_model=WorkflowsOut, responses=problems()
)
async def list_workflows(access: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return the workflows that something is registered for, each with what it is registered under."""
    listing = await api.brain.triggers.listing()
    return answer(WorkflowsOut.of(one for one in listing if access.sees(one.row.workflow_name)))


@router.get("/plugins", operation_id="list_plugins", tags=["server"], response_model=PluginsOut, responses=problems())
async def list_plugins(_: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return the installed plugins, and what is wrong with them."""
    return answer(PluginsOut(plugins=[PluginOut.of(plugin) for plugin in api.brain.plugins.plugins]))
