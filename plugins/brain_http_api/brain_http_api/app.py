"""The application: routes, errors as problem documents, and the OpenAPI document."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from brain_core import BrainError
from brain_http_api.problems import MEDIA_TYPE, Problem, problem_of
from brain_http_api.routes import ROUTERS

if TYPE_CHECKING:
    from brain_http_api.api import Api

logger = logging.getLogger("brain.http_api")

_KINDS = {404: "not-found", 405: "method-not-allowed"}
_MOST_TOLD = 5
_FIELD = 80


def create_app(api: Api | None = None, *, docs: bool = False, root_path: str = "") -> FastAPI:
    """Return the application. Without an `api` it can only tell its OpenAPI document."""
    app = FastAPI(
        title="brain-core",
        version="1",
        summary="Start workflows, watch them, and take webhooks.",
        docs_url="/docs" if docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if docs else None,
        root_path=root_path,
        # An address with a slash more is another one: no redirects that carry a token elsewhere.
        redirect_slashes=False,
    )
    app.state.api = api
    for router in ROUTERS:
        app.include_router(router)
    if api is not None:
        _add_routes_of_plugins(app, api)
    app.add_exception_handler(Problem, _answer)
    # By its name: what only the handler of all exceptions answers is raised again behind it.
    app.add_exception_handler(BrainError, _answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _answer)
    return app


def _add_routes_of_plugins(app: FastAPI, api: Api) -> None:
    """Call the hook `brain_http_routes(router)` of other plugins; one that fails is left out and said (G18)."""
    for plugin, call in api.brain.plugins.calls("brain_http_routes"):
        router = APIRouter()
        try:
            call({"router": router})
            app.include_router(router)
        except Exception:
            logger.exception("plugin '%s': brain_http_routes failed; its routes are left out", plugin)


async def _answer(request: Request, error: Exception) -> Response:
    problem = error if isinstance(error, Problem) else problem_of(error)
    if problem is None:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        problem = Problem(500, "internal", "this is a bug of the server; its log says more")
    return Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)


async def _http(request: Request, error: Any) -> Response:
    kind = _KINDS.get(error.status_code, "bad-request")
    return await _answer(request, Problem(error.status_code, kind, str(error.detail), error.headers))


async def _invalid(request: Request, error: Any) -> Response:
    told = [
        f"{'.'.join(str(part)[:_FIELD] for part in one['loc'])}: {one['msg']}" for one in error.errors()[:_MOST_TOLD]
    ]
    return await _answer(request, Problem(422, "invalid", "; ".join(told)))
