"""Carries one claimed run from its claim to its end, whatever happens on the way; trouble stays with that run (G18)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from brain_core.engine.events import Event, Watch
from brain_core.engine.executor import Execution, RunHooks
from brain_core.engine.live import LiveFirst, LiveWriter
from brain_core.engine.runner import Ask, Plan, Runner
from brain_core.engine.taking_up import SourceChanged, claimed_run
from brain_core.errors import ClaimLost, DatabaseUnreachable, InputError, RunnerDied, RunnerSilenced, WorkflowFileError
from brain_core.run import Run, RunStatus
from brain_core.store import daemon, deliveries, queue, runs, workers
from brain_core.store.database import Database
from brain_core.store.queue import Claimed
from brain_core.store.recorder import RunEnd
from brain_core.store.workers import WorkerIdentity
from brain_core.threads import what_raised

if TYPE_CHECKING:
    from brain_core.engine.deliver import Delivery

logger = logging.getLogger("brain.worker")

TRY_AGAIN = 0.5
"""Seconds before something about one run is tried again that the database was away for."""


class PlannedRunner(Runner, Protocol):
    """A runner that has loaded its file."""

    @property
    def plan(self) -> Plan: ...


class Runners(Protocol):
    """Where a worker gets its runners from. `close` ends them all, with whatever runs in them.

    `ready` is the fast way: None, or what becomes a PlannedRunner, or None, once the file has been looked at.
    """

    def ready(self, file: str) -> asyncio.Future[Any] | None: ...
    async def runner_for(self, file: str) -> PlannedRunner: ...
    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class InHand:
    """A run that this worker carries. `over` says that its end is recorded, or that it is no longer ours;
    `abandoned` that its end cannot be recorded.
    """

    claimed: Claimed
    execution: Execution | None = None
    loading: asyncio.Future[Any] | None = None
    """What is waited for before it executes; cancelled with the run."""
    cancelled: str | None = None
    over: bool = False
    abandoned: bool = False

    @property
    def facts(self) -> dict[str, str]:
        return {"run": str(self.claimed.run_id)}


class Carrier:
    """Carries runs of one worker; used from one event loop. Those that it has ended are counted in `ended`."""

    def __init__(
        self,
        db: Database,
        identity: WorkerIdentity,
        *,
        runners: Runners,
        hooks: RunHooks,
        delivery: Delivery,
        hear: Callable[[str, Event], None],
        ask: Ask | None = None,
        ended: Counter[str] | None = None,
    ) -> None:
        self.identity = identity
        self._db = db
        self.runners = runners
        self._hooks = hooks
        self._delivery = delivery
        self._hear = hear
        self._ask = ask
        self._ended = Counter[str]() if ended is None else ended
        self._live = LiveWriter(db, identity.id)
        # A database that is away is waited for: what a step has done is not thrown away (G17).
        self._recorder = LiveFirst(db, identity, self._live)

    def cancel(self, hand: InHand, reason: str) -> None:
        """End a run as cancelled; said again of the same run it changes nothing."""
        if hand.cancelled is not None:
            return
        hand.cancelled = reason
        if hand.execution is not None:
            hand.execution.cancel(reason)
        elif hand.loading is not None:
            hand.loading.cancel()

    def results_wait(self) -> AbstractContextManager[None]:
        """While others begin: what steps have done in this block is written after it, or soon."""
        return self._recorder.held()

    async def settled(self) -> None:
        """Return when nothing is on its way to the database any more."""
        await self._live.close()
        await self._recorder.drain()

    async def carry(self, hand: InHand) -> None:
        """Carry one run to its end; whatever happens here stays with this run (G18)."""
        waits = False
        try:
            while not hand.over:
                try:
                    await self._run(hand)
                    hand.over = True
                except DatabaseUnreachable as error:
                    # Only before the run has begun: from there on every write waits for the database.
                    if not waits:
                        logger.warning("%s", error, extra=hand.facts)
                    waits = True
                    await asyncio.sleep(TRY_AGAIN)
        except ClaimLost as error:
            logger.warning("%s", error, extra=hand.facts)
        except Exception as error:
            logger.exception("the handling of a run failed", extra=hand.facts)
            await self._give_up(hand, what_raised(error))
        finally:
            self._live.forget(hand.claimed.run_id)

    async def _give_up(self, hand: InHand, what: str) -> None:
        """End a run that cannot be carried on. Where even that fails it is abandoned."""
        if hand.over:
            return
        try:
            await self._end(hand, "failed", f"brain-core could not carry this run to its end: {what}")
        except ClaimLost as error:
            logger.warning("%s", error, extra=hand.facts)
        except Exception:
            logger.exception("the end of a run could not be recorded", extra=hand.facts)
            hand.abandoned = True

    async def _run(self, hand: InHand) -> None:
        claimed = hand.claimed
        runner = await self._ready(hand) or await self._loaded(hand)
        if runner is None:
            return
        try:
            execution = hand.execution = Execution(
                runner.plan,
                run_id=claimed.run_id,
                runner=runner,
                recorder=self._recorder,
                hooks=self._hooks,
                watch=self._watch(claimed),
                ask=self._ask,
            )
            if hand.cancelled is not None:
                execution.cancel(hand.cancelled)
            try:
                run = await execution.run(claimed_run(claimed, runner.plan, runner, self._db, self.identity.id))
            except RunnerSilenced as error:
                await self._interrupted(hand, str(error), begun=execution.has_begun)
                return
            except (InputError, RunnerDied) as error:
                await self._end(hand, "failed", str(error))
                return
            except SourceChanged as error:
                logger.warning("parked: %s", error, extra=hand.facts)
                return
            hand.over = True
            self._ended[run.status] += 1
            await self._deliver(run, execution.receivers, runner)
        finally:
            hand.execution = None
            await runner.close()

    async def _ready(self, hand: InHand) -> PlannedRunner | None:
        """Wait for a look at the file of a warm runner; None when it has to be loaded, or the run is cancelled."""
        if (ready := self.runners.ready(hand.claimed.file)) is None:
            return None
        hand.loading = ready
        try:
            return await _taken(ready)
        except asyncio.CancelledError:
            if hand.cancelled is None or _is_cancelled():
                raise
        finally:
            hand.loading = None
        return None

    async def _loaded(self, hand: InHand) -> PlannedRunner | None:
        """Wait for a runner; None when the run has ended, or was parked, without one."""
        loading = asyncio.ensure_future(self.runners.runner_for(hand.claimed.file))
        hand.loading = loading
        if hand.cancelled is not None:
            loading.cancel()
        try:
            return await loading
        except RunnerSilenced as error:
            await self._interrupted(hand, str(error), begun=False)
        except (WorkflowFileError, RunnerDied) as error:
            if hand.claimed.resumed and isinstance(error, WorkflowFileError):
                await self._park(hand, f"{error}; put the file back as it was when the run began, or cancel the run")
            else:
                await self._end(hand, "failed", str(error))
        except asyncio.CancelledError:
            if hand.cancelled is None or _is_cancelled():
                raise
            await self._end(hand, "cancelled", hand.cancelled)
        finally:
            hand.loading = None
        return None

    def _watch(self, claimed: Claimed) -> Watch:
        live = self._live.watch(claimed.run_id, claimed.claim)
        run_id = str(claimed.run_id)

        def hear(event: Event) -> None:
            live(event)
            self._hear(run_id, event)

        return hear

    async def _park(self, hand: InHand, why: str) -> None:
        """Put a run aside that was begun with a file which can no longer be loaded: what is done is kept (G19)."""
        await daemon.park(self._db, self.identity.id, hand.claimed.run_id, hand.claimed.claim, why)
        logger.warning("parked: %s", why, extra=hand.facts)

    async def _interrupted(self, hand: InHand, why: str, *, begun: bool) -> None:
        """Let a run go whose runner has ended itself: what becomes of it is as if its worker had died (G10)."""
        claimed = hand.claimed
        hand.over = True
        if begun:
            await workers.interrupt(self._db, self.identity.id, [claimed.run_id], why, list(self._hooks.receivers))
        else:
            await queue.release(self._db, self.identity.id, [(claimed.run_id, claimed.claim)])
        logger.warning("interrupted: %s", why, extra=hand.facts)

    async def _end(self, hand: InHand, status: RunStatus, why: str) -> None:
        """End a run that is not executed, or no further."""
        claimed, receivers = hand.claimed, list(self._hooks.receivers)
        await self._recorder.finish_run(RunEnd(claimed.run_id, claimed.claim, status, why, None, receivers))
        hand.over = True
        self._ended[status] += 1
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
            except DatabaseUnreachable:
                await asyncio.sleep(TRY_AGAIN)
                with suppress(DatabaseUnreachable):
                    left = [one.receiver for one in await deliveries.of_run(self._db, run_id) if one.status == "open"]
            else:
                for problem in problems:
                    logger.warning("%s", problem, extra={"run": str(run_id)})
                return


async def _taken(ready: asyncio.Future[PlannedRunner | None]) -> PlannedRunner | None:
    """Wait for a runner; one that comes at the same time as a cancellation is given back."""
    try:
        return await ready
    except asyncio.CancelledError:
        if ready.done() and not ready.cancelled() and (runner := ready.result()) is not None:
            await runner.close()
        raise


def _is_cancelled() -> bool:
    """Whether the task that runs now has itself been cancelled, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
