"""`brain migrate`: bring the database schema up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def migrate(as_json: Annotated[bool, typer.Option("--json", help="Print what was applied as JSON.")] = False) -> None:
    """Bring the database schema up to date. Every command does so by itself; this one says what it did."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> list[str]:
        return await brain.migrate()

    applied = with_brain(work, ready=False)
    if as_json:
        output.print_json({"applied": applied})
        return
    for name in applied:
        output.emit(f"applied  {output.one_line(name)}")
    if not applied:
        output.emit("the schema is up to date")
