"""`brain plugins`: what is installed, what it brings, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.errors import PluginError, nearest

if TYPE_CHECKING:
    from brain_core.plugin.info import PluginInfo

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What is installed, and what is wrong with it.")

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_plugins(as_json: AsJson = False) -> None:
    """List the plugins: name, version, distribution, what each provides, and its state."""
    found = _load()
    if as_json:
        output.print_json([_shape(plugin) for plugin in found])
        return
    rows = [
        [plugin.name, plugin.version, plugin.distribution, ", ".join(plugin.provides) or "-", _state(plugin)]
        for plugin in found
    ]
    output.table(rows, ["NAME", "VERSION", "DISTRIBUTION", "PROVIDES", "STATE"])


@app.command("check")
def check_plugin(
    name: Annotated[str, typer.Argument(help="The plugin's name, as `brain plugins list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Say all that is known of one plugin; exit 1 when it is quarantined."""
    found = _load()
    plugin = next((each for each in found if each.name == name), None)
    if plugin is None:
        names = [each.name for each in found]
        raise PluginError(f"no plugin '{name}' is installed{nearest(name, names)} (there are: {', '.join(names)})")
    if as_json:
        output.print_json({**_shape(plugin), "detail": plugin.detail})
    else:
        for title, value in _shape(plugin).items():
            output.emit(f"{title:<14}{', '.join(value) if isinstance(value, list) else value or '-'}")
        if plugin.detail:
            output.emit("")
            output.emit(plugin.detail.rstrip())
    if plugin.state == "quarantined":
        raise typer.Exit(1)


def _load() -> list[PluginInfo]:
    from brain_core.cli.session import load

    return load()[1].plugins


def _shape(plugin: PluginInfo) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "module": plugin.module,
        "provides": plugin.provides,
        "state": plugin.state,
        "reason": plugin.reason,
    }


def _state(plugin: PluginInfo) -> str:
    return plugin.state if plugin.reason is None else f"{plugin.state}: {output.one_line(plugin.reason)}"
