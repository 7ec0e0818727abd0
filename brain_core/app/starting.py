"""Queueing a run that somebody asks for over a wire, once for each idempotency key."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

from brain_core.app.serving import Started
from brain_core.errors import IdempotencyConflict
from brain_core.store import queue, triggers
from brain_core.store.codec import stored_inputs, visible

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.placeholders import Json

KEYS = UUID("6b0d3f6c-3a4c-5f0e-9a53-0f6a3d5f7c21")
"""What ids are made of keys in; never to be changed, or a key that was sent before gives a second run."""


async def start_run(
    brain: Brain,
    what: str | Path,
    inputs: Mapping[str, Any],
    source: Mapping[str, Json],
    key: str | None,
    find: Callable[[], Awaitable[Path]] | None = None,
) -> Started:
    """Queue a run, as `Brain.start_run` says."""
    trigger, key = dict(source), None if key is None else visible(key)
    run_id = uuid4() if key is None else uuid5(KEYS, key)
    if key is not None:
        named = find is None and isinstance(what, str)
        trigger["idempotency"] = {"key": key, "content": _content(what, inputs, named=named)}
        # Before anything is loaded: the file may have changed since, and what is done is done.
        if await _is_there(brain, run_id, trigger):
            return Started(run_id, created=False)
    new = await _new_run(brain, what if find is None else await find(), inputs, trigger, run_id)
    created = await queue.enqueue_new(brain.db, new)
    # Without a key a run that is there already is this one, and the reply got lost.
    if not created and key is not None:
        await _is_there(brain, run_id, trigger)
    return Started(run_id, created or key is None)


async def _new_run(
    brain: Brain, what: str | Path, inputs: Mapping[str, Any], trigger: Mapping[str, Json], run_id: UUID
) -> queue.NewRun:
    if isinstance(what, str):
        row = await triggers.get(brain.db, visible(what))
        return await brain.triggers.new_run(row, inputs, typed=False, source=trigger, run_id=run_id)
    runner = brain.new_runner()
    try:
        plan = await runner.load(what)
        accepted = await runner.accept_inputs(inputs, typed=False)
    finally:
        await runner.close()
    return queue.NewRun(
        workflow=plan.workflow,
        file=plan.file,
        host=socket.gethostname(),
        digest=plan.digest,
        planned=plan.steps,
        inputs=stored_inputs(accepted, brain.settings.max_output),
        trigger=trigger,
        run_id=run_id,
    )


async def _is_there(brain: Brain, run_id: UUID, trigger: Mapping[str, Any]) -> bool:
    """Whether the run is there; IdempotencyConflict when it is, and something else was asked for by its key."""
    there = await queue.trigger_of(brain.db, run_id)
    if there is None:
        return False
    if there.get("idempotency") != trigger["idempotency"]:
        key = str(trigger["idempotency"]["key"])[:80]
        raise IdempotencyConflict(
            f"the idempotency key '{key}' was used for run {run_id} with another workflow or other inputs; "
            "use a new key for a new run"
        )
    return True


def _content(what: str | Path, inputs: Mapping[str, Any], *, named: bool) -> str:
    """Return a digest of what is asked for, by its name or not; the order of the inputs makes no difference."""
    text = json.dumps([named, str(what), dict(inputs)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
