"""`brain fires NAME`: the ledger of a schedule, one outcome for each instant that was due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.schedules import instant

if TYPE_CHECKING:
    from datetime import tzinfo

    from brain_core.app import Brain
    from brain_core.app.trigger_types import Described
    from brain_core.store.fires import LedgerRow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def fires(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only what was due since: 2026-05-01T08:00, or 30m, 2h, 3d ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many lines.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ledger as a JSON list.")] = False,
) -> None:
    """List what became of each instant that was due, the newest first; a line may stand for a stretch of them."""
    from brain_core.app.shapes import fire_shape
    from brain_core.app.trigger_types import no_instants
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_since

    start = None if since is None else read_since(since)

    async def work(brain: Brain) -> tuple[Described, list[LedgerRow]]:
        moment = None if start is None else start(await brain.clock())
        schedule = await brain.triggers.get(name, unregistered=True)
        return schedule, await brain.triggers.fires(name, since=moment, limit=limit)

    schedule, rows = with_brain(work)
    if schedule.row.deleted_at is not None:
        output.note(f"'{name}' is unregistered since {instant(schedule.row.deleted_at, schedule.zone)}")
    if as_json:
        output.print_json([fire_shape(row) for row in rows])
    elif rows:
        cells = [_cells(row, schedule.zone) for row in rows]
        output.table(cells, ("DUE", "UNTIL", "OUTCOME", "RUN", "REASON"))
        if len(rows) == limit:
            output.note(f"there may be more: --limit {limit * 10}")
    elif not schedule.timed:
        runs = f"brain history --workflow {output.one_line(schedule.row.workflow_name)}"
        output.note(f"{no_instants(schedule.row.type)}; its runs: {runs}")
    else:
        output.note("nothing has come due" + ("" if since is None else " since then"))


def _cells(row: LedgerRow, zone: tzinfo | None) -> tuple[str, ...]:
    until = "-" if row.until is None else "goes on" if row.open else instant(row.until, zone)
    run = "-" if row.run_id is None else str(row.run_id)[:8]
    return instant(row.due_at, zone), until, row.outcome, run, output.shorten(row.reason, 80)
