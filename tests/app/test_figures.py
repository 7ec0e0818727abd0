"""The figures of a brain: runs by their status, how long the oldest has waited, triggers by state, workers, daemons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from brain_core.app import Brain
from brain_core.run import PlannedStep
from brain_core.store import daemon, queue
from brain_core.store.queue import NewRun
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

from .conftest import Since

WORKER = WorkerIdentity(UUID(int=1), "daemon", "elsewhere", "boot", "ns", 1, "1", "0.1", 60.0)


async def queued(brain: Brain) -> UUID:
    return await queue.enqueue(brain.db, NewRun(workflow="flow", file="/f.py", planned=[PlannedStep("a", "x")]))


async def test_runs_are_counted_by_status_but_for_the_successes(brain: Brain) -> None:
    nothing = {"queued": 0, "running": 0, "parked": 0, "failed": 0, "cancelled": 0}
    assert (await brain.figures()).runs == nothing
    made = [await queued(brain) for _ in range(8)]
    await queue.cancel_request(brain.db, made[-1], "not this one")
    running = [one.run_id for one in await queue.claim(brain.db, WORKER, 6)]
    await daemon.park(brain.db, WORKER.id, running[0], 1, "somebody has to decide")
    recorder = Recorder(brain.db, WORKER)
    step = StepEnd(running[1], 1, 0, "a", "x", 1, "success", "1", None, "", "{}", 0.1, 0.0)
    await recorder.finish_run(RunEnd(running[1], 1, "success", None, step, []))
    for run_id in running[2:4]:
        await recorder.finish_run(RunEnd(run_id, 1, "failed", "no", None, []))
    found = await brain.figures()
    assert found.runs == {"queued": 1, "running": 2, "parked": 1, "failed": 2, "cancelled": 1}
    assert found.workers == {"alive": 1, "silent": 0, "dead": 0}


async def test_the_oldest_queued_run_says_how_long_it_has_been_there(brain: Brain) -> None:
    assert (await brain.figures()).oldest_queued == 0
    first = await queued(brain)
    await queued(brain)
    async with brain.db.session() as session:
        await session.script(f"UPDATE brain.runs SET created_at = created_at - interval '1 h' WHERE id = '{first}'")
    assert 3600 <= (await brain.figures()).oldest_queued < 7200
    await queue.cancel_request(brain.db, first, "not this one")
    assert 0 < (await brain.figures()).oldest_queued < 3600


async def test_triggers_are_counted_by_state_and_overdue(brain: Brain, registered_at: Since) -> None:
    day = datetime.now(UTC) - timedelta(days=1)
    for name in ("late", "later", "paused", "gone"):
        await registered_at(name, day)
    await registered_at("young", datetime.now(UTC) + timedelta(hours=1))
    await brain.triggers.pause("paused")
    await brain.triggers.unregister("gone")
    found = await brain.figures()
    assert (found.triggers, found.overdue) == ({"active": 3, "paused": 1}, 2)


async def test_daemons_that_have_ticked_lately_are_counted(brain: Brain) -> None:
    await daemon.beat(brain.db, WORKER, 1, 0, 0.0, [])
    await daemon.beat(brain.db, WORKER._replace(id=UUID(int=2)), 1, 0, 31.0, [])
    found = await brain.figures()
    assert (found.fresh_daemons, found.workers["alive"]) == (1, 2)
