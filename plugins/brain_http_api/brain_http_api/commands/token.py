"""`brain token create`, `brain token list` and `brain token revoke`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from brain_http_api.settings import HttpApiSettings
from brain_http_api.tokens import NAME_OF_ENVIRONMENT, digest_of, id_of, new_token

MAX_NAME = 80
MAX_PATTERNS = 20
MAX_LISTED = 1_000
_LONGEST = timedelta(days=36_525)
_PATTERN = re.compile(r"[A-Za-z0-9_.*?-]{1,200}", re.ASCII)
_HEADERS = ("NAME", "SCOPE", "WORKFLOWS", "CREATED", "EXPIRES", "LAST USED", "STATE")


class Right(StrEnum):
    """What a token allows; each holds those before it."""

    read = "read"
    run = "run"
    admin = "admin"


def add_to(app: typer.Typer, settings: HttpApiSettings) -> None:
    """Add the command group `token` to an app."""
    group = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Say who may use the HTTP API: make, list and revoke tokens.",
    )

    @group.command("create")
    def create(
        name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, such as ci; runs record it.")],
        scope: Annotated[
            Right, typer.Option("--scope", help="read: see everything. run: start and cancel, too. admin: everything.")
        ] = Right.read,
        workflow: Annotated[
            list[str] | None,
            typer.Option(
                "--workflow",
                metavar="PATTERN",
                help="Only workflows of such names (* any text, ? one character); may be repeated.",
            ),
        ] = None,
        expires: Annotated[
            str | None,
            typer.Option(
                metavar="WHEN",
                help="Until when it is valid: 12h, 30d, 2027-01-31, 2027-01-31T08:00 (for ever unless set).",
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print the token and what it allows as JSON.")] = False,
    ) -> None:
        """Make a token and print it, this once: only its hash is stored."""
        _create(name, scope.value, workflow or [], expires, as_json)

    @group.command("list")
    def list_tokens(
        as_json: Annotated[bool, typer.Option("--json", help="Print as a JSON list.")] = False,
    ) -> None:
        """List tokens, those that are revoked last; the tokens themselves are stored nowhere."""
        _list(as_json)

    @group.command("revoke")
    def revoke(name: Annotated[str, typer.Argument(metavar="NAME", help="The name that the token was given.")]) -> None:
        """End a token: from now on it is refused."""
        _revoke(name)

    app.add_typer(group, name="token")


def _create(name: str, scope: str, patterns: list[str], expires: str | None, as_json: bool) -> None:
    from brain_core import BrainError, commands

    _check(name, patterns)
    until = None if expires is None else commands.read_until(expires, "--expires")
    token = new_token()

    async def work(query: Any, now: datetime) -> Any:
        end = None if until is None else until(now)
        if end is not None and end - now > _LONGEST:
            raise commands.UsageError(
                f"--expires {expires!r} lies more than 100 years ahead; leave it out for a token that is always valid"
            )
        await query("http_api_token_make_room", {"name": name})
        return await query(
            "http_api_token_create",
            {
                "id": id_of(token),
                "digest": digest_of(token),
                "name": name,
                "scope": scope,
                "patterns": patterns,
                "expires_at": None if end is None else end.isoformat(),
            },
        )

    found: list[dict[str, Any]] = commands.run_with_query_at(work)
    if not found:
        raise BrainError(
            f"there is a token '{name}' already; choose another name, or end that one: brain token revoke {_word(name)}"
        )
    if as_json:
        commands.print_json({"token": token, **found[0]})
    else:
        commands.emit(token)
    end = "always valid" if found[0]["expires_at"] is None else f"valid until {_moment(found[0]['expires_at'])}"
    seen = f"workflows {', '.join(patterns)}" if patterns else "all workflows"
    commands.note(f"token '{name}': {scope}, {seen}, {end}; it is shown this once, keep it")


def _list(as_json: bool) -> None:
    from brain_core import commands

    async def work(query: Any) -> Any:
        return await query("http_api_tokens", {})

    found: list[dict[str, Any]] = commands.run_with_query(work)
    if as_json:
        commands.print_json(found)
    elif found:
        commands.table([_row(one) for one in found], _HEADERS)
    else:
        commands.note("no tokens; make one: brain token create NAME --scope read|run|admin")
    if len(found) == MAX_LISTED:
        commands.note(f"these are the first {MAX_LISTED:,}; there may be more that are revoked")


def _revoke(name: str) -> None:
    from brain_core import BrainError, commands

    _refuse_token(name)

    async def work(query: Any) -> Any:
        if ended := await query("http_api_token_revoke", {"name": name}):
            return ended[0], True
        if known := await query("http_api_tokens", {"name": name}):
            return known[0], False
        names = [one["name"] for one in await query("http_api_tokens", {})]
        raise BrainError(f"there is no token '{name[:MAX_NAME]}'{_nearest(name, names)}; see: brain token list")

    token, ended = commands.run_with_query(work)
    expired = token["state"] == "expired"
    if not ended:
        since = _moment(token["expires_at" if expired else "revoked_at"])
        said = f"token '{name}' is {token['state']} already, since {since}"
    elif expired:
        said = f"revoked '{name}', which had expired, {_moment(token['expires_at'])}"
    else:
        said = f"revoked '{name}': it is refused from now on"
    commands.emit(commands.one_line(said))


def _check(name: str, patterns: list[str]) -> None:
    """Refuse what cannot be the name of a token or a pattern of workflows."""
    from brain_core import commands

    _refuse_token(name)
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise commands.UsageError(
            f"{commands.shorten(name, MAX_NAME)!r} cannot be the name of a token: {MAX_NAME} printable characters "
            "at most, no spaces around them"
        )
    if name == NAME_OF_ENVIRONMENT:
        raise commands.UsageError(
            f"'{name}' is what the token of THE_BRAIN_API_TOKEN is called in records; choose another name"
        )
    if len(patterns) > MAX_PATTERNS:
        raise commands.UsageError(f"--workflow is given {len(patterns)} times; {MAX_PATTERNS} patterns are the most")
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise commands.UsageError(
                f"--workflow {commands.shorten(pattern, MAX_NAME)!r} matches no name of a workflow: "
                "ASCII letters, digits, '_', '-' and '.', with * for any text and ? for one character, 200 at most"
            )


def _refuse_token(name: str) -> None:
    """Refuse a token in the place of a name, without repeating it."""
    from brain_core import commands

    if id_of(name.strip()) is not None:
        raise commands.UsageError("that is a token itself; give the name of one, see: brain token list")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["name"],
        one["scope"],
        ", ".join(one["workflows"]) or "all",
        _moment(one["created_at"]),
        "never" if one["expires_at"] is None else _moment(one["expires_at"]),
        "never" if one["last_used_at"] is None else _moment(one["last_used_at"]),
        one["state"],
    )


def _moment(text: str | None) -> str:
    from brain_core import commands

    return commands.moment(None if text is None else datetime.fromisoformat(text))


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    spelled = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), spelled, n=1)
    return f"; did you mean '{spelled[close[0]]}'?" if close else ""


def _word(name: str) -> str:
    import shlex

    return shlex.quote(name)
