"""The routes of the API, one file a noun; each takes a request, asks the brain, and answers."""

from __future__ import annotations

from brain_http_api.routes import health

ROUTERS = (health.router,)
