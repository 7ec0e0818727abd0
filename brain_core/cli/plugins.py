"""`brain plugins`: what is installed, what it brings, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.errors import UsageError, nearest
from brain_core.plugin.info import plugin_shape

if TYPE_CHECKING:
    from brain_core.plugin.info import PluginInfo

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What is installed, and what is wrong with it.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_plugins(as_json: AsJson = False) -> None:
    """List the plugins: name, version, distribution, what each provides, and its state."""
    found = _load()
    if as_json:
        output.print_json([plugin_shape(plugin) for plugin in found])
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
    plugins = _load()
    found = [each for each in plugins if each.name == name] or [each for each in plugins if each.distribution == name]
    if not found:
        names = sorted({each.name for each in plugins})
        guess = nearest(name, [*names, *(each.distribution for each in plugins)])
        raise UsageError(f"no plugin '{output.one_line(name)}' is installed{guess} (there are: {', '.join(names)})")
    if as_json:
        # Two plugins may quarrel over one name; then the one that is in quarantine is the one to look at.
        worst = min(found, key=lambda each: each.state != "quarantined")
        output.print_json({**plugin_shape(worst), "detail": worst.detail})
    else:
        for at, plugin in enumerate(found):
            if at:
                output.emit()
            _print(plugin)
    if any(each.state == "quarantined" for each in found):
        raise typer.Exit(1)


def _print(plugin: PluginInfo) -> None:
    for title, value in plugin_shape(plugin).items():
        plain = ("yes" if value else "no") if isinstance(value, bool) else value
        text = ", ".join(plain) if isinstance(plain, list) else plain or "-"
        output.emit(f"{title:<14}{output.status(text) if title == 'state' else output.one_line(text)}")
    if plugin.detail and plugin.detail != plugin.reason:
        output.emit()
        output.emit(output.visible(plugin.detail.rstrip()))


def _load() -> list[PluginInfo]:
    from brain_core.cli.session import load

    return load()[1].plugins


def _state(plugin: PluginInfo) -> str:
    if plugin.state == "active" and plugin.enabled is not None:
        return "active, switched on" if plugin.enabled else "active, switched off"
    return plugin.state if plugin.reason is None else f"{plugin.state}: {output.one_line(plugin.reason)}"
