"""A daemon's worker: claims queued runs, carries each from its claim to its end, and lets go of them in good order.

It holds at most `concurrency` runs. A claim takes a batch; there is no timer: what came free while the last claim was
on its way is filled by the next one. Workflow code runs in runner processes, never here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from brain_core.engine.carrying import Carrier, InHand
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

    def __init__(self, db: Database, carrier: Carrier, *, concurrency: int) -> None:
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
        self._absent: set[str] = set()

    @property
    def in_hand(self) -> int:
        """How many runs this worker has claimed and not yet ended."""
        return len(self._in_hand)

    @property
    def unfinished(self) -> int:
        """The same with those whose end could not be recorded."""
        return len(self._in_hand) + len(self._abandoned)

    def start(self) -> None:
        self._claiming = asyncio.create_task(self._claim_on(), name="brain-claim")

    def wake(self) -> None:
        """Say that something may be queued."""
        self._wake.set()

    def look_again(self, *, queued: bool) -> None:
        """Claim, if there is something queued or the last claim's answer was lost."""
        # Files that were on other hosts alone may have come here.
        self._absent = {file for file in self._absent if not _is_there(file)}
        if queued or self._unsure:
            self._wake.set()

    async def fire(self, fire: Callable[[Taker], Awaitable[list[FireResult]]], asked: int) -> list[FireResult]:
        """Fire `asked` triggers by `fire`; their runs begin here at once, as far as there is room, without a claim.

        While a claim is on its way it is not waited for: then the runs are queued. A caller that is cancelled leaves
        the statement on its way, and what it takes is begun, or put back when this worker is closing.
        """
        room = self.concurrency - len(self._in_hand)
        if self._closing or self._taking.locked() or room <= 0:
            results = await fire(NOBODY)
            self.wake()
            return results
        taker = Taker(self.identity.id, self.identity.host, room)
        firing = self._firing = asyncio.create_task(self._fire(fire, taker, asked), name="brain-fire")
        try:
            return await asyncio.shield(firing)
        except asyncio.CancelledError:
            firing.add_done_callback(_look_at)
            raise

    async def _fire(
        self, fire: Callable[[Taker], Awaitable[list[FireResult]]], taker: Taker, asked: int
    ) -> list[FireResult]:
        async with self._taking:
            try:
                results = await fire(taker)
            except DatabaseError:
                self._unsure = True
                raise
            taken = [result.taken for result in results if result.taken is not None]
            if self._closing:
                await self._release(taken)
                return results
            for one in taken:
                self._begin(one)
        if len(results) < asked:
            # Left to others, or the reply got lost and what was taken is not among them.
            self._unsure = True
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
        while not self._closing and (free := self.concurrency - len(self._in_hand)) > 0:
            limit = min(free, CLAIM_BATCH)
            elsewhere = []
            async with self._taking:
                claimed = await self._claimed(limit)
                self._unsure = False
                if self._closing:
                    await self._release(claimed)
                    return
                for one in claimed:
                    if self._is_elsewhere(one):
                        elsewhere.append(one)
                    else:
                        self._begin(one)
            if elsewhere:
                await self._leave(elsewhere)
            if len(claimed) < limit:
                return

    async def _claimed(self, limit: int) -> list[Claimed]:
        known = [*self._in_hand, *self._abandoned]
        return await queue.claim(self._db, self.identity, limit, sorted(self._absent), known=known)

    async def _release(self, claimed: Sequence[Claimed]) -> None:
        if claimed:
            await queue.release(self._db, self.identity.id, [(one.run_id, one.claim) for one in claimed])

    async def _leave(self, elsewhere: Sequence[Claimed]) -> None:
        """Leave runs to the hosts that have their files; where none of them lives any more the lack is the answer."""
        living = await queue.living_hosts(self._db, {one.host for one in elsewhere})
        left = [one for one in elsewhere if one.host in living]
        self._absent |= {one.file for one in left}
        for one in elsewhere:
            if one.host not in living:
                self._begin(one)
        await self._release(left)

    def _is_elsewhere(self, claimed: Claimed) -> bool:
        """Whether the file of a run is on another host and not on this one; here a missing file is a failed run."""
        return claimed.host not in ("", self.identity.host) and not _is_there(claimed.file)

    def _begin(self, claimed: Claimed) -> None:
        hand = self._in_hand[claimed.run_id] = InHand(claimed)
        task = asyncio.create_task(self._carry(hand), name=f"brain-run-{claimed.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, hand: InHand) -> None:
        try:
            await self._carrier.carry(hand)
        finally:
            del self._in_hand[hand.claimed.run_id]
            if hand.abandoned:
                self._abandoned.add(hand.claimed.run_id)
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
