"""Following a run from another process costs what is new, not all of it again and again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from brain_core.engine.events import StepEnded
from brain_core.engine.sweep import worker_identity
from brain_core.store import live, queue, triggers
from brain_core.store.live import Line
from brain_core.store.recorder import Recorder, RunEnd, StepEnd

STEPS = 4


class Followed:
    """A run in the hands of a worker, which ends its steps when it is told to; `asked` counts the statements."""

    def __init__(self, brain: Any, run_id: UUID) -> None:
        self.brain = brain
        self.run_id = run_id
        self.worker = worker_identity("run", 15.0)
        self.recorder = Recorder(brain.db, self.worker)
        self.asked: Counter[str] = Counter()
        self.looks = asyncio.Semaphore(0)
        self.rows: list[int] = []

    async def claim(self) -> None:
        (claimed,) = await queue.claim(self.brain.db, self.worker, 1)
        assert claimed.run_id == self.run_id

    async def say(self, number: int) -> None:
        await live.append(self.brain.db, self.worker.id, [Line(self.run_id, 1, number + 1, 0, f"words {number}")])

    async def end_step(self, attempt: int) -> None:
        status = "success" if attempt == STEPS else "failed"
        error = None if attempt == STEPS else "try again"
        output = json.dumps("x" * 1_000) if attempt == STEPS else None
        step = StepEnd(self.run_id, 1, 0, "say", "function", attempt, status, output, error, "", "{}", 0.0, 0.0)
        if attempt == STEPS:
            await self.recorder.finish_run(RunEnd(self.run_id, 1, "success", None, step, ()))
        else:
            await self.recorder.finish_step(step)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count what the follower asks; the worker has its own statements, which are not among them."""
        fetch = self.brain.db.fetch

        async def counted(name: str, *args: Any, **more: Any) -> Any:
            rows = await fetch(name, *args, **more)
            self.asked[name] += 1
            if name == "run_progress":
                self.rows.append(sum(row["position"] is not None for row in rows))
                self.looks.release()
            return rows

        monkeypatch.setattr(self.brain.db, "fetch", counted)

    async def looked_twice(self) -> None:
        while not self.looks.locked():
            await self.looks.acquire()
        for _ in range(2):
            await asyncio.wait_for(self.looks.acquire(), 20)


@pytest.fixture
async def followed(brain, registered_at, monkeypatch):
    monkeypatch.setattr("brain_core.app.triggers.LOOK_EVERY", 0.01)
    monkeypatch.setattr("brain_core.app.control.LOOK_EVERY", 0.01)
    await registered_at("old", await triggers.clock(brain.db) - timedelta(0))
    run = await brain.triggers.fire_now("old", {"n": "1"})
    made = Followed(brain, UUID(run.id))
    await made.claim()
    made.watch(monkeypatch)
    return made


async def test_who_waits_for_a_run_reads_each_step_once(brain, followed):
    events: list[Any] = []
    following = asyncio.create_task(
        brain.triggers.follow(str(followed.run_id), watch=events.append, note=lambda text: None)
    )
    for attempt in range(1, STEPS + 1):
        await followed.looked_twice()
        await followed.end_step(attempt)
    run = await asyncio.wait_for(following, 20)
    assert (run.status, len(run.steps)) == ("success", STEPS)
    told = [(event.step.attempt, event.step.status) for event in events if isinstance(event, StepEnded)]
    assert told == [(1, "failed"), (2, "failed"), (3, "failed"), (4, "success")]
    assert sum(followed.rows) == STEPS
    assert followed.asked["run_progress"] > 2 * (STEPS - 1)
    # The whole of it at the beginning and at the end.
    assert (followed.asked["run_get"], followed.asked["run_steps"]) == (2, 2)


async def test_who_follows_what_a_run_says_reads_each_step_once(brain, followed):
    said: list[Any] = []

    async def follow() -> None:
        async for one in brain.control.logs(str(followed.run_id), follow=True):
            said.append((one.kind, one.step, one.text, one.status))

    following = asyncio.create_task(follow())
    for attempt in range(1, STEPS + 1):
        await followed.looked_twice()
        await followed.say(attempt)
        await followed.end_step(attempt)
    await asyncio.wait_for(following, 20)
    told = [(kind, text, status) for kind, _, text, status in said]
    assert [one for one in told if one[0] == "live"] == [("live", f"words {n}", None) for n in range(1, STEPS + 1)]
    assert [one[2] for one in told if one[0] == "step"] == ["failed"] * 3 + ["success"]
    assert {step for kind, step, _, _ in said if kind != "run"} == {"say"}
    assert told[-1][::2] == ("run", "success")
    assert sum(followed.rows) == STEPS
    # Its head alone: to find it, where it has said something, and at its end.
    assert followed.asked["run_steps"] == 0
    assert followed.asked["run_get"] <= 1 + STEPS + 1
