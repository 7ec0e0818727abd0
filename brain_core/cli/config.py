"""`brain config`: each setting, its value, and where that came from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from brain_core.cli import output

app = typer.Typer(rich_markup_mode=None)


@app.command()
def config(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show each setting, its value (passwords masked) and where it came from."""
    from brain_core.config import load_settings

    entries = list(load_settings().entries())
    if as_json:
        output.print_json([{"name": name, "value": value, "origin": origin} for name, value, origin in entries])
        return
    rows = [[name, value if isinstance(value, str) else json.dumps(value), origin] for name, value, origin in entries]
    output.table(rows, ["SETTING", "VALUE", "FROM"])
