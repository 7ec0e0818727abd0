"""Recorder: the one writer of a process (design: "one writer a process takes what all concurrent runs have ready").

There is no timer: a statement takes what came while the last one ran, so a lone run waits for nobody and many runs
share a commit. Each caller waits for its own commit. Every statement can be repeated harmlessly, so a commit whose
reply got lost is sent again on a new connection (G17), and a write about a run that this worker no longer has is
refused (G12).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from brain_core.errors import ClaimLost, DatabaseError, DatabaseUnreachable
from brain_core.run import RunStatus, StepStatus
from brain_core.store.trouble import is_nobodys_fault
from brain_core.store.workers import WorkerIdentity

if TYPE_CHECKING:
    from brain_core.store.database import Database

MAX_BATCH = 500
MAX_BATCH_CHARS = 16 * 1024 * 1024
REPLY_TIMEOUT = 5.0
HELD_AT_MOST = 0.25
_CHARS_A_SECOND = 1024 * 1024
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
_BETWEEN_RECEIVERS = "\x1f"
_END_COLUMNS = 16


class RunStart(NamedTuple):
    """A run that begins now, with claim 1. `inputs`, `planned` and `trigger` are JSON texts."""

    run_id: UUID
    workflow: str
    file: str
    digest: str | None
    inputs: str
    planned: str
    trigger: str | None = None
    previous_run_id: UUID | None = None
    retry_of: UUID | None = None


class StepEnd(NamedTuple):
    """The result of one attempt. The ages are seconds before the moment it is handed over, by a monotonic clock.

    `output` and `details` are JSON texts; `output` is None when there is none.
    """

    run_id: UUID
    claim: int
    position: int
    name: str
    type: str
    attempt: int
    status: StepStatus
    output: str | None
    error: str | None
    log: str
    details: str
    age_started: float
    age_ended: float


class RunEnd(NamedTuple):
    """The end of a run, with the last attempt (None when no step ran since the last StepEnd) and who is to be told."""

    run_id: UUID
    claim: int
    status: RunStatus
    error: str | None
    last: StepEnd | None = None
    receivers: Sequence[str] = ()


_Row: TypeAlias = tuple[Any, ...]


class _Entry:
    """One write that waits for its commit."""

    __slots__ = ("chars", "done", "is_start", "row", "run_id", "since")

    def __init__(self, run_id: UUID, is_start: bool, row: _Row, chars: int, done: asyncio.Future[Any]) -> None:
        self.run_id = run_id
        self.chars = chars
        self.is_start = is_start
        self.row = row
        self.done = done
        self.since = monotonic()


class Recorder:
    """Writes for one worker; used from one event loop.

    Each call returns after its commit. It raises ClaimLost when the run is no longer this worker's (or the worker was
    given up), DatabaseUnreachable when the database stayed away for `patience` seconds (what was being written may
    then be there or not), and DatabaseError when the database refused this write; the writes of other runs go on.
    A caller that is cancelled while it waits leaves its write on its way. A statement that has no answer after
    `reply_timeout` seconds (more for a large one) is sent again on another connection.
    """

    def __init__(
        self, db: Database, worker: WorkerIdentity, *, patience: float = 30.0, reply_timeout: float = REPLY_TIMEOUT
    ) -> None:
        self.worker = worker
        self._db = db
        self._reply_timeout = reply_timeout
        self._patience = patience
        self._queue: list[_Entry] = []
        self._writer: asyncio.Task[None] | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._versions: dict[str, tuple[str, bool, str]] = {}
        self._identity = worker.row[1:]

    def add_version(
        self, digest: str, sources: Mapping[str, str], *, on_finished: bool = False, on_interrupt: str = "fail"
    ) -> None:
        """Keep the sources of a digest; they are sent with the first run that uses it.

        `on_finished` says that the workflow has one, so that whoever ends a run for a dead worker tells it too, and
        `on_interrupt` what that one makes of the run.
        """
        self._versions.setdefault(digest, (json.dumps(dict(sources)), on_finished, on_interrupt))

    async def start_run(self, start: RunStart) -> datetime:
        """Record a run as running and return its start by the database's clock."""
        row = (
            start.run_id,
            start.workflow,
            start.file,
            start.digest,
            start.inputs,
            start.planned,
            start.trigger,
            start.previous_run_id,
            start.retry_of,
        )
        started: datetime = await self._commit(start.run_id, True, row, len(start.inputs))
        return started

    async def finish_step(self, step: StepEnd) -> None:
        """Record the result of a step, and with it that the run is at the next one."""
        row = (step.run_id, step.claim, None, None, None, *_step_columns(step))
        await self._commit(step.run_id, False, row, _chars(step))

    async def finish_run(self, end: RunEnd) -> None:
        """Record the end of a run, its last step and its deliveries in one commit."""
        receivers = _BETWEEN_RECEIVERS.join(end.receivers) if end.receivers else None
        step, chars = (_NO_STEP, 0) if end.last is None else (_step_columns(end.last), _chars(end.last))
        row = (end.run_id, end.claim, end.status, end.error, receivers, *step)
        await self._commit(end.run_id, False, row, chars)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is handed over within this block is written after it, or after HELD_AT_MOST seconds."""
        timer = asyncio.get_running_loop().call_later(HELD_AT_MOST, self._free.set)
        self._free.clear()
        try:
            yield
        finally:
            timer.cancel()
            self._free.set()

    async def drain(self) -> None:
        """Return when everything that was handed over has its answer."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def _commit(self, run_id: UUID, is_start: bool, row: _Row, chars: int) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        entry = _Entry(run_id, is_start, row, chars, loop.create_future())
        self._queue.append(entry)
        if self._writer is None:
            self._writer = loop.create_task(self._write_all(), name="brain-recorder")
        return entry.done

    async def _write_all(self) -> None:
        try:
            while self._queue:
                await self._free.wait()
                await self._write(self._take())
        finally:
            self._writer = None

    def _take(self) -> list[_Entry]:
        """Take what is ready, at most one write of each run: two in one statement would not see each other."""
        batch: dict[UUID, _Entry] = {}
        left: list[_Entry] = []
        chars = 0
        for entry in self._queue:
            if len(batch) < MAX_BATCH and chars < MAX_BATCH_CHARS and entry.run_id not in batch:
                batch[entry.run_id] = entry
                chars += entry.chars
            else:
                left.append(entry)
        self._queue = left
        return list(batch.values())

    async def _write(self, batch: list[_Entry]) -> None:
        """Write a batch until each of its entries has its answer; one bad entry stays one (G18)."""
        gives_up: float | None = None
        pause = FIRST_PAUSE
        while True:
            try:
                await self._send(batch)
                return
            except DatabaseUnreachable as error:
                now = monotonic()
                gives_up = now + self._patience if gives_up is None else gives_up
                if now + pause > gives_up:
                    _fail(batch, error)
                    return
            except DatabaseError as error:
                if not is_nobodys_fault(error):
                    if len(batch) == 1:
                        _fail(batch, error)
                        return
                    half = len(batch) // 2
                    await self._write(batch[:half])
                    batch = batch[half:]
                    continue
            except asyncio.CancelledError:
                for entry in batch:
                    entry.done.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - said in the record, and never more than one entry's trouble
                # A bug, but the callers must not take it for their own cancellation.
                for entry in batch:
                    if not entry.done.done():
                        entry.done.set_exception(error)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _send(self, batch: list[_Entry]) -> None:
        starts = [entry.row for entry in batch if entry.is_start]
        ends = [entry.row for entry in batch if not entry.is_start]
        timeout = self._reply_timeout + sum(entry.chars for entry in batch) / _CHARS_A_SECOND
        start_columns: Any = list(zip(*starts, strict=True))
        digests: list[str] = []
        if starts and self._versions:
            digests = [digest for digest in set(start_columns[3]) if digest in self._versions]
        if ends:
            end_columns: Any = list(zip(*ends, strict=True))
            # The ages were true when the entries came; they have waited since.
            now = monotonic()
            waited = [now - entry.since for entry in batch if not entry.is_start]
            end_columns[14] = [age + more for age, more in zip(end_columns[14], waited, strict=True)]
            end_columns[15] = [age + more for age, more in zip(end_columns[15], waited, strict=True)]
        else:
            end_columns = _NO_ENDS
        if starts:
            sources = [self._versions[digest][0] for digest in digests]
            hooked = [self._versions[digest][1] for digest in digests]
            interrupts = [self._versions[digest][2] for digest in digests]
            row = (self.worker.id, *end_columns, *self._identity, digests, sources, *start_columns, hooked, interrupts)
            rows = await self._db.fetch("record", *row, timeout=timeout)
        else:
            rows = await self._db.fetch("record_changes", self.worker.id, *end_columns, timeout=timeout)
        started_at, started, changed = rows[0]
        if started != len(starts) or changed != len(ends):
            await self._settle_one_by_one(batch)
        else:
            for entry in batch:
                if not entry.done.done():
                    entry.done.set_result(started_at if entry.is_start else None)
        for digest in digests:
            self._versions.pop(digest, None)

    async def _settle_one_by_one(self, batch: list[_Entry]) -> None:
        """Something was not written: either it was there before (a lost reply), or the run is no longer ours."""
        keys = [
            (entry.run_id, 1, None, None, None) if entry.is_start else (*entry.row[:3], entry.row[5], entry.row[6])
            for entry in batch
        ]
        rows = await self._db.fetch("recorded", self.worker.id, *zip(*keys, strict=True), timeout=self._reply_timeout)
        there = {row["ordinal"]: row["started_at"] for row in rows}
        for ordinal, entry in enumerate(batch, 1):
            if entry.done.done():
                continue
            if ordinal in there:
                entry.done.set_result(there[ordinal] if entry.is_start else None)
            else:
                entry.done.set_exception(ClaimLost(_lost(entry)))


def _step_columns(step: StepEnd) -> _Row:
    return (
        step.position,
        step.attempt,
        step.name,
        step.type,
        step.status,
        step.output,
        step.error,
        step.log,
        step.details,
        step.age_started,
        step.age_ended,
    )


def _chars(step: StepEnd) -> int:
    return len(step.output or "") + len(step.log)


_NO_STEP: _Row = (None, None, None, None, None, None, None, None, None, 0.0, 0.0)
_NO_ENDS: Any = [()] * _END_COLUMNS


def _lost(entry: _Entry) -> str:
    short = str(entry.run_id)[:8]
    if entry.is_start:
        return f"run {short} was not started: this worker was given up by another process, start `brain` again"
    return f"run {short} was taken over by another process; its result here was not recorded, see `brain show {short}`"


def _fail(batch: list[_Entry], error: DatabaseError) -> None:
    for entry in batch:
        if not entry.done.done():
            entry.done.set_exception(type(error)(str(error)))
