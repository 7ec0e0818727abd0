"""What a step says is told before its end, and what comes after that end is told after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.app import Brain
from brain_core.app.following import in_order
from brain_core.run import PlannedStep, StepRun
from brain_core.store import live, queue
from brain_core.store.queue import NewRun
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

WORKER = WorkerIdentity(uuid4(), "daemon", "host", "boot", "pids", 1, "1", "0", 3_600.0)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def ended(run_id: UUID, position: int) -> StepEnd:
    return StepEnd(run_id, 1, position, "ab"[position], "x", 1, "success", "1", None, "", "{}", 0.1, 0.0)


async def test_what_becomes_of_a_run_while_it_is_looked_at_is_told_in_order(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [PlannedStep("a", "x"), PlannedStep("b", "x")]
    run_id = await queue.enqueue(brain.db, NewRun(workflow="flow", file="/f.py", planned=planned))
    await queue.claim(brain.db, WORKER, 1)
    recorder = Recorder(brain.db, WORKER)
    await live.append(brain.db, WORKER.id, [live.Line(run_id, 1, 1, 0, "of a")])
    fetch = brain.db.fetch
    looks = 0

    async def in_between(name: str, *args: Any, **more: Any) -> Any:
        nonlocal looks
        rows = await fetch(name, *args, **more)
        if name == "run_progress":
            looks += 1
            if looks == 1:
                await recorder.finish_step(ended(run_id, 0))
                await live.append(brain.db, WORKER.id, [live.Line(run_id, 1, 2, 1, "of b")])
            elif looks == 2:
                await recorder.finish_run(RunEnd(run_id, 1, "success", None, ended(run_id, 1)))
        return rows

    monkeypatch.setattr(brain.db, "fetch", in_between)
    told = [event.text or event.step_name for event in [event async for event in brain.events(run_id)]]
    assert [one for one in told if one] == ["of a", "a", "of b", "b"]


def test_what_an_attempt_says_after_one_that_was_interrupted_comes_after_it() -> None:
    def step(attempt: int, status: Any, at: int) -> StepRun:
        when = NOW + timedelta(seconds=at)
        return StepRun(0, "a", "x", attempt, status, when, when, None, None, "")

    def row(seq: int, at: int) -> live.Event:
        return live.Event(uuid4(), seq, NOW + timedelta(seconds=at), 0, "live", str(at))

    steps = [step(1, "interrupted", 2), step(2, "success", 5)]
    # What was said last is written after the step's end by its own clock, and before the end is recorded.
    told = in_order([row(1, 1), row(2, 3), row(3, 6)], steps)
    assert [one.attempt if isinstance(one, StepRun) else one.text for one in told] == ["1", 1, "3", "6", 2]


async def test_a_large_run_is_read_in_parts_and_told_in_order(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"s{position}" for position in range(13)]
    planned = [PlannedStep(name, "x") for name in names]
    run_id = await queue.enqueue(brain.db, NewRun(workflow="flow", file="/f.py", planned=planned))
    await queue.claim(brain.db, WORKER, 1)
    recorder = Recorder(brain.db, WORKER)
    for position, name in enumerate(names):
        await live.append(brain.db, WORKER.id, [live.Line(run_id, 1, position + 1, position, f"of {name}")])
        output = f'"{"x" * 200_000}"' if position < 4 else "1"
        step = StepEnd(run_id, 1, position, name, "x", 1, "success", output, None, "", "{}", 0.1, 0.0)
        if position + 1 < len(names):
            await recorder.finish_step(step)
        else:
            await recorder.finish_run(RunEnd(run_id, 1, "success", None, step, ()))
    fetch = brain.db.fetch
    read: list[int] = []

    async def counted(name: str, *args: Any, **more: Any) -> Any:
        rows = await fetch(name, *args, **more)
        if name == "run_progress":
            read.append(len(rows))
        return rows

    monkeypatch.setattr(brain.db, "fetch", counted)
    events = [event async for event in brain.events(run_id)]
    told = [event.text or event.step_name or event.run.status for event in events if event.run or event.step_name]
    assert told == [one for name in names for one in (f"of {name}", name)] + ["success"]
    assert read == [2, 2, 8, 1]
    # Whoever goes on after any of them hears the rest.
    for known in (1, 3, 4, 10, 23):
        rest = [event async for event in brain.events(run_id, after=events[known].id)]
        assert [event.id for event in rest] == [event.id for event in events[known + 1 :]]
