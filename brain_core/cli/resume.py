"""`brain resume NAME`: let a paused schedule start runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.schedules import say_changed

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_types import Described

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedule as JSON.")] = False,
) -> None:
    """Let a paused schedule start runs again, at its first instant from now on.

    What came due while it was paused stays skipped. One that is not paused stays as it is.
    """
    from brain_core.app.shapes import changed_shape
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> Described:
        return await brain.triggers.resume(name)

    found = with_brain(work)
    if as_json:
        output.print_json(changed_shape(found))
    else:
        say_changed("active", found)
