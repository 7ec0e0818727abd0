"""A daemon's worker: claims queued runs, carries each from its claim to its end, and lets go of them in good order.

It holds at most `concurrency` runs. A claim takes a batch; there is no timer: what came free while the last claim was
on its way is filled by the next one. Workflow code runs in runner processes, never here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from brain_core.engine.events import Event, Watch
from brain_core.engine.executor import Execution, RunHooks
from brain_core.engine.live import LiveWriter
from brain_core.engine.runner import Plan, Runner
from brain_core.engine.taking_up import SourceChanged, claimed_run
from brain_core.errors import ClaimLost, DatabaseError, InputError, RunnerDied, WorkflowFileError
from brain_core.store import queue, runs
from brain_core.store.database import Database
from brain_core.store.queue import Claimed
from brain_core.store.recorder import Recorder, RunEnd
from brain_core.store.workers import WorkerIdentity

if TYPE_CHECKING:
    from brain_core.engine.deliver import Delivery

logger = logging.getLogger("brain.worker")

CLAIM_BATCH = 500
FOR_EVER = float("inf")


class PlannedRunner(Runner, Protocol):
    """A runner that has loaded its file."""

    @property
    def plan(self) -> Plan: ...


class Runners(Protocol):
    """Where a worker gets its runners from."""

    async def runner_for(self, file: str) -> PlannedRunner: ...


class Worker:
    """Runs what is queued, under one worker's identity. Used from one event loop.

    `start` begins to claim whenever `wake` was called; `stop_claiming` ends that and lets what runs go on; `idle`
    waits until nothing runs any more.
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
        self._recorder = Recorder(db, identity, patience=FOR_EVER)
        self._executions: dict[UUID, Execution | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._claiming: asyncio.Task[None] | None = None
        self._unsure = False
        self._absent: set[str] = set()

    @property
    def in_hand(self) -> int:
        """How many runs this worker has claimed and not yet ended."""
        return len(self._executions)

    def start(self) -> None:
        self._claiming = asyncio.create_task(self._claim_on(), name="brain-claim")

    def wake(self) -> None:
        """Say that something may be queued."""
        self._wake.set()

    def cancel(self, run_id: UUID, reason: str) -> None:
        """End a run as cancelled, when it is in hand."""
        execution = self._executions.get(run_id)
        if execution is not None:
            execution.cancel(reason)

    async def stop_claiming(self) -> None:
        """Claim nothing more; what runs goes on."""
        if self._claiming is not None:
            self._claiming.cancel()
            with suppress(asyncio.CancelledError):
                await self._claiming
            self._claiming = None

    async def idle(self) -> None:
        """Return when nothing is in hand any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def let_go(self) -> None:
        """End what is in hand without recording it: somebody else will, or has (G12, G15)."""
        await self.stop_claiming()
        for task in self._tasks:
            task.cancel()
        await self.idle()
        await self._live.close()

    async def _claim_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._claim()
            except DatabaseError as error:
                # The reply may be what was lost: the next claim asks for what is ours already, too.
                self._unsure = True
                logger.warning("claim failed: %s", error)

    async def _claim(self) -> None:
        while (free := self.concurrency - len(self._executions)) > 0:
            limit = min(free, CLAIM_BATCH)
            known = list(self._executions) if self._unsure else None
            claimed = await queue.claim(self._db, self.identity, limit, sorted(self._absent), known=known)
            self._unsure = False
            elsewhere = [one for one in claimed if self._is_elsewhere(one)]
            if elsewhere:
                self._absent.update(one.file for one in elsewhere)
                await queue.release(self._db, self.identity.id, [(one.run_id, one.claim) for one in elsewhere])
            for one in claimed:
                if one.file not in self._absent:
                    self._begin(one)
            if len(claimed) < limit:
                return

    def _is_elsewhere(self, claimed: Claimed) -> bool:
        """Whether the file of a run is on another host and not on this one; here a missing file is a failed run."""
        return claimed.host not in ("", self.identity.host) and not Path(claimed.file).exists()

    def look_again(self) -> None:
        """Files that were on other hosts alone may have come here."""
        self._absent.clear()

    def _begin(self, claimed: Claimed) -> None:
        self._executions[claimed.run_id] = None
        task = asyncio.create_task(self._carry(claimed), name=f"brain-run-{claimed.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, claimed: Claimed) -> None:
        """Carry one run to its end; whatever happens here stays with this run (G18)."""
        try:
            await self._run(claimed)
        except ClaimLost as error:
            logger.warning("%s", error, extra={"run": str(claimed.run_id)})
        except DatabaseError as error:
            logger.error("%s", error, extra={"run": str(claimed.run_id)})
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("a bug ended the handling of a run", extra={"run": str(claimed.run_id)})
        finally:
            self._executions.pop(claimed.run_id, None)
            self._live.forget(claimed.run_id)
            self._wake.set()

    async def _run(self, claimed: Claimed) -> None:
        try:
            runner = await self._runners.runner_for(claimed.file)
        except (WorkflowFileError, RunnerDied) as error:
            await self._end_unloaded(claimed, str(error))
            return
        try:
            plan = runner.plan
            execution = Execution(
                plan,
                run_id=claimed.run_id,
                runner=runner,
                recorder=self._recorder,
                hooks=self._hooks,
                watch=self._watch(claimed),
            )
            self._executions[claimed.run_id] = execution
            try:
                run = await execution.run(claimed_run(claimed, plan, runner, self._db, self.identity.id))
            except InputError as error:
                await self._end_unloaded(claimed, str(error))
                return
            except SourceChanged as error:
                logger.warning("parked: %s", error, extra={"run": str(claimed.run_id)})
                return
            for problem in await self._delivery.deliver(run, execution.receivers, runner):
                logger.warning("%s", problem, extra={"run": run.id})
        finally:
            await runner.close()

    def _watch(self, claimed: Claimed) -> Watch:
        live = self._live.watch(claimed.run_id, claimed.claim)
        run_id = str(claimed.run_id)

        def hear(event: Event) -> None:
            live(event)
            self._hear(run_id, event)

        return hear

    async def _end_unloaded(self, claimed: Claimed, why: str) -> None:
        """End a run as failed whose workflow cannot be used; nothing of it has run."""
        receivers = list(self._hooks.receivers)
        await self._recorder.finish_run(RunEnd(claimed.run_id, claimed.claim, "failed", why, None, receivers))
        run = await runs.get(self._db, claimed.run_id)
        for problem in await self._delivery.deliver(run, receivers):
            logger.warning("%s", problem, extra={"run": run.id})
