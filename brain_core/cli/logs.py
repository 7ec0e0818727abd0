"""`brain logs RUN`: what a run says and has said, its steps and their live output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.control import Said

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXIT_CODES = {"success": 0, "cancelled": 130}


@app.command()
def logs(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The id of a run or its beginning; the last run unless given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended; exit like `brain run` then.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what the steps of a run have said, also while it goes on in another process."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> str:
        status = ""
        async for said in brain.control.logs(run, follow=follow):
            _print(said, as_json)
            status = said.status or status
        return status

    status = with_brain(work)
    if follow:
        raise typer.Exit(EXIT_CODES.get(status, 1))


def _print(said: Said, as_json: bool) -> None:
    if as_json:
        facts = {
            "kind": said.kind,
            "step": said.step,
            "text": said.text,
            "at": said.at and said.at.isoformat(),
            "status": said.status,
        }
        # One a line: whoever follows reads them as they come.
        output.emit(json.dumps(facts, ensure_ascii=False))
    elif said.kind == "live":
        for line in said.text.removesuffix("\n").split("\n"):
            output.emit(f"{said.step} | {output.visible(line)}")
    elif said.kind == "step":
        output.emit(f"{output.moment(said.at)}  {said.step}: {output.status(said.status or '')}")
    else:
        output.emit(f"{output.moment(said.at)}  {output.one_line(said.text)}")
