"""`brain edit NAME`: change a schedule from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.cli.schedules import say_changed
from brain_core.cli.trigger_options import (
    Brought,
    FieldOption,
    TriggerCommand,
    brought_and_given,
    chosen,
    made,
    values_for,
)
from brain_core.cli.values import read_catch_up, read_inputs, read_overlap
from brain_core.errors import UsageError

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.triggers import Edited
    from brain_core.trigger import Trigger

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=TriggerCommand)
def edit(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the trigger.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="Change an input of its runs; may be repeated."),
    ] = None,
    catch_up: Annotated[
        str | None,
        typer.Option("--catch-up", metavar="POLICY", help="What becomes of missed instants: latest, none or all:N."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="POLICY", help="While an earlier run of it goes on: skip or allow."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the schedule as JSON.")] = False,
) -> None:
    """Change a schedule from now on. What is not given stays, and nothing that is past is fired."""
    from brain_core.app.shapes import changed_shape
    from brain_core.cli.session import with_brain

    brought, options = brought_and_given(context)
    policy, most = (None, None) if catch_up is None else read_catch_up(catch_up)
    overlapping = None if overlap is None else read_overlap(overlap)
    given = read_inputs(inputs or [])
    if not (options or given or policy or overlapping):
        every = [*brought.options, "--catch-up", "--overlap", "--input"]
        raise UsageError(f"there is nothing to change; give at least one of {', '.join(every)}")
    chosen(options)

    async def work(brain: Brain) -> Edited:
        current = await brain.triggers.get(name)
        trigger = _changed(brought, options, current.row) if options else None
        return await brain.triggers.edit(
            current.row, trigger=trigger, inputs=given, catch_up=policy, catch_up_max=most, overlap=overlapping
        )

    found = with_brain(work, loaded=(brought.settings, brought.plugins))
    if as_json:
        output.print_json({**changed_shape(found), "lines": list(found.lines)})
        return
    say_changed("edited", found)
    if found.row.overlap != found.before.overlap:
        output.emit(f"overlap     {found.row.overlap} (was {found.before.overlap})")
    for line in found.lines:
        output.emit(output.one_line(line))


def _changed(brought: Brought, options: dict[FieldOption, Any], row: Any) -> Trigger:
    """Return the trigger of a row with those fields replaced that options give; another type starts from nothing."""
    choice = chosen(options) or row.type
    kept = row.config if choice == row.type else {}
    values = {**kept, **values_for(options, choice)}
    return made(brought.types[choice], values, brought.options)
