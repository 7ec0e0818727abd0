"""Answers: the shapes of what routes send, as OpenAPI describes them. What is sent is made by the core's shapes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

RunStatus = Literal["queued", "running", "parked", "success", "failed", "cancelled"]
StepStatus = Literal["running", "success", "failed", "interrupted", "skipped", "cancelled"]
Outcome = Literal["fired", "merged", "skipped_overlap", "skipped_paused"]


class _Answer(BaseModel):
    # Tests read what is sent by these, so a field that one of the two sides forgot is an error there.
    model_config = ConfigDict(extra="forbid")


class PlannedStepOut(_Answer):
    """A step as it was planned."""

    name: str
    type: str


class StepOut(_Answer):
    """One attempt of one step."""

    position: int = Field(description="Counts the steps of the run from 0.")
    name: str
    type: str
    attempt: int = Field(description="Counts from 1.")
    status: StepStatus
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    output: JsonValue = Field(description="What the step returned.")
    error: str | None
    log: str = Field(description="What the step said beside its output.")
    details: dict[str, JsonValue] = Field(description="Facts such as an exit code, or how much was cut.")


class RunOut(_Answer):
    """One run of a workflow, without its steps."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    workflow: str
    file: str
    status: RunStatus
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    error: str | None = Field(description="Why it failed, was cancelled or is parked.")
    inputs: dict[str, JsonValue]
    trigger: dict[str, JsonValue] | None = Field(description="What started it: `type`, and what that type tells.")
    version: str | None = Field(description="The digest of the workflow's source.")
    previous_run_id: str | None
    retry_of: str | None


class WholeRunOut(RunOut):
    """One run with its steps."""

    planned: list[PlannedStepOut]
    steps: list[StepOut] = Field(description="Every recorded attempt, in its order.")
    running_step: str | None
    never_ran: list[str]
    plugins: dict[str, dict[str, JsonValue]] = Field(description="What plugins know of the run, by plugin.")


class RunsOut(_Answer):
    """A page of runs, the latest first."""

    runs: list[RunOut]
    next_cursor: str | None = Field(description="Where the next page begins; null at the end.")


class CancelOut(_Answer):
    """What became of a request to cancel: `cancelled` at once, `requested` of its process, or `over` already."""

    run: str = Field(json_schema_extra={"format": "uuid"})
    answer: Literal["cancelled", "requested", "over"]
    status: RunStatus


class LastRunOut(_Answer):
    """The latest run of a trigger."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    status: RunStatus
    created_at: datetime
    started_at: datetime | None


class TriggerOut(_Answer):
    """A schedule or another trigger."""

    name: str
    type: str
    config: dict[str, JsonValue]
    schedule: str = Field(description="What it does, in words.")
    workflow: str
    file: str
    host: str
    inputs: dict[str, JsonValue]
    catch_up: str | None = Field(description="What becomes of missed instants; null for what has none.")
    overlap: Literal["skip", "allow"]
    state: Literal["active", "paused", "deleted"]
    paused_at: datetime | None
    resume_at: datetime | None
    next_due_at: datetime | None
    created_at: datetime
    revision: int


class ListedTriggerOut(TriggerOut):
    """A trigger with its last run."""

    overdue: bool = Field(description="Whether its next instant passed a minute ago and has no outcome.")
    last_success_at: datetime | None
    last_run: LastRunOut | None


class ChangedTriggerOut(TriggerOut):
    """A trigger that was changed, with what surprises about it and its next instants."""

    notes: list[str]
    next: list[datetime]


class TriggersOut(_Answer):
    """All triggers that are registered, by name."""

    triggers: list[ListedTriggerOut]


class FireOut(_Answer):
    """What became of one due instant, or of all from `due_at` to `until` that have no row of their own."""

    trigger: str
    workflow: str
    due_at: datetime
    until: datetime | None = Field(description="Null for one instant, and while a pause goes on.")
    open: bool = Field(description="Whether this is the row of a pause that goes on.")
    outcome: Outcome
    reason: str
    run_id: str | None
    revision: int
    recorded_at: datetime


class FiresOut(_Answer):
    """A page of the ledger, the latest first."""

    fires: list[FireOut]
    next_cursor: str | None = Field(description="Where the next page begins; null at the end.")


class WorkflowOut(_Answer):
    """A workflow that something is registered for, as its file was when that was registered last."""

    name: str
    file: str
    host: str
    steps: list[PlannedStepOut]
    triggers: list[str] = Field(description="The names that it is registered under.")
    last_run: LastRunOut | None = Field(description="The latest run that one of these has started.")


class WorkflowsOut(_Answer):
    """The workflows that something is registered for, by name."""

    workflows: list[WorkflowOut]


class PluginOut(_Answer):
    """An installed plugin."""

    name: str
    version: str
    distribution: str
    module: str
    provides: list[str]
    state: Literal["active", "disabled", "quarantined"]
    enabled: bool | None
    reason: str | None


class PluginsOut(_Answer):
    """The installed plugins."""

    plugins: list[PluginOut]
