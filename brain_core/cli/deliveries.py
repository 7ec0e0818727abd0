"""`brain deliveries`: run-finished hooks that are open or failed; `retry` delivers them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.store.deliveries import Delivery

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def deliveries(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the deliveries as a JSON list.")] = False,
) -> None:
    """List the deliveries of finished runs (to plugins and to `on_finished`) that are open or failed."""
    if context.invoked_subcommand is not None:
        return
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> list[dict[str, Any]]:
        return [_shape(*found) for found in await brain.deliveries()]

    rows = with_brain(work)
    if as_json:
        output.print_json(rows)
    elif rows:
        output.table([_cells(row) for row in rows], ("RUN", "RECEIVER", "STATUS", "WHY"))
        output.note("deliver again: brain deliveries retry RUN")
    else:
        output.note("no open or failed deliveries")


@app.command()
def retry(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of a run or its beginning.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Deliver the open and failed deliveries of a run again; exit code 1 if one fails."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> tuple[int, list[str]]:
        return await brain.retry_deliveries(run)

    tried, problems = with_brain(work)
    if as_json:
        output.print_json({"tried": tried, "problems": problems})
    else:
        for problem in problems:
            output.emit(f"{output.style('failed', 'red')}  {output.one_line(problem)}")
        if not problems:
            output.emit("delivered" if tried else "nothing to deliver")
    if problems:
        raise typer.Exit(1)


def _shape(row: Delivery, waits_for: str | None) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "workflow": row.workflow,
        "receiver": row.receiver,
        "status": row.status,
        "error": row.error,
        "waits_for": waits_for,
        "attempts": row.attempts,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    why = output.shorten((row["error"] or row["waits_for"] or "").partition("\n")[0], 200)
    return str(row["run_id"])[:8], row["receiver"], row["status"], why
