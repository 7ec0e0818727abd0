"""`brain watch`: a check from outside that schedules do what they should, with or without a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_reports import Watched

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def watch(
    workflow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only schedules of this workflow; may be repeated. One must be registered."),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", metavar="AGE", help="How old the last success may be: 90m, 26h, 7d."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedules as a JSON list.")] = False,
) -> None:
    """Exit with 1 when a schedule is overdue, a run is parked or the last success too old. Reads only; needs no daemon.

    For system cron or a monitoring box. Paused schedules are not overdue. Triggers without instants, such as webhooks,
    may be quiet: --max-age counts for them only where --workflow names theirs.
    """
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_age

    oldest = None if max_age is None else read_age(max_age)

    async def work(brain: Brain) -> list[Watched]:
        return await brain.triggers.watched(workflow or [], max_age=oldest)

    # The schema is left as it is: a check changes nothing.
    found = with_brain(work, ready=False)
    if as_json:
        output.print_json([_shape(one) for one in found])
    else:
        bad = [one for one in found if one.problem is not None]
        for one in bad:
            output.emit(f"{output.style('late', 'red')}  {one.name} ({output.one_line(one.workflow)}): {one.problem}")
        output.note(f"{len(found) - len(bad)} of {len(found)} schedule{'s' * (len(found) != 1)} as they should be")
    if any(one.problem is not None for one in found):
        raise typer.Exit(1)


def _shape(one: Watched) -> dict[str, object]:
    return {
        "name": one.name,
        "workflow": one.workflow,
        "overdue": one.overdue,
        "next_due_at": one.next_due_at,
        "last_success_at": one.last_success_at,
        "problem": one.problem,
    }
