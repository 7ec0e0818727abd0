"""`brain prune`: delete old runs, as the daemon does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.store.retention import Pruned

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def prune(
    days: Annotated[
        float | None,
        typer.Option(min=0, max=100_000, metavar="N", help="Delete what was created more than so many days ago."),
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option(
            "--keep-last", min=0, max=1_000_000_000, metavar="N", help="Of each workflow keep the newest so many."
        ),
    ] = None,
    keep_failed: Annotated[
        float | None,
        typer.Option(
            "--keep-failed", min=0, max=100_000, metavar="N", help="Keep failed runs for so many days after their end."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the runs that would go; nothing is deleted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Delete old runs with their steps and outputs; what is not given comes from the settings `retention`.

    Runs that have not ended stay, and so do the ledger of each schedule and its outcome for every instant. May be
    interrupted at any time.
    """
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> Pruned:
        return await brain.prune(days=days, keep_last=keep_last, keep_failed=keep_failed, dry_run=dry_run)

    pruned = with_brain(work)
    if as_json:
        output.print_json({"runs": pruned.runs, "workers": pruned.workers, "dry_run": dry_run})
    else:
        said = "would delete" if dry_run else "deleted"
        output.emit(f"{said} {pruned.runs:,} run{'s' * (pruned.runs != 1)}")
