"""Query parameters: what a route of ours does not have is refused, and what is there twice.

FastAPI passes over the ones that it does not know, and takes the last of several.
"""

from __future__ import annotations

from collections import Counter

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from brain_core import facade
from brain_http_api.problems import Problem

_OURS = "brain_http_api.routes."
_NAME = 80


def check_parameters(request: Request) -> None:
    """Do nothing, or raise a Problem that names the parameter. Routes of other plugins may read theirs themselves."""
    if not request.url.query:
        return
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.endpoint.__module__.startswith(_OURS):
        return
    known = _known(route)
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        shown = name[:_NAME].encode("utf-8", "backslashreplace").decode()
        if name not in known:
            hint = facade.nearest(name, known)
            if "requestBody" in (route.openapi_extra or {}):
                hint = "; what this route takes are fields of the body"
            raise Problem(422, "invalid", f"there is no parameter '{shown}'{hint}")
        if times > 1:
            raise Problem(422, "invalid", f"the parameter '{shown}' is there {times} times; send it once")


def _known(route: APIRoute) -> list[str]:
    names: list[str] = []
    for one in route.dependant.query_params:
        kind = one.field_info.annotation
        is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += kind.model_fields if is_model else [one.alias]  # type: ignore[union-attr]
    return names
