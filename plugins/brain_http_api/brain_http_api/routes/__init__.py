"""The routes of the API, one file a noun; each takes a request, asks the brain, and answers."""

from __future__ import annotations

from brain_http_api.routes import events, health, hooks, looking, metrics, run, runs, triggers

ROUTERS = tuple(each.router for each in (run, runs, events, triggers, hooks, looking, metrics, health))
