"""Taking up a run that this worker has claimed: from the queue, or again after its worker died."""

from __future__ import annotations

import json
from uuid import UUID

from brain_core.engine.beginning import Beginning, planned_of
from brain_core.engine.runner import Plan, Runner
from brain_core.errors import BrainError
from brain_core.placeholders import Previous
from brain_core.run import Run
from brain_core.store import daemon, runs, triggers
from brain_core.store.database import Database
from brain_core.store.queue import Claimed


class SourceChanged(BrainError):
    """The run was to be resumed and its file has changed since (G19); it is parked."""


async def claimed_run(claimed: Claimed, plan: Plan, runner: Runner, db: Database, worker: UUID) -> Beginning:
    """Take up a run that this worker has claimed.

    InputError when its inputs do not fit the workflow (any more). SourceChanged when it was begun with another source.
    """
    found = await runs.get(db, claimed.run_id) if claimed.resumed else None
    if found is not None and found.steps and plan.digest != claimed.digest:
        reason = f"{claimed.file} has changed since the run began; put it back, or cancel the run"
        await daemon.park(db, worker, claimed.run_id, claimed.claim, reason)
        raise SourceChanged(reason)
    inputs = await runner.accept_inputs(claimed.inputs, typed=False)
    if plan.digest != claimed.digest or inputs != claimed.inputs or plan.steps != claimed.planned:
        await daemon.begin(
            db,
            worker,
            claimed.run_id,
            claimed.claim,
            workflow=plan.workflow,
            digest=plan.digest,
            sources=plan.sources,
            inputs=json.dumps(inputs),
            planned=json.dumps(planned_of(plan)),
            on_finished=plan.has_on_finished,
            on_interrupt=plan.on_interrupt,
        )
    run = Run(
        id=str(claimed.run_id),
        workflow=plan.workflow,
        file=claimed.file,
        status="running",
        created_at=claimed.created_at,
        started_at=claimed.started_at,
        inputs=inputs,
        trigger=claimed.trigger,
        version=plan.digest,
        planned=plan.steps,
        previous_run_id=None if claimed.previous_run_id is None else str(claimed.previous_run_id),
    )
    previous = await _previous(claimed, plan, db)
    if found is None:
        return Beginning(run, claimed.claim, claimed.started_at, previous=previous)
    done = [step for step in found.steps if step.status in ("success", "skipped")]
    attempts: dict[int, int] = {}
    for step in found.steps:
        attempts[step.position] = max(step.attempt, attempts.get(step.position, 0))
    return Beginning(
        run,
        claimed.claim,
        # It began long ago; what is told of its steps goes by now.
        await triggers.clock(db),
        position=len({step.position for step in done}),
        outputs={step.name: json.dumps(step.output) for step in done},
        steps=found.steps,
        attempts=attempts,
        previous=previous,
    )


async def _previous(claimed: Claimed, plan: Plan, db: Database) -> Previous | None:
    """Return the outputs of the run that was pinned when this one was claimed for the first time."""
    if claimed.previous_run_id is None or not plan.reads_previous:
        return None
    outputs = await runs.outputs(db, claimed.previous_run_id)
    return Previous(str(claimed.previous_run_id), outputs)
