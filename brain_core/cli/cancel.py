"""`brain cancel RUN`: end a run, wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.control import Cancelled

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of a run or its beginning.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """End a run as cancelled: at once when it waits, and when it runs as soon as its process has heard of it.

    Exit code 1 when the run has succeeded or failed already.
    """
    from brain_core.app.shapes import cancelled_shape
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> Cancelled:
        return await brain.control.cancel(run)

    done = with_brain(work)
    if as_json:
        output.print_json(cancelled_shape(done))
    elif done.answer == "requested":
        output.emit(f"asked to end  run {done.run.short_id}")
        output.note(f"see: brain show {done.run.short_id}")
    elif done.answer == "cancelled":
        output.emit(f"{output.status('cancelled')}  run {done.run.short_id}")
    else:
        output.note(f"run {done.run.short_id} is over: {done.run.status}")
    raise typer.Exit(1 if done.answer == "over" else 0)
