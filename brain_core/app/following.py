"""Following a run from outside: its states, its steps and what it says, in order, from any point on."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from brain_core.errors import UsageError
from brain_core.run import FINAL, Run, StepRun
from brain_core.store import live, runs

if TYPE_CHECKING:
    from brain_core.store.database import Database

LOOK_EVERY = 0.25
"""Seconds between two looks at a run."""
LIVE_BATCH = 500
_ID = re.compile(r"([0-9]{1,18})\.(-1|[0-9]{1,9})\.([0-9]{1,9})\.([a-z]{0,20})")


class RunEvent(NamedTuple):
    """Something that became of a run. `id` is its place: who goes on after it misses nothing and hears nothing twice.

    `state`: the run, without its steps, in a state that differs from the last one told. `step`: an attempt that has
    ended. `live`: text of the step called `step_name`, or `cut` when the rest of what the run says is not kept.
    """

    id: str
    kind: Literal["state", "step", "live", "cut"]
    run: Run | None = None
    step: StepRun | None = None
    step_name: str = ""
    text: str = ""


class _Place(NamedTuple):
    """How far somebody has been told: live output, attempts (position and attempt), and the run's state."""

    seq: int
    position: int
    attempt: int
    status: str

    @property
    def id(self) -> str:
        return ".".join(map(str, self))

    def told(self, step: StepRun) -> _Place:
        return self._replace(position=step.position, attempt=step.attempt)


def follow(db: Database, run_id: UUID, after: str | None) -> AsyncIterator[RunEvent]:
    """Return the events of a run, as `Brain.events` says; what is no id is said before the first is asked for."""
    return _follow(db, run_id, _Place(0, -1, 0, "") if after is None else _read(after))


async def _follow(db: Database, run_id: UUID, place: _Place) -> AsyncIterator[RunEvent]:
    while True:
        # The steps first: what was said before a step's end is then read with it.
        status, steps = await runs.progress(db, run_id, (place.position, place.attempt))
        rows: list[live.Event] = []
        while batch := await live.read(db, run_id, rows[-1].seq if rows else place.seq, LIVE_BATCH):
            rows += batch
        over = status in FINAL or status == "parked"
        head = await runs.head(db, run_id) if rows or over or status != place.status else None
        if head is not None and head.status != status:
            continue  # it has just changed: the next look sees all of it
        if head is not None and not over and status != place.status:
            place = place._replace(status=status)
            yield RunEvent(place.id, "state", run=head)
        for event in _in_order(place, head, rows, steps):
            place = _read(event.id)
            yield event
        if head is not None and over:
            if status != place.status:
                yield RunEvent(place._replace(status=status).id, "state", run=head)
            return
        await asyncio.sleep(LOOK_EVERY)


def _in_order(
    place: _Place, head: Run | None, rows: Sequence[live.Event], steps: Sequence[StepRun]
) -> Iterator[RunEvent]:
    """Yield what the steps have said, each before its end."""
    left = deque(rows)
    for step in steps:
        while left and (left[0].position or 0) <= step.position:
            row = left.popleft()
            place = place._replace(seq=row.seq)
            yield _said(place, head, row)
        place = place.told(step)
        yield RunEvent(place.id, "step", step=step, step_name=step.name)
    for row in left:
        place = place._replace(seq=row.seq)
        yield _said(place, head, row)


def _said(place: _Place, head: Run | None, row: live.Event) -> RunEvent:
    planned = () if head is None else head.planned
    name = planned[row.position or 0].name if (row.position or 0) < len(planned) else ""
    return RunEvent(place.id, row.kind, step_name=name, text=row.text)


def _read(after: str) -> _Place:
    match = _ID.fullmatch(after)
    if match is None:
        raise UsageError(f"'{after[:80]}' is no id of an event; give the one that the last event came with")
    return _Place(int(match[1]), int(match[2]), int(match[3]), match[4])
