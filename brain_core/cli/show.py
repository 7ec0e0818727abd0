"""`brain show [RUN]`: one run, its steps, outputs and errors."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.errors import BrainError, UsageError, nearest

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.run import Run, StepRun

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LINES = 12
_CHARACTERS = 2_000


@app.command()
def show(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The id of a run or its beginning; the last run unless given.")
    ] = None,
    step: Annotated[
        str | None, typer.Option("--output", "-o", metavar="STEP", help="Print only the whole output of this step.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON, outputs whole.")] = False,
) -> None:
    """Show one run: its steps with times, output and error, and what never ran."""
    from brain_core.cli.session import with_brain

    async def work(brain: Brain) -> tuple[Run, dict[str, dict[str, Any]]]:
        from brain_core.cli.plugin_commands import any_has

        found = await brain.show(run)
        if step is not None or not any_has("brain_run_facts"):
            return found, {}
        facts, problems = await brain.tables.facts(found)
        for problem in problems:
            output.note(f"brain: note: {output.one_line(problem)}")
        return found, facts

    found, facts = with_brain(work)
    if step is not None:
        _print_output(found, step, as_json)
    elif as_json:
        from brain_core.app.shapes import run_shape

        output.print_json({**run_shape(found, steps=True), "plugins": facts})
    else:
        _print(found, facts)


def _print_output(run: Run, name: str, as_json: bool) -> None:
    attempts = [step for step in run.steps if step.name == name]
    if not attempts:
        names = [step.name for step in run.planned]
        if run.running_step is not None and run.running_step.name == name:
            raise BrainError(f"step '{name}' of run {run.short_id} is still running; it has no output yet")
        if name in names:
            raise BrainError(f"step '{name}' never ran in run {run.short_id}; see 'brain show {run.short_id}'")
        known = f"{nearest(name, names)} (steps: {', '.join(names)})"
        raise UsageError(f"run {run.short_id} has no step '{output.one_line(name)}'{known}")
    value = attempts[-1].output
    if as_json:
        output.print_json(value)
        return
    text = output.as_text(value)
    # To a file or another program the bytes as they are; to a person's terminal nothing that could steer it.
    output.emit(output.visible(text) if output.is_terminal(output.stdout()) else text)


def _print(run: Run, facts: dict[str, dict[str, Any]]) -> None:
    rows = [
        ("run", run.id),
        ("workflow", run.workflow),
        ("file", run.file),
        ("status", output.status(run.status)),
        ("started", f"{output.moment(run.started_at)}, {_took(run)}"),
        *(("trigger", text) for text in _trigger(run)),
        *(("input", f"{name} = {output.shorten(output.as_text(value), 200)}") for name, value in run.inputs.items()),
        *(
            (label, value[:8])
            for label, value in (("previous", run.previous_run_id), ("retry of", run.retry_of))
            if value
        ),
        *((plugin, ", ".join(map(_fact, known.items()))) for plugin, known in facts.items()),
    ]
    for label, text in rows:
        output.emit(f"{label:<9} {text if label == 'status' else output.one_line(text)}")
    if run.error is not None:
        _block("error", run.error, "", run, whole=None, label_width=10)
    if run.status == "parked":
        ways = f"let it go on: brain resume-run {run.short_id}, or end it: brain cancel {run.short_id}"
        output.emit(f"{'next':<10}{ways}")
    for step in run.steps:
        _print_step(run, step)
    runs_now = run.running_step
    if runs_now is not None and not any(step.status == "running" for step in run.steps):
        output.emit()
        output.emit(f"{_title(run, run.position, runs_now.name)} ({output.one_line(runs_now.type)}): running")
    if run.never_ran:
        output.emit()
        output.emit(f"{'never ran' if run.final else 'not yet'}: {', '.join(step.name for step in run.never_ran)}")


def _trigger(run: Run) -> list[str]:
    """Return what started the run: a schedule with its instant, a person by a schedule's name, or whose token it was.

    Empty for what a person ran by itself.
    """
    if not run.trigger:
        return []
    kind, name, due = (run.trigger.get(key) for key in ("type", "name", "due_at"))
    if kind == "manual":
        return [f"{name}, by hand"]
    token = run.trigger.get("token")
    kind = kind if token is None else f"{kind}, token {token}"
    if name is None:
        return [str(kind)]
    return [f"{name} ({kind})" if due is None else f"{name} ({kind}), due {output.moment(datetime.fromisoformat(due))}"]


def _took(run: Run) -> str:
    if run.final:
        return f"took {output.duration(run.seconds)}"
    return "not ended"


def _fact(fact: tuple[str, Any]) -> str:
    name, value = fact
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return f"{name.replace('_', ' ')} {'unknown' if value is None else output.number(value)}"
    return f"{name.replace('_', ' ')} {output.shorten(output.as_text(value), 200)}"


def _title(run: Run, position: int, name: str) -> str:
    return output.style(f"[{position + 1}/{len(run.planned)}] {output.one_line(name)}", "bold")


def _print_step(run: Run, step: StepRun) -> None:
    output.emit()
    again = f", attempt {step.attempt}" if step.attempt > 1 else ""
    took = "not ended" if step.ended_at is None else output.duration(step.seconds)
    output.emit(
        f"{_title(run, step.position, step.name)} ({output.one_line(step.type)}{again}): {output.status(step.status)}, "
        f"{output.moment(step.started_at)}, {took}"
    )
    if step.output is not None:
        _block("output", output.as_text(step.output), "  ", run, whole=step.name)
    if step.error is not None:
        _block("error", step.error, "  ", run, whole=None)
    if step.log:
        _block("log", step.log, "  ", run, whole=None)
    for name, value in step.details.items():
        if isinstance(value, str) and "\n" in value:
            _block(output.one_line(name), value, "  ", run, whole=None)
        else:
            output.emit(f"  {output.one_line(name)}: {output.shorten(output.one_line(output.as_text(value)), 200)}")


def _block(label: str, text: str, indent: str, run: Run, whole: str | None, label_width: int = 0) -> None:
    """Print a text under its label, shortened; of an output the beginning counts, of errors and logs the end.

    Line ends at the end of the text are left out. A `label_width` puts a text of one line into a column.
    """
    body = text.rstrip("\n")
    lines = output.visible(body[:_CHARACTERS] if whole else body[-_CHARACTERS:]).split("\n")
    shown = lines[:_LINES] if whole else lines[-_LINES:]
    cut = len(body) > _CHARACTERS or len(shown) < len(lines)
    if len(lines) == 1 and not cut:
        beginning = f"{label:<{label_width}}" if label_width else f"{label}: "
        output.emit(f"{indent}{beginning}{shown[0] or output.style('(empty)', 'dim')}")
        return
    output.emit(f"{indent}{label}:")
    how = f"brain show {run.short_id} --output {whole}" if whole else f"brain show {run.short_id} --json"
    mark = f"{indent}  … {len(text):,} characters in all: {how}"
    if cut and not whole:
        output.emit(output.style(mark, "dim"))
    for line in shown:
        output.emit(f"{indent}  {line}")
    if cut and whole:
        output.emit(output.style(mark, "dim"))
