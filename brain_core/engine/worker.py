"""A daemon's worker: claims queued runs, carries each from its claim to its end, and lets go of them in good order.

It holds at most `concurrency` runs. A claim takes a batch; there is no timer: what came free while the last claim was
on its way is filled by the next one. Workflow code runs in runner processes, never here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from brain_core.engine.events import Event, Watch
from brain_core.engine.executor import Execution, RunHooks
from brain_core.engine.live import LiveFirst, LiveWriter
from brain_core.engine.runner import Plan, Runner
from brain_core.engine.taking_up import SourceChanged, claimed_run
from brain_core.errors import ClaimLost, DatabaseError, DatabaseUnreachable, InputError, RunnerDied, WorkflowFileError
from brain_core.run import Run, RunStatus
from brain_core.store import deliveries, queue, runs
from brain_core.store.database import Database
from brain_core.store.queue import Claimed
from brain_core.store.recorder import RunEnd
from brain_core.store.workers import WorkerIdentity
from brain_core.threads import what_raised

if TYPE_CHECKING:
    from brain_core.engine.deliver import Delivery

logger = logging.getLogger("brain.worker")

CLAIM_BATCH = 500
TRY_AGAIN = 0.5
"""Seconds before something about one run is tried again that the database was away for."""
LAST_WORDS = 2.0
"""Seconds that writes on their way have when a worker lets go."""


class PlannedRunner(Runner, Protocol):
    """A runner that has loaded its file."""

    @property
    def plan(self) -> Plan: ...


class Runners(Protocol):
    """Where a worker gets its runners from. `close` ends them all, with whatever runs in them."""

    async def runner_for(self, file: str) -> PlannedRunner: ...
    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _InHand:
    """A run that this worker carries. `over` says that its end is recorded, or that it is no longer ours."""

    claimed: Claimed
    execution: Execution | None = None
    loading: asyncio.Future[PlannedRunner] | None = None
    cancelled: str | None = None
    over: bool = False

    @property
    def facts(self) -> dict[str, str]:
        return {"run": str(self.claimed.run_id)}


class Worker:
    """Runs what is queued, under one worker's identity. Used from one event loop.

    `start` begins to claim whenever `wake` was called. `finish` claims nothing more and returns when nothing is in hand
    any more; `let_go` ends what is in hand.
    """

    def __init__(
        self,
        db: Database,
        identity: WorkerIdentity,
        *,
        concurrency: int,
        runners: Runners,
        hooks: RunHooks,
        delivery: Delivery,
        hear: Callable[[str, Event], None],
    ) -> None:
        self.identity = identity
        self.concurrency = concurrency
        self._db = db
        self._runners = runners
        self._hooks = hooks
        self._delivery = delivery
        self._hear = hear
        self._live = LiveWriter(db, identity.id)
        # A database that is away is waited for: what a step has done is not thrown away (G17).
        self._recorder = LiveFirst(db, identity, self._live)
        self._in_hand: dict[UUID, _InHand] = {}
        self._abandoned: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None
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

    def cancel(self, run_id: UUID, reason: str) -> None:
        """End a run as cancelled, when it is in hand; said again of the same run it changes nothing."""
        hand = self._in_hand.get(run_id)
        if hand is None or hand.cancelled is not None:
            return
        hand.cancelled = reason
        if hand.execution is not None:
            hand.execution.cancel(reason)
        elif hand.loading is not None:
            hand.loading.cancel()

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
        ending = [*self._tasks, *([self._claiming] if self._claiming is not None else [])]
        for task in ending:
            task.cancel()
        closing = asyncio.ensure_future(self._runners.close()) if at_once else None
        try:
            if ending:
                await asyncio.wait(ending)
        finally:
            if closing is not None:
                await closing
        # Of runs whose steps have finished the result may still be on its way.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled(), LAST_WORDS)

    async def _settled(self) -> None:
        await self._live.close()
        await self._recorder.drain()

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
        if self._unsure:
            with suppress(DatabaseError):
                await self._release(await self._claimed(0))

    async def _claim(self) -> None:
        while not self._closing and (free := self.concurrency - len(self._in_hand)) > 0:
            limit = min(free, CLAIM_BATCH)
            claimed = await self._claimed(limit)
            self._unsure = False
            if self._closing:
                await self._release(claimed)
                return
            elsewhere = [one for one in claimed if self._is_elsewhere(one)]
            for one in claimed:
                if one not in elsewhere:
                    self._begin(one)
            if elsewhere:
                self._absent.update(one.file for one in elsewhere)
                await self._release(elsewhere)
            if len(claimed) < limit:
                return

    async def _claimed(self, limit: int) -> list[Claimed]:
        known = [*self._in_hand, *self._abandoned]
        return await queue.claim(self._db, self.identity, limit, sorted(self._absent), known=known)

    async def _release(self, claimed: Sequence[Claimed]) -> None:
        if claimed:
            await queue.release(self._db, self.identity.id, [(one.run_id, one.claim) for one in claimed])

    def _is_elsewhere(self, claimed: Claimed) -> bool:
        """Whether the file of a run is on another host and not on this one; here a missing file is a failed run."""
        return claimed.host not in ("", self.identity.host) and not _is_there(claimed.file)

    def _begin(self, claimed: Claimed) -> None:
        hand = self._in_hand[claimed.run_id] = _InHand(claimed)
        task = asyncio.create_task(self._carry(hand), name=f"brain-run-{claimed.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, hand: _InHand) -> None:
        """Carry one run to its end; whatever happens here stays with this run (G18)."""
        try:
            while not hand.over:
                try:
                    await self._run(hand)
                    hand.over = True
                except DatabaseUnreachable as error:
                    # Only before the run has begun: from there on every write waits for the database.
                    logger.warning("%s", error, extra=hand.facts)
                    await asyncio.sleep(TRY_AGAIN)
        except ClaimLost as error:
            logger.warning("%s", error, extra=hand.facts)
        except Exception as error:
            logger.exception("the handling of a run failed", extra=hand.facts)
            await self._give_up(hand, what_raised(error))
        finally:
            self._in_hand.pop(hand.claimed.run_id, None)
            self._live.forget(hand.claimed.run_id)
            self._wake.set()

    async def _give_up(self, hand: _InHand, what: str) -> None:
        """End a run that cannot be carried on. Where even that fails it is not taken up again by this worker."""
        if hand.over:
            return
        try:
            await self._end(hand, "failed", f"brain-core could not carry this run to its end: {what}")
        except ClaimLost as error:
            logger.warning("%s", error, extra=hand.facts)
        except Exception:
            logger.exception("the end of a run could not be recorded", extra=hand.facts)
            self._abandoned.add(hand.claimed.run_id)

    async def _run(self, hand: _InHand) -> None:
        claimed = hand.claimed
        hand.loading = asyncio.ensure_future(self._runners.runner_for(claimed.file))
        if hand.cancelled is not None:
            hand.loading.cancel()
        try:
            runner = await hand.loading
        except (WorkflowFileError, RunnerDied) as error:
            await self._end(hand, "failed", str(error))
            return
        except asyncio.CancelledError:
            if hand.cancelled is None or _is_cancelled():
                raise
            await self._end(hand, "cancelled", hand.cancelled)
            return
        finally:
            hand.loading = None
        try:
            execution = hand.execution = Execution(
                runner.plan,
                run_id=claimed.run_id,
                runner=runner,
                recorder=self._recorder,
                hooks=self._hooks,
                watch=self._watch(claimed),
            )
            if hand.cancelled is not None:
                execution.cancel(hand.cancelled)
            try:
                run = await execution.run(claimed_run(claimed, runner.plan, runner, self._db, self.identity.id))
            except (InputError, RunnerDied) as error:
                await self._end(hand, "failed", str(error))
                return
            except SourceChanged as error:
                logger.warning("parked: %s", error, extra=hand.facts)
                return
            hand.over = True
            await self._deliver(run, execution.receivers, runner)
        finally:
            hand.execution = None
            await runner.close()

    def _watch(self, claimed: Claimed) -> Watch:
        live = self._live.watch(claimed.run_id, claimed.claim)
        run_id = str(claimed.run_id)

        def hear(event: Event) -> None:
            live(event)
            self._hear(run_id, event)

        return hear

    async def _end(self, hand: _InHand, status: RunStatus, why: str) -> None:
        """End a run that is not executed, or no further."""
        claimed, receivers = hand.claimed, list(self._hooks.receivers)
        await self._recorder.finish_run(RunEnd(claimed.run_id, claimed.claim, status, why, None, receivers))
        hand.over = True
        logger.warning("run %s", status, extra={**hand.facts, "workflow": claimed.workflow, "error": why})
        await self._deliver(claimed.run_id, receivers)

    async def _deliver(self, ended: Run | UUID, receivers: Sequence[str], runner: Runner | None = None) -> None:
        """Tell of an end; while the database is away wait, and go on with whom it has not been noted of."""
        left = list(receivers)
        run = ended if isinstance(ended, Run) else None
        run_id = UUID(ended.id) if isinstance(ended, Run) else ended
        while left:
            try:
                run = run or await runs.get(self._db, run_id)
                problems = await self._delivery.deliver(run, left, runner)
            except DatabaseUnreachable as error:
                logger.warning("%s", error, extra={"run": str(run_id)})
                await asyncio.sleep(TRY_AGAIN)
                with suppress(DatabaseUnreachable):
                    left = [one.receiver for one in await deliveries.of_run(self._db, run_id) if one.status == "open"]
            else:
                for problem in problems:
                    logger.warning("%s", problem, extra={"run": str(run_id)})
                return


def _is_there(file: str) -> bool:
    try:
        return Path(file).exists()
    except (OSError, ValueError):
        return False


def _is_cancelled() -> bool:
    """Whether the task that runs now has itself been cancelled, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
