"""The hooks of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    from fastapi import APIRouter


# A hook of brain-http-api: nothing is missed where that is not installed.
@hookimpl(optionalhook=True)
def brain_http_routes(router: APIRouter) -> None:
    from brain_plugin_routes.badge import badge

    router.add_api_route("/badge/{workflow}", badge, tags=["badge"])
