"""The documented shapes of `--json`: plain dicts made of runs and their steps. See docs/reference/cli.md."""

from __future__ import annotations

from typing import Any

from brain_core.run import Run, StepRun


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
