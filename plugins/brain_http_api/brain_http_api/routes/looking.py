"""`/fires`, `/workflows` and `/plugins`: what can only be looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from brain_core import facade
from brain_http_api.access import Reader
from brain_http_api.answers import FiresOut, Outcome, PluginsOut, WorkflowsOut
from brain_http_api.api import Api, api_of
from brain_http_api.bodies import Moment
from brain_http_api.encoding import answer, json_text
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


@router.get("/fires", operation_id="list_fires", tags=["triggers"], response_model=FiresOut, responses=problems(404))
async def list_fires(
    access: Reader, api: Annotated[Api, Depends(api_of)], query: Annotated[FiresQuery, Query()]
) -> Response:
    """Return what became of due instants, the latest first."""
    if query.trigger is not None:
        await trigger_of(api, access, query.trigger, unregistered=True)
    found, cursor = await api.brain.fires_page(workflows=access.patterns or None, **dict(query))
    fires = [{"trigger": one.trigger, "workflow": one.workflow, **facade.fire_shape(one.row)} for one in found]
    return answer(json_text({"fires": fires, "next_cursor": cursor}))


@router.get(
    "/workflows", operation_id="list_workflows", tags=["triggers"], response_model=WorkflowsOut, responses=problems()
)
async def list_workflows(access: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return the workflows that something is registered for, each with what it is registered under."""
    listing = await api.brain.triggers.listing()
    seen = [one for one in listing if access.sees(one.row.workflow_name)]
    return answer(json_text({"workflows": _by_workflow(seen)}))


@router.get("/plugins", operation_id="list_plugins", tags=["server"], response_model=PluginsOut, responses=problems())
async def list_plugins(_: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return the installed plugins, and what is wrong with them."""
    plugins = [facade.plugin_shape(plugin) for plugin in api.brain.plugins.plugins]
    return answer(json_text({"plugins": plugins}))


def _by_workflow(listing: Iterable[facade.Listed]) -> list[dict[str, Any]]:
    """Return the workflows that triggers are of, by name, each with the names of its triggers and its latest run."""
    grouped: dict[tuple[str, str, str], list[facade.Listed]] = {}
    for one in listing:
        grouped.setdefault((one.row.workflow_name, one.row.file, one.row.host), []).append(one)
    found = []
    for (name, file, host), triggers in sorted(grouped.items()):
        latest = max(triggers, key=lambda one: one.row.created_at)
        last = [run for run in map(facade.last_run_shape, triggers) if run is not None]
        found.append(
            {
                "name": name,
                "file": file,
                "host": host,
                "steps": [{"name": step["name"], "type": step["type"]} for step in latest.row.planned_steps],
                "triggers": sorted(one.row.name for one in triggers),
                "last_run": max(last, key=lambda run: run["created_at"], default=None),
            }
        )
    return found
