"""`POST /hooks/{name}` as OpenAPI tells it: the front hands deliveries on to the receiver, and to no route."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from brain_http_api.answers import WholeRunOut
from brain_http_api.routes.described import Responses, header, takes_body

router = APIRouter(tags=["triggers"])


class DeliveredOut(BaseModel):
    """A delivery that is a run now."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = Field(json_schema_extra={"format": "uuid"})
    repeated: bool = Field(description="Whether the run was there already.")


_ANSWERS: Responses = {
    200: {
        "model": WholeRunOut,
        "description": "With `wait`: the run has ended; its status says how.",
        "headers": header("Idempotency-Replayed"),
    },
    202: {
        "model": DeliveredOut | WholeRunOut,
        "description": "The delivery is committed; with `wait`, the run as it is now.",
        "headers": header("Location") | header("Idempotency-Replayed"),
    },
}
_TAKEN: dict[str, Any] = {"application/json": {}, "application/x-www-form-urlencoded": {}, "text/plain": {}}
_DESCRIBED: dict[str, Any] = {"requestBody": {"required": True, "content": _TAKEN}, "security": []}


@router.post(
    "/hooks/{name}",
    operation_id="deliver",
    status_code=202,
    response_model=None,
    responses={status: told for status, told in takes_body().items() if status != 403} | _ANSWERS,
    openapi_extra=_DESCRIBED,
)
async def deliver(
    name: str,
    wait: Annotated[bool, Query(description="Whether to answer when the run has ended.")] = False,
    wait_timeout: Annotated[
        float | None, Query(ge=0, description="Seconds after which the run is answered as it is.")
    ] = None,
) -> None:
    """Take a delivery to a webhook, signed as the scheme of the webhook says; no token is needed.

    It is committed before anything is answered. The same delivery is the same run.
    """
    raise AssertionError("deliveries are handed on before")
