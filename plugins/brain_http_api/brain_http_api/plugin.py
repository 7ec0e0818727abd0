"""The hooks of brain-http-api; nothing is imported before a hook is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    import typer
    from pydantic import BaseModel

    from brain_core import Brain, Service, Tables, Trigger
    from brain_http_api.settings import HttpApiSettings

BRAIN_COMMANDS = {
    "serve": "Serve the HTTP API and run what is queued; fire nothing.",
    "openapi": "Print the OpenAPI document of the HTTP API.",
    "token": "Make, list and revoke tokens of the HTTP API.",
    "webhook": "List webhooks and change their secrets.",
}


@hookimpl
def brain_settings() -> type[BaseModel]:
    from brain_http_api.settings import HttpApiSettings

    return HttpApiSettings


@hookimpl
def brain_migrations() -> Tables:
    from pathlib import Path

    from brain_core import Tables

    here = Path(__file__).parent
    return Tables(schema="brain_http_api", migrations=here / "migrations", statements=here / "sql")


@hookimpl
def brain_trigger_types() -> list[type[Trigger]]:
    from brain_http_api.webhook.trigger import Webhook

    return [Webhook]


@hookimpl
def brain_commands(app: typer.Typer, settings: HttpApiSettings) -> None:
    from brain_http_api.commands import openapi, serve, token, webhook

    for noun in (serve, openapi, token, webhook):
        noun.add_to(app, settings)


@hookimpl
def brain_services(brain: Brain, settings: HttpApiSettings) -> list[Service]:
    if not settings.enabled:
        return []
    from brain_http_api.service import HttpService

    return [HttpService(brain, settings)]
