"""`brain register FILE`: make a workflow file run by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.cli.schedules import say_changed
from brain_core.cli.trigger_options import TriggerCommand, brought_and_given, chosen, made, values_for
from brain_core.cli.values import read_catch_up, read_inputs, read_overlap
from brain_core.errors import UsageError

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.triggers import Registered
    from brain_core.cli.trigger_options import Brought
    from brain_core.engine.runner import Plan
    from brain_core.trigger import Trigger

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=TriggerCommand)
def register(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow file.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What it is called; the workflow's name unless given.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of its runs; may be repeated."),
    ] = None,
    catch_up: Annotated[
        str | None,
        typer.Option(
            "--catch-up",
            metavar="POLICY",
            help="What becomes of missed instants: latest, none or all:N.",
        ),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="POLICY", help="While an earlier run of it goes on: skip or allow."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was registered as JSON.")] = False,
) -> None:
    """Make a workflow file run by itself, whenever its trigger says.

    Everything is checked before anything is written. Without an option that chooses a trigger the `schedule` of the
    workflow itself is used. Runs are started by `brain daemon`.
    """
    from brain_core.app.trigger_types import check_policies, checked_name

    policy, most = (None, None) if catch_up is None else read_catch_up(catch_up)
    overlapping = None if overlap is None else read_overlap(overlap)
    given = read_inputs(inputs or [])
    if name is not None:
        checked_name(name)
    brought, _ = brought_and_given(context)
    trigger, plan, accepted = _checked(context, file, given)
    check_policies(type(trigger), policy, overlapping)

    async def work(brain: Brain) -> Registered:
        done = await brain.triggers.register(
            plan, trigger, name=name, inputs=accepted, catch_up=policy, catch_up_max=most, overlap=overlapping
        )
        if not await brain.control.has_daemon(fires=trigger.is_timed()):
            output.note("no daemon runs; start one: brain daemon")
        return done

    from brain_core.app.shapes import changed_shape
    from brain_core.cli.session import with_brain

    registered = with_brain(work, loaded=(brought.settings, brought.plugins))
    if as_json:
        output.print_json({**changed_shape(registered.trigger), "lines": list(registered.lines)})
        return
    say_changed("registered", registered.trigger)
    for line in registered.lines:
        output.emit(output.one_line(line))


def _checked(context: typer.Context, file: str, given: dict[str, str]) -> tuple[Trigger, Plan, dict[str, Any]]:
    """Check the trigger, the file and the inputs, in this order and without a database."""
    import asyncio
    import contextlib
    import sys

    from brain_core.app import load_plan
    from brain_core.app.trigger_types import ready_to_register

    brought, options = brought_and_given(context)
    choice = chosen(options)
    trigger = None
    if choice is not None:
        trigger = made(brought.types[choice], values_for(options, choice), brought.options)
        ready_to_register(brought.plugins, trigger)
    # What a file prints at import is talk; standard output is for data alone.
    with contextlib.redirect_stdout(sys.stderr):
        plan, accepted = asyncio.run(load_plan(brought.settings.settings, brought.plugins, file, given))
    if trigger is None:
        trigger = _own_schedule(brought, plan, options)
        ready_to_register(brought.plugins, trigger)
    return trigger, plan, {name: accepted[name] for name in given}


def _own_schedule(brought: Brought, plan: Plan, options: Any) -> Trigger:
    """Return the schedule of the workflow itself, with those of its fields replaced that options give."""
    from brain_core.app.trigger_types import scheduled_by

    own = scheduled_by(brought.plugins, plan)
    if own is not None:
        values = {**own.model_dump(mode="json"), **values_for(options, type(own).type_name)}
        return made(type(own), values, brought.options)
    if ways := brought.choosing():
        said = f"give it one of {', '.join(ways)}" if len(ways) > 1 else f"give it {ways[0]}"
    else:
        inactive = ", ".join(f"{name} is {why}" for name, why in brought.inactive().items())
        said = f"no active plugin brings a trigger type{f' ({inactive})' if inactive else ''}"
    raise UsageError(f"{plan.file} has no schedule of its own; {said}, or write schedule=… into the file")
