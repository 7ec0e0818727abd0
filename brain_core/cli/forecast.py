"""`brain forecast`: what the schedules will do, by the code that the daemon asks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.cli.schedules import instant

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_reports import Outlook
    from brain_core.forecast import Instant

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def forecast(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The name of a schedule; all of them unless given.")
    ] = None,
    until: Annotated[
        str, typer.Option(metavar="WHEN", help="How far to look: 2026-05-01T08:00, or 30m, 2h, 3d from now.")
    ] = "1d",
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="Show at most so many instants.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the forecast as JSON.")] = False,
) -> None:
    """Look ahead: every instant with its offset, changes of the clocks, likely overlaps, and the fullest minutes.

    An overlap is likely where the mean of the last successful runs of the workflow takes longer than the gap.
    """
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_until

    end = read_until(until)

    async def work(brain: Brain) -> Outlook:
        moment = end(await brain.clock())
        return await brain.triggers.forecast(name, until=moment, limit=limit)

    found = with_brain(work)
    if as_json:
        output.print_json(_shape(found))
    else:
        _print(found, limit)


def _print(found: Outlook, limit: int) -> None:
    ahead = found.forecast
    if ahead.instants:
        output.table(
            [(instant(one.at, one.zone), one.name, _marks(one)) for one in ahead.instants], ("DUE", "NAME", "NOTE")
        )
    elif found.seconds or not found.left_out:
        output.note(f"nothing is due until {instant(ahead.until)}")
    total = sum(ahead.counts.values())
    if total > len(ahead.instants):
        output.emit(
            f"and {total - len(ahead.instants):,} more until {instant(ahead.until)} (--limit {limit * 10} shows more)"
        )
    if ahead.cut:
        output.note(f"looked at the first {total:,} instants; ask for one schedule or for a shorter time")
    for one in ahead.shifts:
        output.emit(f"clocks    {one.name}: by {instant(one.at, one.zone)} the clocks have gone {_shift(one.shift)}")
    for name, count in ahead.overlaps.items():
        mean = output.duration(found.seconds.get(name))
        output.emit(f"overlap   {name}: {count:,} of {ahead.counts[name]:,} come while a run of {mean} still goes on")
    for minute, count in ahead.busiest:
        output.emit(f"busy      {count:,} at {instant(minute)}")
    for name, why in found.left_out.items():
        output.note(f"left out: {name}: {output.one_line(why)}")


def _marks(one: Instant) -> str:
    marks = [f"clocks {_shift(one.shift)}"] if one.shift else []
    if one.overlaps:
        marks.append(
            "likely skipped: the run before may still go on" if one.skipped else "likely overlaps the run before"
        )
    return "; ".join(marks) or "-"


def _shift(shift: timedelta) -> str:
    minutes = round(abs(shift.total_seconds()) / 60)
    return f"{'forward' if shift > timedelta(0) else 'back'} by {minutes // 60} h {minutes % 60:02} m"


def _shape(found: Outlook) -> dict[str, Any]:
    ahead = found.forecast
    return {
        "until": ahead.until,
        "cut": ahead.cut,
        "instants": [
            {
                "name": one.name,
                "due_at": one.at.astimezone(one.zone),
                "overlaps": one.overlaps,
                "skipped": one.skipped,
                "clock_shift": one.shift.total_seconds(),
            }
            for one in ahead.instants
        ],
        "schedules": [
            {
                "name": name,
                "instants": count,
                "overlaps": ahead.overlaps.get(name, 0),
                "mean_seconds": found.seconds.get(name),
            }
            for name, count in ahead.counts.items()
        ],
        "busiest": [{"minute": minute, "instants": count} for minute, count in ahead.busiest],
        "left_out": [{"name": name, "reason": why} for name, why in found.left_out.items()],
    }
