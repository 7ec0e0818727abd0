"""The daemon: wraps the tick in waking, sleeping, signals and a worker; dumb on purpose.

It wakes at the next due instant, at a notification or with its beat, whichever comes first. The beat is the truth
underneath: one statement that gives a sign of life and looks for what is due, queued, to be cancelled or left behind.
Instants are judged by the database's clock alone (G5); this process only measures how long to sleep.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from uuid import UUID

from brain_core.engine.beats import Beats
from brain_core.engine.sweep import Watcher, worker_identity
from brain_core.engine.tick import TickReport, daemon_tick
from brain_core.engine.upkeep import Upkeep
from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseError
from brain_core.store import daemon as store
from brain_core.store import workers
from brain_core.store.daemon import Look
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity
from brain_core.trigger import Trigger

logger = logging.getLogger("brain.daemon")

Answer = TypeVar("Answer")

LISTEN_AGAIN = 5.0
"""Seconds before a lost line for notifications is made anew."""
TRY_AGAIN = 1.0
"""Seconds before a cycle that failed is tried again."""
HELD_AGAIN = 0.05
"""Seconds before a trigger is looked at again that somebody else had locked."""
LAST_WORDS = 5.0
"""Seconds that the database has for the last writes of a daemon."""


class DaemonBrain(Protocol):
    """What a daemon needs of the brain."""

    @property
    def db(self) -> Database: ...
    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]: ...
    @property
    def receivers(self) -> Sequence[str]: ...


class Daemon:
    """Fires what is due and runs what is queued until it is told to stop.

    `run` returns after a drain; `stop` begins it: nothing new starts, what runs finishes, bounded by `grace` seconds
    (None for no bound), and what is left then is recorded as interrupted (G15). `stop` again ends what is left at once.
    """

    def __init__(
        self,
        brain: DaemonBrain,
        new_worker: Callable[[WorkerIdentity], Worker],
        upkeep: Upkeep,
        *,
        beat: float,
        lease: float,
        grace: float | None = None,
    ) -> None:
        self._brain = brain
        self._new_worker = new_worker
        self._upkeep = upkeep
        self._beat_every = beat
        self._lease = lease
        self._grace = grace
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._given_up = asyncio.Event()
        self._seen: tuple[Look, float] | None = None
        self._watcher = Watcher(gap=1.5 * beat)
        self._ticked = time.monotonic()
        self._problems: Mapping[UUID, str] = {}
        self._away = False
        self.worker = new_worker(worker_identity("daemon", lease))

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
                self._awake.clear()
                # What it is about to do is done by another daemon, or by this one's successor.
                sleep = await _unless(self._stopping, self._cycle_or_wait())
                if self._given_up.is_set():
                    beats.stop()
                    await self._be_born_again()
                    beats = self._start_beats()
                elif sleep is not None and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._awake.wait(), sleep)
            await self._drain()
        finally:
            listening.cancel()
            beats.stop()
            await self._upkeep.close()
            await self.worker.let_go()

    def _start_beats(self) -> Beats:
        self.worker.start()
        beats = Beats(self._brain.db, self._beat, interval=self._beat_every, limit=self._lease, on_beat=self._on_beat)
        beats.start()
        return beats

    async def _beat(self, db: Database) -> Look:
        worker = self.worker
        age = time.monotonic() - self._ticked
        types = list(self._brain.trigger_types)
        return await store.beat(db, worker.identity, worker.concurrency, worker.in_hand, age, types)

    def _on_beat(self, look: Look) -> None:
        self._seen = look, time.monotonic()
        self._awake.set()

    def _on_notify(self) -> None:
        # What a beat has seen before may be older than what this tells of.
        self._seen = None
        self.worker.wake()
        self._awake.set()

    async def _look(self) -> tuple[Look, float]:
        """Return what there is to do, and when that was seen. Cancellations are passed on here."""
        seen, self._seen = self._seen, None
        look, at = seen or (await self._beat(self._brain.db), time.monotonic())
        if not look.alive:
            self._given_up.set()
        for run_id, reason in look.cancels.items():
            self.worker.cancel(run_id, reason)
        return look, at

    async def _cycle_or_wait(self) -> float:
        """Do what there is to do; return how long to sleep."""
        try:
            sleep = await self._cycle()
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
        # The thread that beats wakes us; should it be late, we beat ourselves.
        longest = 2 * self._beat_every
        if not look.alive:
            return 0.0
        now, next_due = look.now, look.next_due
        due = next_due is not None and next_due <= now
        if look.others or due:
            me = self.worker.identity.id
            report = await daemon_tick(self._brain, now, me=me, watcher=self._watcher, look=look)
            self._say(report)
            if report.fired:
                self.worker.wake()
        else:
            self._watcher.silent(())
        self.worker.look_again(queued=look.queued)
        self._upkeep.wake(self.worker.identity, deliver=look.undelivered)
        if due:
            left_out = list(self._problems)
            (now, next_due), at = (
                await store.next_due(self._brain.db, list(self._brain.trigger_types), left_out),
                (time.monotonic()),
            )
            if next_due is not None and next_due <= now:
                # Held by another daemon at this moment, or due since: not at once, or two of them would spin.
                return HELD_AGAIN
        if next_due is None:
            return longest
        return min(longest, max(0.0, (next_due - now).total_seconds() - (time.monotonic() - at)))

    def _say(self, report: TickReport) -> None:
        for result in report.fired:
            logger.info(
                "%s", result.outcome, extra={"trigger": result.name, "due": result.due_at, "run": result.run_id}
            )
        for name in report.resumed:
            logger.info("resumed", extra={"trigger": name})
        for run in report.taken_over:
            facts = {"run": run.run_id, "workflow": run.workflow, "error": run.parked_reason}
            logger.warning("taken over from a dead worker, now %s", run.status, extra=facts)
        for trigger_id, problem in report.problems.items():
            if self._problems.get(trigger_id) != problem:
                logger.error("%s", problem)
        self._problems = report.problems

    async def _listen(self) -> None:
        while True:
            with suppress(DatabaseError):
                await store.listen(self._brain.db, self._on_notify)
            await asyncio.sleep(LISTEN_AGAIN)

    async def _be_born_again(self) -> None:
        """Others have taken this worker for dead: let its runs go (they are no longer ours) and be a new one."""
        logger.warning("this daemon was given up by another one; its runs are let go, and it goes on as a new worker")
        await _unless(self._at_once, self.worker.let_go())
        self._seen = None
        self._given_up.clear()
        self._watcher.lost()
        self.worker = self._new_worker(worker_identity("daemon", self._lease))

    async def _drain(self) -> None:
        """Let what runs finish, as long as there is grace; then end it and record it as interrupted (G15)."""
        if self.worker.in_hand:
            logger.info("stopping: waiting for %d runs", self.worker.in_hand)
        heeding = asyncio.create_task(self._heed())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._finish(), self._grace)
        heeding.cancel()
        left = self.worker.unfinished
        if self._at_once.is_set():
            why = "the daemon was stopped at once"
            await self.worker.let_go(at_once=True)
        else:
            why = f"the daemon was stopped, and its grace of {self._grace or 0:g} s was over"
            await _unless(self._at_once, self.worker.let_go())
            await self.worker.let_go(at_once=True)
        with suppress(DatabaseError, TimeoutError):
            await asyncio.wait_for(self._last_words(left, why), LAST_WORDS)
        logger.info("stopped")

    async def _finish(self) -> None:
        await _unless(self._at_once, _unless(self._given_up, self.worker.finish()))

    async def _heed(self) -> None:
        """While it drains: hear of cancellations, and of being given up."""
        while True:
            self._awake.clear()
            with suppress(DatabaseError):
                await self._look()
            await self._awake.wait()

    async def _last_words(self, left: int, why: str) -> None:
        me = self.worker.identity.id
        if left and not self._given_up.is_set():
            for run in await workers.settle(self._brain.db, [me], why, list(self._brain.receivers), died=False):
                logger.warning("interrupted, now %s", run.status, extra={"run": run.run_id, "workflow": run.workflow})
        else:
            await workers.stop(self._brain.db, me)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Answer]) -> Answer | None:
    """Do some work; when the event comes first, cancel it and return None once it has ended."""
    task = asyncio.ensure_future(work)
    coming = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, coming}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        coming.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
