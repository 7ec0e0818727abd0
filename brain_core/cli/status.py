"""`brain status`: the database, the workers and the counts; `--check` checks the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.store.runs import Violation

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def status(
    check: Annotated[
        bool,
        typer.Option("--check", help="Check every row of the history against its rules; exit code 1 if one is broken."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show the database, the workers and the counts; --check checks the history."""
    from brain_core.cli.plugin_commands import any_has
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> tuple[dict[str, Any], list[Violation] | None]:
        violations = await brain.check() if check else None
        found = await brain.status()
        if any_has("brain_migrations"):
            found["tables"] = {name: one.state for name, one in (await brain.tables.states()).items()}
        return found, violations

    found, violations = with_brain(work)
    if as_json:
        if violations is not None:
            found["violations"] = [{"rule": one.rule, "run": str(one.run_id), "text": one.text} for one in violations]
        output.print_json(found)
    else:
        for name, value in found.items():
            output.emit(f"{name:<12}{_words(value).removeprefix(f'{name} ')}")
        for one in violations or []:
            output.emit(f"{output.style('broken', 'red')}  {one.rule}  run {one.run_id}  {output.one_line(one.text)}")
        if violations is not None and not violations:
            output.emit("history     every rule holds")
    if violations:
        raise typer.Exit(1)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value) or "none"
    return output.one_line(output.as_text(value))
