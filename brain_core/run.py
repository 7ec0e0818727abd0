"""Run and StepRun, their statuses, and which status may follow which. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

RunStatus = Literal["queued", "running", "parked", "success", "failed", "cancelled"]
StepStatus = Literal["running", "success", "failed", "interrupted", "skipped", "cancelled"]

FINAL: frozenset[str] = frozenset({"success", "failed", "cancelled"})
"""The statuses of a run that never change again (G13); the database refuses it too."""

WORKFLOW_RECEIVER = "workflow"
"""The receiver of deliveries that stands for the workflow's own `on_finished`."""

LEGAL: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"parked", "success", "failed", "cancelled", "queued"}),
    "parked": frozenset({"queued", "running", "failed", "cancelled"}),
    "success": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Which other status of a run may follow which; the database's triggers refuse the rest."""


class PlannedStep(NamedTuple):
    """A step as it was planned when the run was created."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class StepRun:
    """One attempt of one step, as the history has it.

    `position` counts the steps of the run from 0, `attempt` counts from 1. `log` is what the step said beside its
    output (a shell step's standard error); `details` are facts such as an exit code or how much was cut.
    """

    position: int
    name: str
    type: str
    attempt: int
    status: StepStatus
    started_at: datetime
    ended_at: datetime | None
    output: Any = None
    error: str | None = None
    log: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """How long the attempt took; None while it runs."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a workflow, as the history has it.

    `position` is the step that goes on now or went on last (from 0). `steps` holds the recorded attempts when they were
    asked for; `planned` holds what was to run, so that what never ran can be told. `error` says why it failed, was
    cancelled or is parked.
    """

    id: str
    workflow: str
    file: str
    status: RunStatus
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    position: int = 0
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trigger: Mapping[str, Any] | None = None
    version: str | None = None
    planned: tuple[PlannedStep, ...] = ()
    previous_run_id: str | None = None
    retry_of: str | None = None
    steps: tuple[StepRun, ...] = ()

    @property
    def short_id(self) -> str:
        """The first eight characters of the id, which `brain show` takes too."""
        return self.id[:8]

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def seconds(self) -> float | None:
        """How long the run took; None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def never_ran(self) -> tuple[PlannedStep, ...]:
        """The planned steps of which no attempt is recorded, but for the one that runs now."""
        ran = {step.position for step in self.steps} | ({self.position} if self.status == "running" else set())
        return tuple(step for at, step in enumerate(self.planned) if at not in ran)

    @property
    def running_step(self) -> PlannedStep | None:
        """The step that runs now; None when the run is not running."""
        if self.status != "running" or self.position >= len(self.planned):
            return None
        return self.planned[self.position]
