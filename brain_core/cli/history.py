"""`brain history`: list runs, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.errors import UsageError, nearest

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.run import Run

app = typer.Typer(add_completion=False, rich_markup_mode=None)

STATUSES = ("queued", "running", "parked", "success", "failed", "cancelled")


def _complete_status(incomplete: str) -> list[str]:
    return [word for word in STATUSES if word.startswith(incomplete)]


@app.command()
def history(
    workflow: Annotated[str | None, typer.Option(metavar="NAME", help="Only runs of this workflow.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help=f"Only runs with this status: {', '.join(STATUSES)}.",
            autocompletion=_complete_status,
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only runs created since: 2026-05-01T08:00, or 30m, 2h, 3d ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many runs.")] = 20,
    before: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only runs older than this one (id prefix).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as a JSON list.")] = False,
) -> None:
    """List runs, the newest first."""
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_since

    if status is not None and status not in STATUSES:
        raise UsageError(f"no run has the status {status!r}{nearest(status, STATUSES)}; one of {', '.join(STATUSES)}")
    start = None if since is None else read_since(since)

    async def work(brain: Brain) -> list[Run]:
        moment = None if start is None else start(await brain.clock())
        return await brain.history(workflow=workflow, status=status, since=moment, limit=limit, before=before)

    runs = with_brain(work)
    if as_json:
        from brain_core.app.shapes import run_shape

        output.print_json([run_shape(run, steps=False) for run in runs])
    elif runs:
        _print(runs, limit)
    else:
        output.note("no runs")


def _print(runs: list[Run], limit: int) -> None:
    output.table(
        [
            (
                run.short_id,
                run.workflow,
                run.status,
                output.moment(run.created_at),
                output.duration(run.seconds),
                output.shorten((run.error or "").partition("\n")[0], 80),
            )
            for run in runs
        ],
        ("RUN", "WORKFLOW", "STATUS", "CREATED", "TIME", "ERROR"),
    )
    if len(runs) == limit:
        output.note(f"older ones: --before {runs[-1].short_id}")
