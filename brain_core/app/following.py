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
AT_ONCE = 256 * 1024
"""Bytes of outputs and logs after which further attempts are read later."""
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


def follow(db: Database, run_id: UUID, after: str | None) -> AsyncIterator[RunEvent]:
    """Return the events of a run, as `Brain.events` says; what is no id is said before the first is asked for."""
    return _follow(db, run_id, _Place(0, -1, 0, "") if after is None else _read(after))


async def _follow(db: Database, run_id: UUID, place: _Place) -> AsyncIterator[RunEvent]:
    while True:
        told = (place.position, place.attempt)
        status, steps, said, more = await runs.progress(db, run_id, told, most=AT_ONCE)
        # No more than was said at that moment: what comes after a step's end is not told before it.
        rows = await live.between(db, run_id, place.seq, said)
        over = status in FINAL or status == "parked"
        # Of all that waits to be told only so much is held: many may follow a large run, and read slowly.
        head = await runs.head(db, run_id) if rows or over or status != place.status else None
        if head is not None and head.status != status:
            continue  # it has just changed: the next look sees all of it
        if head is not None and not over and status != place.status:
            place = place._replace(status=status)
            yield RunEvent(place.id, "state", run=head)
        for one in in_order(rows, steps, more=more):
            if isinstance(one, StepRun):
                place = place._replace(position=one.position, attempt=one.attempt)
                yield RunEvent(place.id, "step", step=one, step_name=one.name)
            else:
                place = place._replace(seq=one.seq)
                yield _said(place, head, one)
        if more:
            continue
        if head is not None and over:
            if status != place.status:
                yield RunEvent(place._replace(status=status).id, "state", run=head)
            return
        await asyncio.sleep(LOOK_EVERY)


def in_order(
    rows: Sequence[live.Event], steps: Sequence[StepRun], *, more: bool = False
) -> Iterator[live.Event | StepRun]:
    """Yield what the attempts of steps have said, each before its end; with `more` nothing of those to come."""
    left = deque(rows)
    for step in steps:
        while left and _is_before_end(left[0], step):
            yield left.popleft()
        yield step
    if not more:
        yield from left


def _is_before_end(row: live.Event, step: StepRun) -> bool:
    position = row.position or 0
    if position == step.position and step.status == "interrupted" and step.ended_at is not None:
        # The same step has begun again after it.
        return row.at <= step.ended_at
    return position <= step.position


def _said(place: _Place, head: Run | None, row: live.Event) -> RunEvent:
    planned = () if head is None else head.planned
    name = planned[row.position or 0].name if (row.position or 0) < len(planned) else ""
    return RunEvent(place.id, row.kind, step_name=name, text=row.text)


def _read(after: str) -> _Place:
    match = _ID.fullmatch(after)
    if match is None:
        raise UsageError(f"'{after[:80]}' is no id of an event; give the one that the last event came with")
    return _Place(int(match[1]), int(match[2]), int(match[3]), match[4])
