"""`brain unregister NAME`: end a schedule; its history stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def unregister(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedule as JSON.")] = False,
) -> None:
    """End a schedule. Its runs and its ledger stay, runs that go on are left alone, and its name is free again."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> None:
        await brain.triggers.unregister(name)

    with_brain(work)
    if as_json:
        output.print_json({"name": name, "state": "deleted"})
    else:
        output.emit(f"{output.style('unregistered', 'yellow')}  {output.one_line(name)}; its history stays")
