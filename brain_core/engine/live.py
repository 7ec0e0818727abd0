"""Writes what steps say while they run, so that `brain logs -f` can read it from another process.

Texts are gathered and written every quarter of a second, all runs in one statement. What cannot be written in time is
dropped beyond a limit: live output is for watching, the record of a step is kept with its result.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from uuid import UUID

from brain_core.engine.events import Event, Live, StepStarted, Watch
from brain_core.errors import DatabaseError
from brain_core.store import live
from brain_core.store.database import Database
from brain_core.store.live import Line
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

logger = logging.getLogger("brain.live")

EVERY = 0.25
MAX_WAITING = 4 * 1024 * 1024
"""Characters that wait to be written; what comes beyond is dropped."""
MAX_LINE = 64 * 1024
PATIENCE = 2.0
"""Seconds for which the end of a step or a run waits for its live output to be written."""
FOR_EVER = float("inf")


class LiveWriter:
    """For one worker; used from one event loop. `close` writes what is left."""

    def __init__(self, db: Database, worker: UUID) -> None:
        self._db = db
        self._worker = worker
        self._waiting: list[Line] = []
        self._chars = 0
        self._numbers: dict[UUID, int] = {}
        self._writing: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._away = False

    def watch(self, run_id: UUID, claim: int) -> Watch:
        """Return a watcher that records what the steps of a run say."""
        position = 0

        def hear(event: Event) -> None:
            nonlocal position
            if isinstance(event, StepStarted):
                position = event.position
            elif isinstance(event, Live):
                self._add(run_id, claim, position, event.text)

        return hear

    def forget(self, run_id: UUID) -> None:
        """The run is over: nothing more comes."""
        self._numbers.pop(run_id, None)

    async def close(self) -> None:
        await self._write()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})

    @property
    def waiting(self) -> bool:
        """Whether there is something that is not written yet."""
        return bool(self._waiting) or self._one_at_a_time.locked()

    async def flush(self, run_id: UUID) -> None:
        """Write what a run has said: once it has ended its worker can add nothing (G12)."""
        async with self._one_at_a_time:
            if not any(line.run_id == run_id for line in self._waiting):
                return
        await self._write()

    def _add(self, run_id: UUID, claim: int, position: int, text: str) -> None:
        for start in range(0, len(text), MAX_LINE):
            piece = text[start : start + MAX_LINE]
            if self._chars + len(piece) > MAX_WAITING:
                return
            number = self._numbers[run_id] = self._numbers.get(run_id, 0) + 1
            last = self._waiting[-1] if self._waiting else None
            if last and last.run_id == run_id and last.position == position and len(last.text) + len(piece) < MAX_LINE:
                self._waiting[-1] = Line(run_id, claim, number, position, last.text + piece)
            else:
                self._waiting.append(Line(run_id, claim, number, position, piece))
            self._chars += len(piece)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_on(), name="brain-live")

    async def _write_on(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(EVERY)
                await self._write()
        finally:
            self._writing = None

    async def _write(self) -> None:
        async with self._one_at_a_time:
            lines, self._waiting, self._chars = self._waiting, [], 0
            try:
                await live.append(self._db, self._worker, lines)
            except DatabaseError as error:
                # Once, not with each try: a database may be away for hours.
                if not self._away:
                    logger.warning("live output is not written: %s", error)
                self._away = True
                return
            if self._away and lines:
                logger.info("live output is written again")
                self._away = False


class LiveFirst(Recorder):
    """A Recorder that waits for the database however long it is away, and for what a run has said before an end.

    Who follows a run hears what a step says before that step's end.
    """

    def __init__(self, db: Database, worker: WorkerIdentity, writer: LiveWriter) -> None:
        super().__init__(db, worker, patience=FOR_EVER)
        self._live = writer

    async def finish_step(self, step: StepEnd) -> None:
        await self._said(step.run_id)
        await super().finish_step(step)

    async def finish_run(self, end: RunEnd) -> None:
        await self._said(end.run_id)
        await super().finish_run(end)

    async def _said(self, run_id: UUID) -> None:
        if self._live.waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._live.flush(run_id), PATIENCE)
