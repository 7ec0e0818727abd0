"""`brain hello`."""

from __future__ import annotations

from typing import Annotated

import typer


def hello(who: Annotated[str, typer.Argument(help="Whom to greet.")] = "world") -> None:
    """Greet someone (from brain-plugin-hello)."""
    typer.echo(f"Hello, {who}!")
