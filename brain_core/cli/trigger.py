"""`brain trigger NAME`: start a run of what is registered, now."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.values import read_inputs

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.run import Run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def trigger(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of this run alone; may be repeated."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Tell how the run goes and wait until it has ended, as `brain run` does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Queue a run of what is registered, now; a daemon runs it. Prints the id of the run.

    Its schedule is not changed, also a paused one can be run so, and an earlier run that goes on does not matter. With
    --wait the exit code is that of `brain run`.
    """
    from brain_core.app.shapes import run_shape
    from brain_core.cli.run import EXIT_CODES, say_ended
    from brain_core.cli.session import with_brain

    given = read_inputs(inputs or [])
    queued: list[Run] = []

    async def work(brain: Brain) -> Run:
        timed = (await brain.triggers.get(name)).timed
        run = await brain.triggers.fire_now(name, given)
        queued.append(run)
        if not timed:
            output.note("no delivery: {trigger.body} and its like have no value in this run")
        if not wait:
            if not await brain.control.has_daemon(fires=False):
                output.note(f"run {run.short_id} waits: no daemon runs; start one with `brain daemon`")
            return run
        from brain_core.cli.progress import Progress

        return await brain.triggers.follow(run.id, watch=Progress(verbose=False), note=output.note)

    try:
        # The workflow file is loaded to check the inputs, and what it prints is talk.
        with contextlib.redirect_stdout(sys.stderr):
            run = with_brain(work)
    except KeyboardInterrupt:
        if queued:
            output.note(f"brain: run {queued[0].short_id} goes on; end it with: brain cancel {queued[0].short_id}")
        raise
    if as_json:
        output.print_json(run_shape(run, steps=wait))
    elif wait:
        say_ended(run)
    else:
        output.emit(f"queued  {output.one_line(run.workflow)}  run {run.short_id}")
    if wait:
        raise typer.Exit(EXIT_CODES.get(run.status, 1))
