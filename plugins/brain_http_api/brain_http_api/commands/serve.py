"""`brain serve`."""

from __future__ import annotations

import typer

from brain_http_api.settings import HttpApiSettings


def add_to(app: typer.Typer, settings: HttpApiSettings) -> None:
    """Add the command to an app."""
