"""What a watcher of a run hears, in order; `brain run` prints them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from brain_core.run import Run, StepRun


class RunStarted(NamedTuple):
    """The start of the run is committed."""

    run: Run


class StepStarted(NamedTuple):
    """A step begins; nothing of it is recorded yet."""

    position: int
    name: str
    type: str


class Live(NamedTuple):
    """A step says something; not recorded by this event."""

    name: str
    text: str


class StepEnded(NamedTuple):
    """The result of a step is committed."""

    step: StepRun


class RunEnded(NamedTuple):
    """The end of the run is committed."""

    run: Run


class HookProblem(NamedTuple):
    """A hook failed or took too long, or what comes after the run could not be done; the run is as it was."""

    text: str


Event: TypeAlias = RunStarted | StepStarted | Live | StepEnded | RunEnded | HookProblem
Watch: TypeAlias = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Watch nothing."""
