"""`brain pause NAME`: keep a schedule from starting runs, until a time or until it is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.schedules import instant

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_types import Described

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def pause(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    until: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Resume by itself at 2026-05-01T08:00, or 30m, 2h, 3d from now."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedule as JSON.")] = False,
) -> None:
    """Keep a schedule from starting runs; what comes due meanwhile is skipped and never made up for.

    A schedule that is paused already stays so. `--until` changes when it resumes.
    """
    from brain_core.app.shapes import trigger_shape
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_until

    end = None if until is None else read_until(until)

    async def work(brain: Brain) -> Described:
        moment = None if end is None else end(await brain.clock())
        return await brain.triggers.pause(name, resume_at=moment)

    found = with_brain(work)
    if as_json:
        output.print_json(trigger_shape(found))
        return
    row = found.row
    end_said = f"until {instant(row.resume_at, found.zone)}" if row.resume_at else f"resume it: brain resume {row.name}"
    output.emit(
        f"{output.style('paused', 'yellow')}  {row.name} since {instant(row.paused_at, found.zone)}; {end_said}"
    )
