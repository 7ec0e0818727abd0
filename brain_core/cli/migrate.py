"""`brain migrate`: bring the database schema up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def migrate(as_json: Annotated[bool, typer.Option("--json", help="Print what was applied as JSON.")] = False) -> None:
    """Bring the database schema up to date. Every command does so by itself; this one says what it did.

    Tables of plugins come after; exit code 1 when those of one cannot be used.
    """
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> tuple[list[str], dict[str, dict[str, Any]]]:
        applied = await brain.migrate()
        names = [one.plugin for one in brain.plugins.tables]
        theirs = await brain.tables.ready()
        problems = brain.plugins.barred
        return applied, {name: {"applied": theirs.get(name, []), "problem": problems.get(name)} for name in names}

    applied, plugins = with_brain(work, ready=False)
    if as_json:
        output.print_json({"applied": applied, "plugins": plugins})
    else:
        _print(applied, plugins)
    if any(one["problem"] for one in plugins.values()):
        raise typer.Exit(1)


def _print(applied: list[str], plugins: dict[str, dict[str, Any]]) -> None:
    for name in applied:
        output.emit(f"applied  {output.one_line(name)}")
    for plugin, one in plugins.items():
        for name in one["applied"]:
            output.emit(f"applied  {output.one_line(f'{plugin} {name}')}")
        if one["problem"]:
            output.emit(f"{output.style('failed', 'red')}   {output.one_line(f'{plugin}: ' + one['problem'])}")
    if not applied and not any(one["applied"] or one["problem"] for one in plugins.values()):
        output.emit("the schema is up to date")
