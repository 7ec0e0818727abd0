"""`brain resume-run RUN`: let a parked run go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.run import Run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="resume-run")
def resume_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of a parked run or its beginning.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Queue a parked run again; it goes on at the step that was interrupted. `brain cancel RUN` ends it instead."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> Run:
        return await brain.control.resume_run(run)

    found = with_brain(work)
    if as_json:
        from brain_core.app.shapes import run_shape

        output.print_json(run_shape(found, steps=False))
    else:
        output.emit(f"queued  run {found.short_id}")
