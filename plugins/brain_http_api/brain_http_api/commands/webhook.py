"""`brain webhook list` and `brain webhook rotate`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_http_api.settings import HttpApiSettings

if TYPE_CHECKING:
    from brain_core import Brain

KEEP = "24h"
_LONGEST = timedelta(days=366)
_HEADERS = ("NAME", "URL", "SCHEME", "STATE", "SECRET", "OLD SECRET UNTIL")


def add_to(app: typer.Typer, settings: HttpApiSettings) -> None:
    """Add the command group `webhook` to an app."""
    group = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        help="List webhooks and change their secrets.",
    )

    @group.command("list")
    def list_webhooks(
        as_json: Annotated[bool, typer.Option("--json", help="Print as a JSON list.")] = False,
    ) -> None:
        """List webhooks with their URLs, and which secret each has: 1 is the first one; secrets are not shown."""
        _list(settings, as_json)

    @group.command("rotate")
    def rotate(
        name: Annotated[str, typer.Argument(metavar="NAME", help="What the webhook is called; see: brain list")],
        keep: Annotated[
            str | None,
            typer.Option(
                metavar="WHEN", help=f"Until when the old secret is valid, too: 1h, 7d, 2027-01-31 ({KEEP} unless set)."
            ),
        ] = None,
        now: Annotated[bool, typer.Option("--now", help="End every secret before the new one at once.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the secret and what is valid as JSON.")] = False,
    ) -> None:
        """Give a webhook a new secret and print it, this once; the old one stays valid for a while.

        Two secrets are valid at most: while the one before is still valid, only --now makes another.
        """
        _rotate(settings, name, keep, now, as_json)

    app.add_typer(group, name="webhook")


def _list(settings: HttpApiSettings, as_json: bool) -> None:
    from brain_core import commands

    async def work(brain: Brain) -> Any:
        rows = [one.row for one in await brain.triggers.listing() if one.row.type == "webhook"]
        secrets = await _secrets(brain, [str(row.id) for row in rows])
        # Asked for only where a secret was derived: the question may make the key.
        return [_shape(settings, row, secrets[str(row.id)]) for row in rows], _master_key(brain) if rows else ""

    found: list[dict[str, Any]]
    found, key = commands.run_with_brain(work)
    if as_json:
        commands.print_json(found)
    elif found:
        commands.table([_line(one) for one in found], _HEADERS)
        commands.note(
            f"the master key here is {key}; a server with another one refuses what is signed with these secrets"
        )
    else:
        commands.note("no webhooks; make one: brain register FILE --webhook")


def _rotate(settings: HttpApiSettings, name: str, keep: str | None, at_once: bool, as_json: bool) -> None:
    from brain_core import commands
    from brain_http_api.webhook.secrets import purpose_of, secret_of

    if at_once and keep is not None:
        raise commands.UsageError("--keep and --now exclude each other; give one of them")
    until = None if at_once else commands.read_until(KEEP if keep is None else keep, "--keep")

    async def work(brain: Brain) -> Any:
        row, secret = await _known(brain, name)
        end = None
        if until is not None:
            now = await brain.clock()
            end = until(now)
            if end - now > _LONGEST:
                raise commands.UsageError(f"--keep {keep!r} lies more than a year ahead; give a time within one")
            if secret["old_until"] is not None:
                raise commands.UsageError(
                    f"webhook '{name}' has two secrets already, the old one until {_moment(secret['old_until'])}; "
                    "wait for that, or end both at once with --now"
                )
        # Before anything is written: a new secret that nobody can be told would be worse than the old one.
        generation = secret["generation"] + 1
        scheme = row.config.get("scheme", "standard")
        key = brain.derive_key(purpose_of(row.id, scheme, generation))
        values = {
            "trigger": str(row.id),
            "generation": generation,
            "old_until": None if end is None else end.isoformat(),
        }
        changed = await brain.tables.query()("http_api_webhook_rotate", values)
        if not changed:
            raise commands.UsageError(
                f"the secret of webhook '{name}' was changed at this moment; see: brain webhook list"
            )
        return _shape(settings, row, changed[0]), secret_of(scheme, key)

    shape, new = commands.run_with_brain(work)
    if as_json:
        commands.print_json({"secret": new, **shape})
    else:
        commands.emit(new)
    old = "the old one is refused from now on"
    if shape["old_until"] is not None:
        old = f"the old one is valid until {_moment(shape['old_until'])}, too"
    commands.note(f"the new secret of {shape['url']}, shown this once; {old}")


def _master_key(brain: Brain) -> str:
    from brain_core import BrainError
    from brain_http_api.webhook.secrets import master_key_of

    try:
        return master_key_of(brain)
    except BrainError as error:
        # A list is the place to look when something is wrong.
        return f"none that can be used ({error})"


async def _known(brain: Brain, name: str) -> tuple[Any, dict[str, Any]]:
    """Return the row of a webhook and its secrets; a line that says what else the name is, or what is near."""
    from brain_core import BrainError

    row = (await brain.triggers.get(name)).row
    if row.type != "webhook":
        raise BrainError(f"'{name}' is a trigger of the type {row.type}, which has no secret; see: brain webhook list")
    secrets = await _secrets(brain, [str(row.id)])
    return row, secrets[str(row.id)]


async def _secrets(brain: Brain, ids: list[str]) -> dict[str, dict[str, Any]]:
    found = await brain.tables.query()("http_api_webhook_secrets", {"triggers": ids})
    return {one["trigger"]: one for one in found}


def _shape(settings: HttpApiSettings, row: Any, secret: dict[str, Any]) -> dict[str, Any]:
    from brain_http_api.webhook.trigger import url_of

    return {
        "name": row.name,
        "url": url_of(settings, row.name),
        "scheme": row.config.get("scheme", "standard"),
        "state": row.state,
        "secret_generation": secret["generation"],
        "rotated_at": secret["rotated_at"],
        "old_until": secret["old_until"],
    }


def _line(one: dict[str, Any]) -> tuple[str, ...]:
    old = "-" if one["old_until"] is None else _moment(one["old_until"])
    return one["name"], one["url"], one["scheme"], one["state"], str(one["secret_generation"]), old


def _moment(text: str) -> str:
    from brain_core import commands

    return commands.moment(datetime.fromisoformat(text))
