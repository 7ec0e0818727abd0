"""Enqueuer: takes what comes in from outside as queued runs, many in one commit (G14).

As with the Recorder there is no timer: a statement takes what came while the last one ran, so a lone delivery waits for
nobody, and a thousand at once share a few commits. Each caller returns after its own commit. The statement reads the
triggers itself, so what was paused or unregistered a moment ago takes nothing more, and can be repeated: a run that is
there stays as it is (G17).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from brain_core.errors import DatabaseError, DatabaseUnreachable
from brain_core.store.trouble import is_nobodys_fault

if TYPE_CHECKING:
    from brain_core.store.database import Database

MAX_BATCH = 500
MAX_BATCH_CHARS = 16 * 1024 * 1024
REPLY_TIMEOUT = 5.0
PATIENCE = 3.0
"""Seconds for which a database that is away is tried: who delivers comes again, so it is told soon."""
_CHARS_A_SECOND = 1024 * 1024
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class Accepted(NamedTuple):
    """A delivery that is a run now. `repeated`: the run was there already, or somebody delivers it at this moment.

    After a lost reply what this very delivery has made may count as repeated.
    """

    run_id: UUID
    repeated: bool


class _Entry:
    """One run that waits for its commit, for whoever delivers it."""

    __slots__ = ("done", "text", "trigger_id")

    def __init__(self, trigger_id: UUID, text: str, done: asyncio.Future[bool | None]) -> None:
        self.trigger_id = trigger_id
        self.text = text
        self.done = done


class Enqueuer:
    """Queues runs of active triggers; used from one event loop.

    A caller that is cancelled while it waits leaves its run on its way. A statement without an answer after
    `reply_timeout` seconds (more for a large one) is sent again on another connection, for `patience` seconds in all.
    """

    def __init__(self, db: Database, *, patience: float = PATIENCE, reply_timeout: float = REPLY_TIMEOUT) -> None:
        self._db = db
        self._patience = patience
        self._reply_timeout = reply_timeout
        self._queue: dict[UUID, _Entry] = {}
        self._taken: dict[UUID, _Entry] = {}
        self._writer: asyncio.Task[None] | None = None

    async def enqueue(self, run_id: UUID, trigger_id: UUID, trigger: str) -> Accepted | None:
        """Queue a run of a trigger, `trigger` (JSON) being what has started it; None when it takes none (any more).

        DatabaseUnreachable when the database stayed away (the run may then be there or not), DatabaseError when it
        refused this run; those of others go on.
        """
        entry = self._queue.get(run_id) or self._taken.get(run_id)
        repeated = entry is not None
        if entry is None:
            loop = asyncio.get_running_loop()
            entry = self._queue[run_id] = _Entry(trigger_id, trigger, loop.create_future())
            if self._writer is None:
                self._writer = loop.create_task(self._write_all(), name="brain-enqueuer")
        made = await asyncio.shield(entry.done)
        return None if made is None else Accepted(run_id, repeated or not made)

    async def drain(self) -> None:
        """Return when everything that was handed over has its answer."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write_all(self) -> None:
        try:
            while self._queue:
                self._take()
                await self._write(dict(self._taken))
                self._taken.clear()
        finally:
            self._writer = None
            for entry in (*self._taken.values(), *self._queue.values()):
                entry.done.cancel()
            self._taken.clear()
            self._queue.clear()

    def _take(self) -> None:
        chars = 0
        for run_id, entry in list(self._queue.items())[:MAX_BATCH]:
            if chars >= MAX_BATCH_CHARS:
                break
            chars += len(entry.text)
            self._taken[run_id] = self._queue.pop(run_id)

    async def _write(self, batch: dict[UUID, _Entry]) -> None:
        """Write a batch until each of its entries has its answer; one bad entry stays one (G18)."""
        until = monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._send(batch)
                return
            except DatabaseUnreachable as error:
                if monotonic() + pause > until:
                    _fail(batch, error)
                    return
            except DatabaseError as error:
                again = is_nobodys_fault(error)
                if not again and len(batch) == 1:
                    _fail(batch, error)
                    return
                if not again:
                    half, entries = len(batch) // 2, list(batch.items())
                    await self._write(dict(entries[:half]))
                    batch = dict(entries[half:])
                    continue
            except Exception as error:  # noqa: BLE001 - a bug, which callers must not take for their own cancellation
                _fail(batch, error)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _send(self, batch: dict[UUID, _Entry]) -> None:
        entries = list(batch.values())
        texts = [entry.text for entry in entries]
        timeout = self._reply_timeout + sum(map(len, texts)) / _CHARS_A_SECOND
        triggers = [entry.trigger_id for entry in entries]
        rows = await self._db.fetch("queue_enqueue_many", list(batch), triggers, texts, timeout=timeout)
        made, active = set(rows[0]["made"]), set(rows[0]["active"])
        for run_id, entry in batch.items():
            entry.done.set_result(run_id in made if entry.trigger_id in active else None)


def _fail(batch: dict[UUID, _Entry], error: Exception) -> None:
    for entry in batch.values():
        entry.done.set_exception(type(error)(str(error)) if isinstance(error, DatabaseError) else error)
        # Whoever waited may be gone: then nobody asks.
        entry.done.exception()
