"""Tells on stderr how a run goes, event by event."""

from __future__ import annotations

from brain_core.cli import output
from brain_core.cli.talk import Talk
from brain_core.engine.events import Event, HookProblem, Live, RunStarted, StepEnded, StepStarted
from brain_core.run import StepRun

_PREVIEW = 100


class Progress:
    """A watcher of one run. It never raises and never waits: a run goes on whether or not somebody reads about it."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._steps = 0
        self._talk = Talk()
        # What is live goes to a person's terminal as it is (that is what -v is for), and made visible elsewhere.
        self._raw = output.is_terminal(output.stderr())
        self._line_open = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._say(f"{self._place(event.position)} {event.name} ({output.one_line(event.type)}) ...")
        elif isinstance(event, StepEnded):
            self._ended(event.step)
        elif isinstance(event, Live):
            if self._verbose:
                self._live(event.text)
        elif isinstance(event, RunStarted):
            self._steps = len(event.run.planned)
            steps = f"{self._steps} step{'s' * (self._steps != 1)}"
            self._say(f"{output.one_line(event.run.workflow)}: run {event.run.short_id}, {steps}")
        elif isinstance(event, HookProblem):
            self._say(f"brain: note: {output.one_line(event.text)}")

    def _ended(self, step: StepRun) -> None:
        took = output.duration(step.seconds)
        status = output.status(step.status, output.stderr())
        text = f"{self._place(step.position)} {step.name}: {status} in {took}"
        if step.error is None and step.output is not None:
            text += output.style(preview(step.output), "dim", output.stderr())
        self._say(text)
        if step.error is not None:
            indent = " " * (len(self._place(step.position)) + 1)
            for line in output.visible(step.error).splitlines():
                self._say(f"{indent}{line}")

    def _live(self, text: str) -> None:
        if not text:
            return
        self._line_open = not text.endswith("\n")
        self._talk.live(text if self._raw else output.visible(text))

    def _say(self, text: str) -> None:
        if self._line_open:
            self._line_open = False
            self._talk.line("")
        self._talk.line(text)

    def close(self, patience: float | None = None) -> None:
        """Wait until all of it is written, for `patience` seconds at most; called when the run is over."""
        self._talk.close(patience)

    def _place(self, position: int) -> str:
        return f"[{position + 1}/{self._steps}]"


def preview(value: object) -> str:
    """Return the beginning of an output for the end of a line, or nothing for an empty one."""
    lines = output.as_text(value).strip().splitlines()
    if not lines:
        return ""
    more = f" (+{len(lines) - 1:,} lines)" if len(lines) > 1 else ""
    return f"  {output.shorten(output.one_line(lines[0]), _PREVIEW)}{more}"
