"""`brain list`: what is registered, how its last run ended, and when it is due next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.schedules import instant

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.triggers import Listed
    from brain_core.store.triggers import LastRun

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def list_schedules(
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedules as a JSON list.")] = False,
) -> None:
    """List what is registered: its last run and how it ended, when it is due next, and what is overdue."""
    from brain_core.app.shapes import listed_shape
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> list[Listed]:
        found = await brain.triggers.listing()
        if any(one.listing.overdue for one in found) and not await brain.control.has_daemon():
            output.note("no daemon runs; start one: brain daemon")
        return found

    found = with_brain(work)
    if as_json:
        output.print_json([listed_shape(one) for one in found])
    elif found:
        output.table([_cells(one) for one in found], ("NAME", "SCHEDULE", "STATE", "LAST RUN", "OUTCOME", "NEXT"))
    else:
        output.note("nothing is registered; start with: brain register FILE")


def _cells(one: Listed) -> tuple[str, ...]:
    last = one.listing.last_run
    return (
        one.row.name,
        output.shorten(one.words, 60),
        "overdue" if one.listing.overdue else one.row.state,
        _last(last),
        "-" if last is None else last.status,
        _next(one),
    )


def _last(last: LastRun | None) -> str:
    if last is None:
        return "-"
    waits = last.status == "queued" and last.started_at is None
    return f"queued {output.moment(last.created_at)}" if waits else output.moment(last.started_at)


def _next(one: Listed) -> str:
    row = one.row
    if row.state == "paused":
        until = "" if row.resume_at is None else f" until {instant(row.resume_at, one.zone)}"
        return f"paused since {instant(row.paused_at, one.zone)}{until}"
    return instant(row.next_due_at, one.zone)
