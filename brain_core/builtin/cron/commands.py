"""`brain cron explain`: an expression in words, what surprises about it, and when it comes due next."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from brain_core.builtin.cron import Cron, CronSettings
from brain_core.builtin.cron.zones import zone_of

_SHOWN = 10


def add_to(app: typer.Typer, settings: CronSettings) -> None:
    """Add the command group `cron` to an app; `settings` say which time zone is meant when none is named."""
    group = typer.Typer(
        add_completion=False, no_args_is_help=True, rich_markup_mode=None, help="Explain cron expressions."
    )

    # Without it, a group of one command would be that command.
    @group.callback()
    def root() -> None:
        pass

    @group.command("explain")
    def explain(
        expression: Annotated[
            str, typer.Argument(metavar="EXPRESSION", help="Five fields in quotes, such as '0 9 * * 1-5', or '@daily'.")
        ],
        timezone: Annotated[
            str | None, typer.Option("--timezone", help="The time zone, such as Europe/Berlin.", metavar="ZONE")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    ) -> None:
        """Say what a cron expression means, what surprises about it, and when it comes due next."""
        trigger = Cron(expression, timezone=timezone).with_defaults(settings)
        trigger.check()
        told = _told(trigger, datetime.now(UTC))
        if as_json:
            typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        else:
            _print(told)

    app.add_typer(group, name="cron")


def _told(trigger: Cron, since: datetime) -> dict[str, Any]:
    zone, notes = zone_of(str(trigger.timezone)), trigger.notes()
    due: list[dict[str, str]] = []
    while len(due) < _SHOWN and (at := trigger.next_after(since)) is not None:
        due.append({"local": at.astimezone(zone).isoformat(), "utc": at.isoformat()})
        since = at
    return {
        "cron": trigger.cron,
        "timezone": trigger.timezone,
        "description": trigger.describe(),
        "notes": notes,
        "next": due,
    }


def _print(told: dict[str, Any]) -> None:
    typer.echo(told["description"])
    for note in told["notes"]:
        typer.echo(f"note: {note}")
    typer.echo()
    for one in told["next"]:
        local = datetime.fromisoformat(one["local"])
        offset = local.isoformat()[19:]
        typer.echo(f"{_shown(local)} {offset}  {_shown(datetime.fromisoformat(one['utc']))} UTC")


def _shown(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M:%S}".removesuffix(":00")
