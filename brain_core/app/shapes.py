"""The documented shapes of runs, triggers and the like as JSON, for `--json` and for the HTTP API: plain dicts.

Times are left as they are, for whoever writes the JSON. See docs/reference/cli.md; a field that is there stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_core.app.control import Cancelled
    from brain_core.app.trigger_types import Described
    from brain_core.app.triggers import Listed
    from brain_core.run import Run, StepRun
    from brain_core.store.fires import LedgerRow


def run_shape(run: Run, *, steps: bool) -> dict[str, Any]:
    """Return a run as JSON holds it; with `steps` also what was planned, every attempt, and what never ran."""
    shape: dict[str, Any] = {
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
    if steps:
        shape["planned"] = [{"name": step.name, "type": step.type} for step in run.planned]
        shape["steps"] = [step_shape(step) for step in run.steps]
        shape["running_step"] = None if run.running_step is None else run.running_step.name
        shape["never_ran"] = [step.name for step in run.never_ran]
    return shape


def step_shape(step: StepRun) -> dict[str, Any]:
    """Return one attempt of a step as JSON holds it."""
    return {
        "position": step.position,
        "name": step.name,
        "type": step.type,
        "attempt": step.attempt,
        "status": step.status,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "seconds": step.seconds,
        "output": step.output,
        "error": step.error,
        "log": step.log,
        "details": dict(step.details),
    }


def cancelled_shape(done: Cancelled) -> dict[str, Any]:
    """Return what became of a request to cancel a run as JSON holds it."""
    return {"run": done.run.id, "answer": done.answer, "status": done.run.status}


def trigger_shape(one: Described) -> dict[str, Any]:
    """Return a schedule as JSON holds it."""
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


def changed_shape(one: Described) -> dict[str, Any]:
    """Return a schedule that was registered or changed, with what surprises about it and its next instants."""
    return {**trigger_shape(one), "notes": list(one.notes), "next": [at.astimezone(one.zone) for at in one.next]}


def listed_shape(one: Listed) -> dict[str, Any]:
    """Return a schedule with its last run as `brain list --json` holds it."""
    return {
        **trigger_shape(one),
        "overdue": one.listing.overdue,
        "last_success_at": one.listing.last_success_at,
        "last_run": last_run_shape(one),
    }


def last_run_shape(one: Listed) -> dict[str, Any] | None:
    """Return the last run of a schedule as its line in a list holds it; None when there is none."""
    last = one.listing.last_run
    if last is None:
        return None
    return {
        "id": str(last.id),
        "status": last.status,
        "created_at": last.created_at,
        "started_at": last.started_at,
    }


def fire_shape(row: LedgerRow) -> dict[str, Any]:
    """Return one line of the ledger as JSON holds it; `until` is null for one instant and for an open pause."""
    return {
        "due_at": row.due_at,
        "until": None if row.open else row.until,
        "open": row.open,
        "outcome": row.outcome,
        "reason": row.reason,
        "run_id": None if row.run_id is None else str(row.run_id),
        "revision": row.revision,
        "recorded_at": row.recorded_at,
    }


def _catch_up(one: Described) -> str | None:
    """Return what is done about missed instants as `--catch-up` takes it."""
    if not one.timed:
        return None
    return f"all:{one.row.catch_up_max}" if one.row.catch_up == "all" else one.row.catch_up
