"""The daemon: wraps the tick in waking, sleeping, signals and a worker; dumb on purpose.

It wakes at the next due instant, at a notification or with its beat, whichever comes first. The beat is the truth
underneath: one statement that gives a sign of life and looks for what is due, queued, to be cancelled or left behind.
Instants are judged by the database's clock alone (G5); this process only measures how long to sleep.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

from brain_core.engine.beats import Beats
from brain_core.engine.deliver import Delivery
from brain_core.engine.sweep import worker_identity
from brain_core.engine.tick import TickReport, daemon_tick, fire_due, resume_paused
from brain_core.engine.worker import Worker
from brain_core.errors import DatabaseError
from brain_core.store import daemon as store
from brain_core.store import fires, workers
from brain_core.store.daemon import Look
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity
from brain_core.trigger import Trigger

logger = logging.getLogger("brain.daemon")

CANCELLED = "cancelled by `brain cancel`"
LISTEN_AGAIN = 5.0
"""Seconds before a lost line for notifications is made anew."""


class DaemonBrain(Protocol):
    """What a daemon needs of the brain."""

    @property
    def db(self) -> Database: ...
    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]: ...
    @property
    def receivers(self) -> Sequence[str]: ...
    @property
    def delivery(self) -> Delivery: ...


class Daemon:
    """Fires what is due and runs what is queued until it is told to stop.

    `run` returns after a drain; `stop` begins it: nothing new starts, what runs finishes, bounded by `grace` seconds
    (None for no bound), and what is left then is recorded as interrupted (G15). `stop` again ends what is left at once.
    """

    def __init__(
        self,
        brain: DaemonBrain,
        new_worker: Callable[[WorkerIdentity], Worker],
        *,
        beat: float,
        lease: float,
        grace: float | None = None,
    ) -> None:
        self._brain = brain
        self._new_worker = new_worker
        self._beat_every = beat
        self._lease = lease
        self._grace = grace
        self._awake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._seen: tuple[Look, float] | None = None
        self._given_up = False
        self._ticked = time.monotonic()
        self._problems: Mapping[UUID, str] = {}
        self._told: set[UUID] = set()
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
        try:
            while not self._stopping.is_set():
                self._awake.clear()
                sleep = await self._cycle_or_wait()
                if self._given_up:
                    beats.stop()
                    await self._be_born_again()
                    beats = self._start_beats()
                    continue
                await self._sleep(sleep)
            await self._drain()
        finally:
            listening.cancel()
            beats.stop()
            await self.worker.let_go()

    def _start_beats(self) -> Beats:
        self.worker.start()
        beats = Beats(self._brain.db, self._beat, interval=self._beat_every, limit=self._lease, on_beat=self._on_beat)
        beats.start()
        return beats

    async def _beat(self, db: Database) -> Look:
        worker = self.worker
        return await store.beat(
            db, worker.identity, worker.concurrency, worker.in_hand, time.monotonic() - self._ticked
        )

    def _on_beat(self, look: Look) -> None:
        self._seen = look, time.monotonic()
        self._awake.set()

    async def _cycle_or_wait(self) -> float | None:
        """Do what there is to do; return how long nothing is due (None: until something wakes us)."""
        try:
            sleep = await self._cycle()
        except DatabaseError as error:
            if not self._away:
                logger.error("the database is away: %s", error)
            self._away = True
            return min(1.0, self._beat_every)
        if self._away:
            logger.info("the database is back")
        self._away = False
        self._ticked = time.monotonic()
        return sleep

    async def _cycle(self) -> float | None:
        look, at = self._seen or (await self._beat(self._brain.db), time.monotonic())
        self._seen = None
        if not look.alive:
            self._given_up = True
            return 0.0
        for run_id in set(look.cancels) - self._told:
            self._told.add(run_id)
            self.worker.cancel(run_id, CANCELLED)
        now, next_due = look.now, look.next_due
        if look.others:
            self._say(await daemon_tick(self._brain, now, me=self.worker.identity.id))
        elif next_due is not None and next_due <= now:
            report = TickReport()
            await resume_paused(self._brain, now, report)
            await fire_due(self._brain, now, report)
            self._say(report)
        self.worker.look_again()
        self.worker.wake()
        if look.undelivered:
            for problem in await self._brain.delivery.deliver_left_behind(self.worker.identity):
                logger.warning("%s", problem)
        if next_due is not None and next_due <= now:
            (now, next_due), at = await fires.next_due(self._brain.db, list(self._problems)), time.monotonic()
        return None if next_due is None else max(0.0, (next_due - now).total_seconds() - (time.monotonic() - at))

    def _say(self, report: TickReport) -> None:
        for result in report.fired:
            logger.info(
                "%s", result.outcome, extra={"trigger": result.name, "due": result.due_at, "run": result.run_id}
            )
        for name in report.resumed:
            logger.info("resumed", extra={"trigger": name})
        for run_id in report.taken_over:
            logger.warning("taken over from a dead worker", extra={"run": run_id})
        for trigger_id, problem in report.problems.items():
            if self._problems.get(trigger_id) != problem:
                logger.error("%s", problem)
        self._problems = report.problems

    async def _sleep(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), seconds)

    async def _listen(self) -> None:
        while True:
            with suppress(DatabaseError):
                await store.listen(self._brain.db, self._awake.set)
            await asyncio.sleep(LISTEN_AGAIN)

    async def _be_born_again(self) -> None:
        """Others have taken this worker for dead: let its runs go (they are no longer ours) and be a new one."""
        logger.warning("this daemon was given up by another one; its runs are let go, and it goes on as a new worker")
        self._seen, self._given_up = None, False
        await self.worker.let_go()
        self._told.clear()
        self.worker = self._new_worker(worker_identity("daemon", self._lease))

    async def _drain(self) -> None:
        await self.worker.stop_claiming()
        if self.worker.in_hand:
            logger.info("stopping: waiting for %d runs", self.worker.in_hand)
        idle = asyncio.create_task(self.worker.idle())
        at_once = asyncio.create_task(self._at_once.wait())
        await asyncio.wait({idle, at_once}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        at_once.cancel()
        left = self.worker.in_hand
        await self.worker.let_go()
        idle.cancel()
        me = self.worker.identity.id
        with suppress(DatabaseError):
            if left:
                why = (
                    "the daemon was stopped at once"
                    if self._at_once.is_set()
                    else (f"the daemon was stopped, and its grace of {self._grace:g} s was over")
                )
                await workers.take_over(self._brain.db, [me], why, list(self._brain.receivers))
            else:
                await workers.stop(self._brain.db, me)
        logger.info("stopped")
