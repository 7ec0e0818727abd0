"""`GET /badge/{workflow}`: how the last run of a workflow went, as a small picture for a page."""

from __future__ import annotations

from html import escape
from typing import Annotated

from brain_http_api.access import Reader
from brain_http_api.api import Api, api_of
from brain_http_api.problems import Problem
from fastapi import Depends, Response

_COLOURS = {"success": "#2e7d32", "failed": "#c62828", "cancelled": "#757575"}
_SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="240" height="20" role="img">
<rect width="240" height="20" rx="3" fill="{colour}"/>
<text x="8" y="14" font-family="sans-serif" font-size="11" fill="#fff">{text}</text>
</svg>
"""


async def badge(workflow: str, access: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Tell how the last run of a workflow went. Needs the right `read`, and the token has to see the workflow."""
    runs, _ = await api.brain.history_page(workflow=workflow, limit=1) if access.sees(workflow) else ([], None)
    if not runs:
        raise Problem(404, "not-found", f"the workflow '{workflow[:80]}' has no run")
    status = runs[0].status
    text = escape(f"{workflow[:24]}: {status}")
    return Response(_SVG.format(colour=_COLOURS.get(status, "#1565c0"), text=text), media_type="image/svg+xml")
