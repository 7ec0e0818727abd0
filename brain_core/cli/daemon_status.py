"""`brain daemon-status`: is there a daemon, and how is it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="daemon-status")
def daemon_status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the daemons as a JSON list.")] = False,
) -> None:
    """Show each daemon: host, pid, version, last tick, runs in hand. Exit 1 unless a living one ticked within 30 s."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> list[dict[str, Any]]:
        return await brain.control.daemons()

    found = with_brain(work)
    if as_json:
        output.print_json(found)
    elif found:
        output.table([_cells(one) for one in found], ("HOST", "PID", "VERSION", "TICKED", "RUNS", "STATE"))
    else:
        output.note("no daemon runs; start one: brain daemon")
    raise typer.Exit(0 if any(one["fresh"] for one in found) else 1)


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    state = "gone" if one["gone"] else "alive" if one["fresh"] else "silent"
    runs = f"{one['in_hand']} of {one['concurrency']}"
    return one["host"], str(one["pid"]), one["version"], f"{output.duration(one['tick_age'])} ago", runs, state
