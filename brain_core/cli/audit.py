"""`brain audit`: recompute what was due and hold the ledger against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output
from brain_core.cli.schedules import instant

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_reports import Audit

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def audit(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The name of a schedule; all of them unless given.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only instants since: 2026-05-01T08:00, or 30m, 2h, 3d ago.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the audit as a JSON list.")] = False,
) -> None:
    """Recompute every instant that was due and look for its outcome; exit code 1 when one is missing or wrong."""
    from brain_core.cli.session import with_brain
    from brain_core.cli.values import read_since

    start = None if since is None else read_since(since)

    async def work(brain: Brain) -> list[Audit]:
        moment = None if start is None else start(await brain.clock())
        return await brain.triggers.audit(name, since=moment)

    audits = with_brain(work)
    for one in audits:
        if one.unregistered is not None:
            output.note(f"'{one.name}' is unregistered since {instant(one.unregistered, one.zone)}")
    if as_json:
        output.print_json([_shape(one) for one in audits])
    elif audits:
        rows = [
            (one.name, finding.problem, instant(finding.at, one.zone), finding.text)
            for one in audits
            for finding in one.findings
        ]
        if rows:
            output.table(rows, ("NAME", "PROBLEM", "AT", "WHAT"))
        for one in audits:
            if one.impossible is not None:
                output.emit(f"{output.style('unknown', 'red')}  {one.name}: {output.one_line(one.impossible)}")
            if one.left_out is not None:
                output.note(f"left out: {one.name}: {output.one_line(one.left_out)}")
        counted = [one for one in audits if one.left_out is None]
        if counted:
            good = sum(one.holds for one in counted)
            output.note(f"{good} of {len(counted)} schedule{'s' * (len(counted) != 1)} without a hole")
    else:
        output.note("nothing is registered")
    if not all(one.holds for one in audits):
        raise typer.Exit(1)


def _shape(one: Audit) -> dict[str, object]:
    return {
        "name": one.name,
        "since": one.since,
        "until": one.until,
        "holds": one.holds,
        "impossible": one.impossible,
        "left_out": one.left_out,
        "findings": [{"problem": each.problem, "at": each.at, "text": each.text} for each in one.findings],
    }
