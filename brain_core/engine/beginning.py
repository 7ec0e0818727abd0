"""Where a run stands when this process begins to run it, and the start of a new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from brain_core.engine.runner import Plan
from brain_core.placeholders import NOTHING, Json, Previous
from brain_core.run import Run, StepRun
from brain_core.store.codec import decode, encode
from brain_core.store.recorder import Recorder, RunStart


class Beginning(NamedTuple):
    """A running run that is ours under `claim`, at the step `position`.

    `at` is the database's time at the moment when this was made. `outputs` (JSON texts) and `steps` are what earlier
    workers have finished; `attempts` says for each position how often it was tried.
    """

    run: Run
    claim: int
    at: datetime
    position: int = 0
    outputs: Mapping[str, str] = NOTHING
    steps: tuple[StepRun, ...] = ()
    attempts: Mapping[int, int] = NOTHING
    previous: Previous | None = None


async def new_run(
    plan: Plan,
    inputs: Mapping[str, Json],
    *,
    run_id: UUID,
    recorder: Recorder,
    max_output: int,
    previous: Previous | None = None,
    trigger: Mapping[str, Json] | None = None,
) -> Beginning:
    """Record the start of a new run."""
    encoded = encode(dict(inputs), max_output)
    started_at = await recorder.start_run(
        RunStart(
            run_id=run_id,
            workflow=plan.workflow,
            file=plan.file,
            digest=plan.digest,
            inputs=encoded.text,
            planned=json.dumps(planned_of(plan)),
            trigger=None if trigger is None else encode(dict(trigger), max_output).text,
            previous_run_id=None if previous is None else UUID(previous.run_id),
            retry_of=None,
        )
    )
    run = Run(
        id=str(run_id),
        workflow=plan.workflow,
        file=plan.file,
        status="running",
        created_at=started_at,
        started_at=started_at,
        inputs=decode(encoded.text),
        trigger=None if trigger is None else dict(trigger),
        version=plan.digest,
        planned=plan.steps,
        previous_run_id=None if previous is None else previous.run_id,
    )
    return Beginning(run, 1, started_at, previous=previous)


def planned_of(plan: Plan) -> list[dict[str, str]]:
    """Return the steps of a plan as `runs.planned_steps` holds them."""
    return [{"name": step.name, "type": step.type} for step in plan.steps]
