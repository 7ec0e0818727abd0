"""`brain new workflow NAME`: write a starter file."""

from __future__ import annotations

from typing import Annotated

import typer

from brain_core.cli import output

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def new() -> None:
    """Write a starter file."""


@app.command()
def workflow(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the workflow, and of its file.")],
    folder: Annotated[str, typer.Option("--folder", metavar="FOLDER", help="Where to write it.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="Print the path of the file as JSON.")] = False,
) -> None:
    """Write NAME.py, a small workflow that runs as it is. An existing file is never overwritten."""
    from pathlib import Path

    from brain_core.starter import write_starter

    path = str(write_starter(name, Path(folder)))
    if as_json:
        output.print_json({"file": path})
    else:
        output.emit(output.one_line(path))
        output.note(f"run it: brain run {output.one_line(path)}")
