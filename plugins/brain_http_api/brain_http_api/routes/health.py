"""`GET /health`: whether the process, the database and a daemon are alive; no more than that, and without a token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from brain_http_api.api import Api, api_of
from brain_http_api.problems import RETRY_AFTER

router = APIRouter(tags=["server"])


class HealthOut(BaseModel):
    """`daemon`: one that fires schedules has ticked within the last 30 seconds."""

    ok: bool
    database: bool
    daemon: bool


@router.get("/health", operation_id="health", responses={503: {"model": HealthOut, "description": "Not well."}})
@router.head("/health", include_in_schema=False)
async def health(api: Annotated[Api, Depends(api_of)], response: Response) -> HealthOut:
    """Tell whether the database answers and a daemon ticks; 503 when one of them does not."""
    found = await api.brain.health()
    if not found.well:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return HealthOut(ok=found.well, database=found.database, daemon=found.daemon)
