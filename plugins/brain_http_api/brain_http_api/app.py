"""The application: routes, errors as problem documents, and the OpenAPI document."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from brain_core import BrainError
from brain_http_api.bodies import told
from brain_http_api.problems import MEDIA_TYPE, Problem, problem_of
from brain_http_api.routes import ROUTERS
from brain_http_api.routes.described import ProblemOut
from brain_http_api.watching import Watched

if TYPE_CHECKING:
    from brain_http_api.api import Api

logger = logging.getLogger("brain.http_api")

_KINDS = {404: "not-found", 405: "method-not-allowed"}
_SHOWN = 80
_TAGS = [
    {"name": "runs", "description": "Start runs, watch them, and look at what has become of them."},
    {"name": "triggers", "description": "What is registered, and what became of its instants."},
    {"name": "server", "description": "How the server and its surroundings are."},
]


class _Application(FastAPI):
    """The application, whose document names the form of its errors."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            schemas["Problem"] = ProblemOut.model_json_schema()
            # FastAPI's own form of what is invalid, which is said of every parameter, and which nothing here answers.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in document["paths"].values():
                for operation in path.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        del operation["responses"]["422"]
        return super().openapi()


def create_app(api: Api | None = None, *, docs: bool = False, root_path: str = "") -> FastAPI:
    """Return the application. Without an `api` it can only tell its OpenAPI document."""
    app = _Application(
        title="brain-core",
        version="1",
        summary="Start workflows, watch them, and take webhooks.",
        openapi_tags=_TAGS,
        docs_url="/docs" if docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if docs else None,
        servers=[{"url": root_path}] if root_path else None,
        # An address with a slash more is another one: no redirects that carry a token elsewhere.
        redirect_slashes=False,
    )
    app.state.api = api
    for router in ROUTERS:
        app.include_router(router)
    if api is not None:
        app.add_middleware(Watched, metrics=api.metrics)
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
    kind, detail = _KINDS.get(error.status_code, "bad-request"), str(error.detail)
    path = ascii(request.url.path[:_SHOWN])[1:-1]
    if kind == "not-found":
        detail = f"there is no route {request.method} {path}; `brain openapi` lists those that there are"
    elif kind == "method-not-allowed":
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.method} is not for {path}; it takes {allowed}"
    return await _answer(request, Problem(error.status_code, kind, detail, error.headers))


async def _invalid(request: Request, error: Any) -> Response:
    return await _answer(request, Problem(422, "invalid", told(error.errors())))
