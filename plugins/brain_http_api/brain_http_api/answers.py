"""Answers: what routes send, in the shapes of `brain show --json` and its like, made of what the brain returns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response

if TYPE_CHECKING:
    from brain_core import Run, StepRun
    from brain_core.facade import Cancelled, Described, LedgerEntry, Listed, PluginInfo

RunStatus = Literal["queued", "running", "parked", "success", "failed", "cancelled"]
StepStatus = Literal["running", "success", "failed", "interrupted", "skipped", "cancelled"]
Outcome = Literal["fired", "merged", "skipped_overlap", "skipped_paused"]


class _Answer(BaseModel):
    # A field that was forgotten is an error here, and not an answer without it.
    model_config = ConfigDict(frozen=True, extra="forbid")


def json_text(value: Any) -> str:
    """Return an answer, or JSON values, as JSON; times become ISO 8601.

    Not by pydantic, whose serializer refuses values that are nested as deeply as outputs may be.
    """
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))


def answer(value: _Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response that holds an answer."""
    return Response(json_text(value).encode(), status, headers, "application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return dict(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


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

    @classmethod
    def of(cls, step: StepRun) -> Self:
        return cls.model_construct(
            position=step.position,
            name=step.name,
            type=step.type,
            attempt=step.attempt,
            status=step.status,
            started_at=step.started_at,
            ended_at=step.ended_at,
            seconds=step.seconds,
            output=step.output,
            error=step.error,
            log=step.log,
            details=dict(step.details),
        )


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

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls.model_construct(**_head(run))


class WholeRunOut(RunOut):
    """One run with its steps."""

    planned: list[PlannedStepOut]
    steps: list[StepOut] = Field(description="Every recorded attempt, in its order.")
    running_step: str | None
    never_ran: list[str]
    plugins: dict[str, dict[str, JsonValue]] = Field(description="What plugins know of the run, by plugin.")

    @classmethod
    def whole(cls, run: Run, facts: Mapping[str, Mapping[str, Any]]) -> Self:
        return cls.model_construct(
            **_head(run),
            planned=[PlannedStepOut(name=step.name, type=step.type) for step in run.planned],
            steps=[StepOut.of(step) for step in run.steps],
            running_step=None if run.running_step is None else run.running_step.name,
            never_ran=[step.name for step in run.never_ran],
            plugins={name: dict(known) for name, known in facts.items()},
        )


def _head(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "file": run.file,
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "seconds": run.seconds,
        "error": run.error,
        "inputs": dict(run.inputs),
        "trigger": None if run.trigger is None else dict(run.trigger),
        "version": run.version,
        "previous_run_id": run.previous_run_id,
        "retry_of": run.retry_of,
    }


class RunsOut(_Answer):
    """A page of runs, the latest first."""

    runs: list[RunOut]
    next_cursor: str | None = Field(description="Where the next page begins; null at the end.")


class CancelOut(_Answer):
    """What became of a request to cancel: `cancelled` at once, `requested` of its process, or `over` already."""

    run: str = Field(json_schema_extra={"format": "uuid"})
    answer: Literal["cancelled", "requested", "over"]
    status: RunStatus

    @classmethod
    def of(cls, done: Cancelled) -> Self:
        return cls(run=done.run.id, answer=done.answer, status=done.run.status)


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

    @classmethod
    def of(cls, one: Listed) -> Self:
        listing = one.listing
        return cls.model_construct(
            **_trigger(one),
            overdue=listing.overdue,
            last_success_at=listing.last_success_at,
            last_run=last_run_of(one),
        )


class ChangedTriggerOut(TriggerOut):
    """A trigger that was changed, with what surprises about it and its next instants."""

    notes: list[str]
    next: list[datetime]

    @classmethod
    def of(cls, one: Described) -> Self:
        upcoming = [at.astimezone(one.zone) for at in one.next]
        return cls.model_construct(**_trigger(one), notes=list(one.notes), next=upcoming)


def last_run_of(one: Listed) -> LastRunOut | None:
    """Return the last run of a trigger."""
    last: Any = one.listing.last_run
    if last is None:
        return None
    return LastRunOut(id=str(last.id), status=last.status, created_at=last.created_at, started_at=last.started_at)


def _trigger(one: Described) -> dict[str, Any]:
    row = one.row
    return {
        "name": row.name,
        "type": row.type,
        "config": row.config,
        "schedule": one.words,
        "workflow": row.workflow_name,
        "file": row.file,
        "host": row.host,
        "inputs": row.inputs,
        "catch_up": _catch_up(one),
        "overlap": row.overlap,
        "state": row.state,
        "paused_at": row.paused_at,
        "resume_at": row.resume_at,
        "next_due_at": row.next_due_at,
        "created_at": row.created_at,
        "revision": row.revision,
    }


def _catch_up(one: Described) -> str | None:
    if not one.timed:
        return None
    return f"all:{one.row.catch_up_max}" if one.row.catch_up == "all" else one.row.catch_up


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

    @classmethod
    def of(cls, entry: LedgerEntry) -> Self:
        row = entry.row
        return cls(
            trigger=entry.trigger,
            workflow=entry.workflow,
            due_at=row.due_at,
            until=None if row.open else row.until,
            open=row.open,
            outcome=row.outcome,
            reason=row.reason,
            run_id=None if row.run_id is None else str(row.run_id),
            revision=row.revision,
            recorded_at=row.recorded_at,
        )


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

    @classmethod
    def of(cls, listing: Iterable[Listed]) -> Self:
        grouped: dict[tuple[str, str, str], list[Listed]] = {}
        for one in listing:
            grouped.setdefault((one.row.workflow_name, one.row.file, one.row.host), []).append(one)
        found = []
        for (name, file, host), triggers in sorted(grouped.items()):
            latest = max(triggers, key=lambda one: one.row.created_at)
            last = [run for run in map(last_run_of, triggers) if run is not None]
            found.append(
                WorkflowOut(
                    name=name,
                    file=file,
                    host=host,
                    steps=[PlannedStepOut(name=step["name"], type=step["type"]) for step in latest.row.planned_steps],
                    triggers=sorted(one.row.name for one in triggers),
                    last_run=max(last, key=lambda run: run.created_at, default=None),
                )
            )
        return cls(workflows=found)


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

    @classmethod
    def of(cls, plugin: PluginInfo) -> Self:
        return cls(
            name=plugin.name,
            version=plugin.version,
            distribution=plugin.distribution,
            module=plugin.module,
            provides=list(plugin.provides),
            state=plugin.state,
            enabled=plugin.enabled,
            reason=plugin.reason,
        )


class PluginsOut(_Answer):
    """The installed plugins."""

    plugins: list[PluginOut]
