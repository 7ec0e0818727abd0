"""What a watcher of a run hears, in order; `brain run` prints them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from brain_core.run import Run, StepRun


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The start of the run is committed."""

    run: Run


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins; nothing of it is recorded yet."""

    position: int
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Live:
    """A step says something; not recorded by this event."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The result of a step is committed."""

    step: StepRun


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of the run is committed."""

    run: Run


@dataclass(frozen=True, slots=True)
class HookProblem:
    """A hook failed or took too long, or what comes after the run could not be done; the run is as it was."""

    text: str


Event: TypeAlias = RunStarted | StepStarted | Live | StepEnded | RunEnded | HookProblem
Watch: TypeAlias = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Watch nothing."""
