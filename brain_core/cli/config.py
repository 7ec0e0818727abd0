"""`brain config`: each setting, its value, and where that came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.config import LoadedSettings
    from brain_core.plugin.manager import PluginManager

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def config(as_json: Annotated[bool, typer.Option("--json", help="Print the settings as a JSON list.")] = False) -> None:
    """Show each setting, its value (secrets masked) and where it came from."""
    from brain_core.cli.session import load

    loaded, plugins = load()
    entries = [*loaded.entries(), *_of_plugins(loaded, plugins)]
    if as_json:
        output.print_json([{"name": name, "value": value, "origin": origin} for name, value, origin in entries])
        return
    rows = [[name, value if isinstance(value, str) else json.dumps(value), origin] for name, value, origin in entries]
    output.table(rows, ["SETTING", "VALUE", "FROM"])


def _of_plugins(loaded: LoadedSettings, plugins: PluginManager) -> Iterator[tuple[str, Any, str]]:
    """Yield the settings of active plugins; their models know what is secret."""
    for key, values in plugins.section_values.items():
        for name, value in values.model_dump(mode="json").items():
            yield f"plugins.{key}.{name}", value, loaded.origin(f"plugins.{key}.{name}")
