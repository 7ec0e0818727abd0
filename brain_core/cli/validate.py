"""`brain validate FILE…`: check workflow files without running them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import typer

from brain_core.cli import output

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="The workflow files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one entry a file.")] = False,
) -> None:
    """Check workflow files without running them: one line each, exit code 1 if any cannot be used.

    The files are imported, so their top-level code runs. No database is touched.
    """
    found = asyncio.run(_check_all(files))
    if as_json:
        output.print_json(found)
    else:
        for one in found:
            output.emit(_line(one))
    if not all(one["ok"] for one in found):
        raise typer.Exit(1)


async def _check_all(files: list[str]) -> list[dict[str, Any]]:
    from brain_core.app import load_plan
    from brain_core.cli.session import load
    from brain_core.errors import WorkflowFileError

    settings, plugins = load()
    found: list[dict[str, Any]] = []
    for file in files:
        shape: dict[str, Any] = {"file": file, "ok": True, "workflow": None, "steps": [], "inputs": {}}
        shape.update(error=None, line=None)
        try:
            # What a file prints at import is talk; standard output is for data alone.
            with contextlib.redirect_stdout(output.stderr()):
                plan, _ = await load_plan(settings.settings, plugins, file)
            shape.update(workflow=plan.workflow, steps=[step.name for step in plan.steps])
            shape.update(inputs={name: dict(spec) for name, spec in plan.inputs.items()})
        except WorkflowFileError as error:
            shape.update(ok=False, error=error.message, line=error.line)
        found.append(shape)
    return found


def _line(one: dict[str, Any]) -> str:
    file = output.one_line(one["file"])
    if one["ok"]:
        count = len(one["steps"])
        inputs = f", inputs: {', '.join(one['inputs'])}" if one["inputs"] else ""
        return f"{output.style('ok', 'green')}      {file}: {one['workflow']}, {count} step{'s' * (count != 1)}{inputs}"
    place = file if one["line"] is None else f"{file}:{one['line']}"
    return f"{output.style('failed', 'red')}  {place}: {output.one_line(one['error'])}"
