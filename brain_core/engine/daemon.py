"""The daemon: wraps the tick in waking, sleeping, signals and a worker; dumb on purpose.

It wakes at the next due instant, at a notification or with its beat, whichever comes first. The beat is the truth
underneath: one statement that gives a sign of life and looks for what is due, queued, to be cancelled or left behind.
Instants are judged by the database's clock alone (G5); this process only measures how long to sleep.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from brain_core.engine.ahead import Ahead
from brain_core.engine.beats import Beats
from brain_core.engine.draining import Stop, drain
from brain_core.engine.identity import boot_seconds
from brain_core.engine.sweep import Watcher, worker_identity
from brain_core.engine.telling import tell
from brain_core.engine.tick import Ticking, daemon_tick
from brain_core.engine.upkeep import Upkeep
from brain_core.engine.waiting import BackOff, unless
from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseError
from brain_core.store import daemon as store
from brain_core.store import fires
from brain_core.store.daemon import Look
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity

logger = logging.getLogger("brain.daemon")

LISTEN_AGAIN = 5.0
"""Seconds before a lost line for notifications is made anew."""
TRY_AGAIN = 1.0
"""Seconds before a cycle that failed is tried again."""
BETWEEN_LOOKS = 0.05
"""Seconds between two looks for the sake of notifications, which may come by the thousand; claims do not wait."""
HELD_AGAIN = 0.05
"""Seconds before a trigger is looked at again that somebody else had locked; twice as long each time, up to a beat."""


class _Seen(NamedTuple):
    """What a beat has seen: at which monotonic time, and between which times of the boot clock."""

    look: Look
    at: float
    asked: float
    answered: float


class Beside(Protocol):
    """What runs beside the worker and is stopped together with it."""

    async def stop(self, grace: float | None) -> None: ...


class Daemon:
    """Fires what is due and runs what is queued until it is told to stop.

    `run` returns after a drain; `stop` begins it: nothing new starts, what runs finishes, bounded by `grace` seconds
    (None for no bound), and what is left then is recorded as interrupted (G15). `stop` again ends what is left at once.
    `beside` is stopped with it. One of the kind `serve` counts for nobody as one that fires what is due.
    """

    def __init__(
        self,
        brain: Ticking,
        new_worker: Callable[[WorkerIdentity], Worker],
        upkeep: Upkeep,
        *,
        beat: float,
        lease: float,
        grace: float | None = None,
        beside: Beside | None = None,
        kind: Literal["daemon", "serve"] = "daemon",
    ) -> None:
        self._brain = brain
        self._beside = beside
        self._kind = kind
        self._new_worker = new_worker
        self._upkeep = upkeep
        self._beat_every = beat
        self._lease = lease
        self._grace = grace
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._given_up = asyncio.Event()
        self._seen: _Seen | None = None
        self._watcher = Watcher(gap=1.5 * beat)
        self._held = BackOff(HELD_AGAIN, beat)
        self._ticked = time.monotonic()
        self._looked = 0.0
        self._hurry = False
        self._ahead = Ahead(brain)
        self._problems: Mapping[UUID, str] = {}
        self._away = False
        self.worker = new_worker(worker_identity(kind, lease))

    def stop(self) -> None:
        """Drain and come back; the second time, end what is left at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()
        self._awake.set()

    async def run(self) -> None:
        """Be a daemon until `stop`. A database that is away is waited for."""
        listening = asyncio.create_task(self._listen(), name="brain-listen")
        beats = self._start_beats()
        logger.info("started", extra={"worker": str(self.worker.identity.id)})
        try:
            while not self._stopping.is_set():
                on_time = not self._awake.is_set() and self._ahead.is_time
                self._awake.clear()
                # What it is about to do is done by another daemon, or by this one's successor.
                sleep = await unless(self._stopping, self._cycle_or_wait(on_time))
                if self._given_up.is_set():
                    beats.stop()
                    await self._be_born_again()
                    beats = self._start_beats()
                elif sleep is not None and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._awake.wait(), sleep)
            heeding = asyncio.create_task(self._heed(), name="brain-heed")
            stop = Stop(self._at_once, self._given_up, self._grace)
            # First of all, and while the runs go on: who waits for one of them may get its answer.
            stopping = asyncio.create_task(self._stop_beside(), name="brain-services")
            await drain(self._brain.db, self.worker, list(self._brain.receivers), stop)
            await stopping
            heeding.cancel()
            logger.info("stopped")
        finally:
            listening.cancel()
            beats.stop()
            await self._upkeep.close()
            await self.worker.let_go()

    async def _stop_beside(self) -> None:
        if self._beside is not None:
            await unless(self._at_once, self._beside.stop(self._grace))

    def _start_beats(self) -> Beats:
        worker = self.worker
        worker.start()
        beats = Beats(
            self._brain.db,
            lambda db: self._beat(db, worker),
            interval=self._beat_every,
            limit=self._lease,
            on_beat=lambda seen: self._on_beat(seen, worker),
        )
        beats.start()
        return beats

    async def _beat(self, db: Database, worker: Worker) -> _Seen:
        asked, began = boot_seconds(), time.monotonic()
        age = began - self._ticked
        types = list(self._brain.trigger_types)
        look = await store.beat(db, worker.identity, worker.concurrency, worker.in_hand, age, types)
        return _Seen(look, (began + time.monotonic()) / 2, asked, boot_seconds())

    def _on_beat(self, seen: _Seen, worker: Worker) -> None:
        # The last beat of a worker that was given up says nothing about the one that we are now.
        if worker is self.worker:
            self._seen = seen
            self._awake.set()

    def _on_notify(self) -> None:
        # What a beat has seen before may be older than what this tells of.
        self._seen = None
        self.worker.wake()
        if not self._hurry:
            self._hurry = True
            wait = self._looked + BETWEEN_LOOKS - time.monotonic()
            asyncio.get_running_loop().call_later(max(0.0, wait), self._awake.set)

    async def _look(self) -> tuple[Look, float]:
        """Return what there is to do, and when that was seen. Cancellations are passed on here."""
        seen, self._seen, self._hurry, self._looked = self._seen, None, False, time.monotonic()
        look, at, asked, answered = seen or await self._beat(self._brain.db, self.worker)
        self._watcher.looked(asked, answered)
        if not look.alive:
            self._given_up.set()
        for run_id, reason in look.cancels.items():
            self.worker.cancel(run_id, reason)
        return look, at

    async def _cycle_or_wait(self, on_time: bool) -> float:
        """Do what there is to do; return how long to sleep."""
        try:
            sleep = await (self._fire_on_time() if on_time else self._cycle())
        except DatabaseError as error:
            self._watcher.lost()
            if not self._away:
                logger.error("the database is away: %s", error)
            self._away = True
            return min(TRY_AGAIN, self._beat_every)
        except Exception:
            logger.exception("a bug ended a cycle; the next one comes in %g s", TRY_AGAIN)
            return TRY_AGAIN
        if self._away:
            logger.info("the database is back")
        self._away = False
        self._ticked = time.monotonic()
        return sleep

    async def _cycle(self) -> float:
        look, at = await self._look()
        if not look.alive:
            return 0.0
        now, next_due = look.now, look.next_due
        due = next_due is not None and next_due <= now
        if look.others or due:
            me = self.worker.identity.id
            report = await daemon_tick(self._brain, now, me=me, watcher=self._watcher, look=look, worker=self.worker)
            self._problems = tell(report, self._problems)
            if report.fired:
                self._held.reset()
        else:
            self._watcher.silent(())
        self.worker.look_again(queued=look.queued)
        self._upkeep.wake(self.worker.identity, deliver=look.undelivered)
        if due:
            return await self._until_due()
        return await self._until(now, next_due, at)

    async def _fire_on_time(self) -> float:
        """Fire what was decided before; what else there is to do comes with the next beat or notification."""
        report = await self._ahead.fire(self.worker)
        if report is None:
            return 0.0
        # The runs begin first: to tell of a thousand fires takes longer than to send them to their runner.
        await asyncio.sleep(0)
        if report.fired:
            self._held.reset()
        report.problems.update(self._problems)
        self._problems = tell(report, self._problems)
        return await self._until_due()

    async def _until_due(self) -> float:
        """Look when something is due next; return how long to sleep."""
        types = list(self._brain.trigger_types)
        asked = time.monotonic()
        now, next_due = await fires.next_due(self._brain.db, types, list(self._problems))
        if next_due is not None and next_due <= now:
            # Held by another daemon at this moment, or due since: not at once, or two of them would spin.
            return self._held.pause(next_due)
        self._held.reset()
        return await self._until(now, next_due, (asked + time.monotonic()) / 2)

    async def _until(self, now: datetime, next_due: datetime | None, at: float) -> float:
        """Return how long to sleep, when `next_due` and the clock were seen at `at`."""
        # The thread that beats wakes us; should it be late, we beat ourselves.
        longest = 2 * self._beat_every
        if next_due is None:
            return longest
        seconds = max(0.0, (next_due - now).total_seconds() - (time.monotonic() - at))
        if next_due <= now:
            return seconds
        return min(longest, await self._ahead.prepare(next_due, seconds, self._problems))

    async def _listen(self) -> None:
        while True:
            with suppress(DatabaseError):
                await store.listen(self._brain.db, self._on_notify)
            await asyncio.sleep(LISTEN_AGAIN)

    async def _be_born_again(self) -> None:
        """Others have taken this worker for dead: let its runs go (they are no longer ours) and be a new one."""
        logger.warning("this daemon was given up by another one; its runs are let go, and it goes on as a new worker")
        await unless(self._at_once, self.worker.let_go())
        self._seen = None
        self._given_up.clear()
        self._watcher.lost()
        self.worker = self._new_worker(worker_identity(self._kind, self._lease))

    async def _heed(self) -> None:
        """While it drains: hear of cancellations, and of being given up."""
        while True:
            self._awake.clear()
            with suppress(DatabaseError):
                await self._look()
            await self._awake.wait()
