"""`brain run FILE`: run a workflow file and record the run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.cli.values import read_inputs

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.engine.runner import Plan
    from brain_core.run import Run

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXIT_CODES = {"success": 0, "cancelled": 130}
"""What a finished run makes of the exit code; any other status is 1."""

LAST_WORDS = 1.0
"""Seconds that a reader who has stopped reading keeps a command that has failed or was interrupted."""


@app.command()
def run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow file.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the workflow; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run; nothing is run, no database is touched.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the steps say while they run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the finished run (or the plan) as JSON.")] = False,
) -> None:
    """Run a workflow file and record the run.

    Steps are told on stderr as they start and end; stdout gets one line with the status and the id of the run. Exit
    code 0: it succeeded, 1: it failed, 130: it was cancelled by Ctrl-C.
    """
    given = read_inputs(inputs or [])
    if dry_run:
        _show_plan(file, given, as_json)
        return
    finished = _run(file, given, verbose)
    if as_json:
        from brain_core.app.shapes import run_shape

        output.print_json(run_shape(finished, steps=True))
    else:
        say_ended(finished)
    raise typer.Exit(EXIT_CODES.get(finished.status, 1))


def _run(file: str, given: dict[str, str], verbose: bool) -> Run:
    from brain_core.cli.progress import Progress
    from brain_core.cli.session import with_brain

    progress = Progress(verbose=verbose)

    async def work(brain: Brain) -> Run:
        return await brain.run_file(file, given, watch=progress)

    try:
        # What workflow code prints is talk; standard output is for data alone.
        with contextlib.redirect_stdout(output.stderr()):
            finished = with_brain(work)
    except BaseException:
        progress.close(LAST_WORDS)
        raise
    # Everything is recorded and let go of: from here on a reader may take its time.
    progress.close()
    return finished


def say_ended(run: Run) -> None:
    """Say in one line how a run has ended."""
    took = output.duration(run.seconds)
    output.emit(f"{output.status(run.status)}  {output.one_line(run.workflow)}  run {run.short_id}  {took}")
    if run.status != "success":
        output.note(f"more: brain show {run.short_id}")


def _show_plan(file: str, given: dict[str, str], as_json: bool) -> None:
    import asyncio

    from brain_core.app import load_plan
    from brain_core.cli.session import load

    settings, plugins = load()
    with contextlib.redirect_stdout(output.stderr()):
        plan, inputs = asyncio.run(load_plan(settings.settings, plugins, file, given))
    if as_json:
        output.print_json(plan_shape(plan, inputs))
        return
    output.emit(f"workflow  {plan.workflow}")
    output.emit(f"file      {output.one_line(plan.file)}")
    if plan.description:
        output.emit(f"about     {output.one_line(plan.description)}")
    for name, value in inputs.items():
        output.emit(f"input     {name} = {output.shorten(output.one_line(output.as_text(value)), 200)}")
    output.table(
        [(str(number), step.name, step.type) for number, step in enumerate(plan.steps, 1)], ("#", "STEP", "TYPE")
    )
    output.note("dry run: nothing has run, nothing is recorded")


def plan_shape(plan: Plan, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a plan as `--dry-run --json` prints it."""
    return {
        "workflow": plan.workflow,
        "file": plan.file,
        "description": plan.description,
        "version": plan.digest,
        "inputs": inputs,
        "planned": [{"name": step.name, "type": step.type} for step in plan.steps],
        "reads_previous": plan.reads_previous,
        "has_on_finished": plan.has_on_finished,
    }
