"""`brain llm usage` and `brain llm check`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from brain_llm.settings import LLMSettings


class By(StrEnum):
    """What usage is summed by."""

    workflow = "workflow"
    model = "model"
    day = "day"


def add_to(app: typer.Typer, settings: LLMSettings) -> None:
    """Add the command group `llm` to an app."""
    group = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        help="See what models are asked, and whether they answer.",
    )

    @group.command("usage")
    def usage(
        by: Annotated[By, typer.Option("--by", help="What is summed up.")] = By.model,
        since: Annotated[
            str | None, typer.Option(metavar="WHEN", help="Only calls since: 2026-05-01T08:00, or 30m, 2h, 3d ago.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print as a JSON list.")] = False,
    ) -> None:
        """Sum up the calls of models: how many, their tokens, what they cost (days are those of UTC)."""
        _usage(by.value, since, as_json)

    @group.command("check")
    def check(
        timeout: Annotated[
            float, typer.Option(metavar="SECONDS", min=0.1, help="How long each model may take to answer.")
        ] = 60.0,
        as_json: Annotated[bool, typer.Option("--json", help="Print as a JSON list.")] = False,
    ) -> None:
        """Ask every configured model for a word; exit code 1 when one does not answer. These calls have no row."""
        _check(settings or LLMSettings(), timeout, as_json)

    app.add_typer(group, name="llm")


def _usage(by: str, since: str | None, as_json: bool) -> None:
    from brain_core import commands
    from brain_llm.usage import HEADERS, row_of

    start = None if since is None else commands.read_since(since)

    async def work(query: Any, now: datetime) -> Any:
        return await query("llm_usage", {"by": by, "since": None if start is None else start(now).isoformat()})

    groups: list[dict[str, Any]] = commands.run_with_query_at(work)
    if as_json:
        commands.print_json([{by: group.pop("group"), **group} for group in groups])
    elif groups:
        commands.table([row_of(group) for group in groups], (by.upper(), *HEADERS))
    else:
        commands.note("no calls" if since is None else f"no calls since {since}")


def _check(settings: LLMSettings, timeout: float, as_json: bool) -> None:
    import asyncio

    from brain_core import commands
    from brain_llm.checking import check_all

    found = asyncio.run(check_all(settings, seconds=timeout))
    if as_json:
        commands.print_json([{**one._asdict(), "ok": one.problem is None} for one in found])
    else:
        for one in found:
            where = f"{one.model} at {one.server}" if one.server and one.model else one.model or ""
            if one.problem is None:
                took = "" if one.seconds is None else f" ({one.seconds:.1f} s)"
                commands.emit(f"{commands.style('ok', 'green')}    {one.name}  {commands.one_line(where)}{took}")
            else:
                commands.emit(f"{commands.style('fails', 'red')} {one.name}  {commands.one_line(one.problem)}")
    if any(one.problem is not None for one in found):
        raise typer.Exit(1)
