"""`brain openapi`."""

from __future__ import annotations

import typer

from brain_http_api.settings import HttpApiSettings


def add_to(app: typer.Typer, settings: HttpApiSettings) -> None:
    """Add the command to an app."""

    @app.command("openapi")
    def openapi() -> None:
        """Print the OpenAPI document of the HTTP API as JSON; it may be switched off, and no database is needed.

        Routes that other plugins add are left out: they are asked for them by a server that starts. With the setting
        `docs` it serves them, too, at /openapi.json.
        """
        _print(settings)


def _print(settings: HttpApiSettings) -> None:
    from brain_core import commands
    from brain_http_api.app import create_app

    commands.print_json(create_app(None, root_path=settings.root_path).openapi())
