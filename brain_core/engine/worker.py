"""A daemon's worker: claims queued runs, carries each from its claim to its end, and lets go of them in good order.

It holds at most `concurrency` runs. A claim takes a batch; there is no timer: what came free while the last claim was
on its way is filled by the next one. Workflow code runs in runner processes, never here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from brain_core.engine.carrying import Carrier, InHand
from brain_core.engine.file_threads import FileThreads
from brain_core.errors import DatabaseError
from brain_core.store import queue
from brain_core.store.database import Database
from brain_core.store.fires import NOBODY, FireResult, Taker
from brain_core.store.queue import Claimed

logger = logging.getLogger("brain.worker")

CLAIM_BATCH = 500
LAST_WORDS = 2.0
"""Seconds that writes on their way have when a worker lets go."""


class Worker:
    """Runs what is queued, under one worker's identity. Used from one event loop.

    `start` begins to claim whenever `wake` was called. `finish` claims nothing more and returns when nothing is in hand
    any more; `let_go` ends what is in hand.
    """

    def __init__(self, db: Database, carrier: Carrier, *, concurrency: int, files: FileThreads | None = None) -> None:
        self.identity = carrier.identity
        self.concurrency = concurrency
        self._db = db
        self._carrier = carrier
        self._in_hand: dict[UUID, InHand] = {}
        self._abandoned: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None
        self._firing: asyncio.Task[list[FireResult]] | None = None
        # What one statement takes the next one would find as this worker's own, and nobody would know it yet.
        self._taking = asyncio.Lock()
        self._closing = False
        self._unsure = False
        # Whether more may be queued than the last claim has found: then each run that ends makes room for the next.
        self._queued = True
        self._files = files or FileThreads()
        self._absent: set[str] = set()
        self._looked_for: set[str] = set()

    @property
    def in_hand(self) -> int:
        """How many runs this worker has claimed and not yet ended."""
        return len(self._in_hand)

    @property
    def unfinished(self) -> int:
        """The same with those whose end could not be recorded."""
        return len(self._in_hand) + len(self._abandoned)

    @property
    def _room(self) -> int:
        return self.concurrency - len(self._in_hand)

    def start(self) -> None:
        self._claiming = asyncio.create_task(self._claim_on(), name="brain-claim")

    def wake(self) -> None:
        """Say that something may be queued."""
        self._queued = True
        self._wake.set()

    def look_again(self, *, queued: bool) -> None:
        """Claim, if there is something queued or the last claim's answer was lost."""
        # Files that were on other hosts alone may have come here.
        for file in self._absent - self._looked_for:
            self._looked_for.add(file)
            self._files.ask(file, partial(_is_there, file)).add_done_callback(partial(self._looked, file))
        self._queued = queued
        if queued or self._unsure:
            self._wake.set()

    def _looked(self, file: str, there: asyncio.Future[bool]) -> None:
        self._looked_for.discard(file)
        if there.result():
            self._absent.discard(file)
            self.wake()

    def starts_first(self) -> AbstractContextManager[None]:
        """While a thousand runs are about to begin, the results of the first of them wait, for the others are due."""
        return self._carrier.results_wait()

    async def fire(self, fire: Callable[[Taker], Awaitable[list[FireResult]]], asked: int) -> list[FireResult]:
        """Fire `asked` triggers by `fire`; their runs begin here at once, as far as there is room, without a claim.

        While a claim is on its way it is not waited for: then the runs are queued. A caller that is cancelled leaves
        the statement on its way, and what it takes is begun, or put back when this worker is closing.
        """
        if self._closing or self._taking.locked() or self._room <= 0:
            results = await fire(NOBODY)
            self.wake()
            return results
        firing = self._firing = asyncio.create_task(self._fire(fire, asked), name="brain-fire")
        try:
            return await asyncio.shield(firing)
        except asyncio.CancelledError:
            firing.add_done_callback(_look_at)
            raise

    async def _fire(self, fire: Callable[[Taker], Awaitable[list[FireResult]]], asked: int) -> list[FireResult]:
        async with self._taking:
            try:
                # A claim may have come between and taken the room.
                results = await fire(Taker(self.identity.id, self.identity.host, max(0, self._room)))
                # Counted by trigger, which can have several outcomes. Those without any were left to others, or the
                # reply got lost and what was taken is not among the results.
                self._unsure |= len({result.trigger_id for result in results}) < asked
                taken = [result.taken for result in results if result.taken is not None]
                if self._closing:
                    await self._release(taken)
                    return results
            except DatabaseError:
                self._unsure = True
                raise
            for one in taken:
                self._begin(self._held(one))
        if self._unsure or any(result.taken is None for result in results):
            self.wake()
        return results

    def cancel(self, run_id: UUID, reason: str) -> None:
        """End a run as cancelled, when it is in hand; said again of the same run it changes nothing."""
        if hand := self._in_hand.get(run_id):
            self._carrier.cancel(hand, reason)

    async def finish(self) -> None:
        """Claim nothing more, and return when nothing is in hand any more."""
        self._closing = True
        self._wake.set()
        if self._claiming is not None:
            # Not cancelled: what a claim on its way has got has to go back.
            await asyncio.wait({self._claiming})
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def let_go(self, *, at_once: bool = False) -> None:
        """End what is in hand without recording it: somebody else will, or has (G12, G15).

        Steps get the time that any cancelled step gets; `at_once` ends their processes instead.
        """
        self._closing = True
        ending = [*self._tasks, *(task for task in (self._firing, self._claiming) if task is not None)]
        for task in ending:
            task.cancel()
        closing = asyncio.ensure_future(self._carrier.runners.close()) if at_once else None
        try:
            if ending:
                await asyncio.wait(ending)
        finally:
            if closing is not None:
                await closing
        # Of runs whose steps have finished the result may still be on its way.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._carrier.settled(), LAST_WORDS)

    async def _claim_on(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._claim()
            except DatabaseError as error:
                # The reply may be what was lost: the next claim finds what is ours already, too.
                self._unsure = True
                logger.warning("claim failed: %s", error)
            except Exception:
                self._unsure = True
                logger.exception("a bug ended a claim")
        if self._firing is not None:
            await asyncio.wait({self._firing})
        if self._unsure:
            with suppress(DatabaseError):
                await self._release(await self._claimed(0))

    async def _claim(self) -> None:
        while not self._closing and self._room > 0:
            async with self._taking:
                # What is fired may have taken the room meanwhile.
                limit = min(max(0, self._room), CLAIM_BATCH)
                claimed = await self._claimed(limit)
                self._unsure = False
                if self._closing:
                    await self._release(claimed)
                    return
                strangers: dict[str, list[InHand]] = {}
                for one in claimed:
                    hand = self._held(one)
                    if one.host in ("", self.identity.host):
                        self._begin(hand)
                    else:
                        strangers.setdefault(one.file, []).append(hand)
                for file, hands in strangers.items():
                    self._start(self._place(file, hands), f"brain-place-{file}")
            if len(claimed) < limit:
                return

    async def _claimed(self, limit: int) -> list[Claimed]:
        known = [*self._in_hand, *self._abandoned]
        return await queue.claim(self._db, self.identity, limit, sorted(self._absent), known=known)

    async def _release(self, claimed: Sequence[Claimed]) -> None:
        if claimed:
            await queue.release(self._db, self.identity.id, [(one.run_id, one.claim) for one in claimed])

    async def _place(self, file: str, hands: list[InHand]) -> None:
        """Begin runs that were queued for other hosts when their file is here, too, else leave them to those hosts.

        Where none of those lives any more the lack is the answer: a missing file is a failed run.
        """
        left = hands
        try:
            there = await self._is_here(file, hands)
            if not there and not self._closing:
                living = await queue.living_hosts(self._db, {hand.claimed.host for hand in hands})
                left = [hand for hand in hands if hand.claimed.host in living and hand.cancelled is None]
                if left:
                    self._absent.add(file)
            elif not self._closing:
                left = []
            await self._release([hand.claimed for hand in left])
        except DatabaseError as error:
            self._unsure = True
            logger.warning("claim failed: %s", error)
        finally:
            for hand in left:
                del self._in_hand[hand.claimed.run_id]
            self.wake()
        for hand in hands:
            if hand not in left:
                self._begin(hand)

    async def _is_here(self, file: str, hands: list[InHand]) -> bool:
        """Look for a file; runs that are cancelled meanwhile are begun, so that they end, and wait no longer."""
        there = self._files.ask(file, partial(_is_there, file))
        for hand in hands:
            hand.loading = asyncio.get_running_loop().create_future()
        while not there.done():
            waiting = {hand.loading for hand in hands if hand.loading is not None}
            await asyncio.wait({there, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            for hand in [hand for hand in hands if hand.cancelled is not None]:
                hands.remove(hand)
                self._begin(hand)
        return there.result()

    def _held(self, claimed: Claimed) -> InHand:
        hand = self._in_hand[claimed.run_id] = InHand(claimed)
        return hand

    def _begin(self, hand: InHand) -> None:
        self._start(self._carry(hand), f"brain-run-{hand.claimed.run_id}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, hand: InHand) -> None:
        try:
            await self._carrier.carry(hand)
        finally:
            del self._in_hand[hand.claimed.run_id]
            if hand.abandoned:
                self._abandoned.add(hand.claimed.run_id)
            if self._queued:
                self._wake.set()


def _look_at(task: asyncio.Task[list[FireResult]]) -> None:
    """Of what nobody waits for any more an error is nobody's; the next claim finds what there is."""
    if not task.cancelled():
        task.exception()


def _is_there(file: str) -> bool:
    try:
        return Path(file).exists()
    except (OSError, ValueError):
        return False
