"""Hands finished runs to those who asked for them: plugins (`brain_run_finished`) and the workflow's `on_finished`.

The rows are written in the transaction that ends the run. Each is marked done after its receiver has had it, so a crash
in between leaves it open and the next `brain` process delivers it again: at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from brain_core.engine.runner import Runner
from brain_core.errors import BrainError, DatabaseError, PluginError
from brain_core.run import WORKFLOW_RECEIVER, Run
from brain_core.store import deliveries, runs
from brain_core.store.codec import visible
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity
from brain_core.threads import what_raised

MAX_ERROR_CHARS = 2_000


class Receivers(Protocol):
    """What delivering needs of the plugin manager."""

    @property
    def receivers(self) -> Sequence[str]: ...
    async def deliver(self, receiver: str, run: Run) -> None: ...


class Delivery:
    """Delivers for one process. `new_runner` makes a runner when a workflow file has to be loaded for `on_finished`."""

    def __init__(
        self, database: Database, receivers: Receivers, *, new_runner: Callable[[], Runner], time_limit: float
    ) -> None:
        self._database = database
        self._receivers = receivers
        self._new_runner = new_runner
        self._time_limit = time_limit

    async def deliver(self, run: Run, receivers: Sequence[str], runner: Runner | None = None) -> list[str]:
        """Deliver one run to each receiver and mark each row; return the problems, one line each."""
        problems = []
        for receiver in receivers:
            try:
                if receiver == WORKFLOW_RECEIVER:
                    await self._call_on_finished(run, runner)
                else:
                    await self._receivers.deliver(receiver, run)
            # Anything, not only what a hook is known to raise: what serves it is partly a stranger's, and one receiver
            # that cannot be served is no reason to leave the others out (G18).
            except Exception as error:  # noqa: BLE001
                text = visible(str(error) if isinstance(error, BrainError) else what_raised(error))[:MAX_ERROR_CHARS]
                problems.append(f"delivery of run {run.short_id} to {receiver}: {text}")
                await deliveries.failed(self._database, UUID(run.id), receiver, text)
            else:
                await deliveries.done(self._database, UUID(run.id), receiver)
        return problems

    async def deliver_left_behind(self, worker: WorkerIdentity) -> list[str]:
        """Deliver what processes that are gone have left open; return the problems, one line each.

        What cannot be served here, for want of the plugin or the file, stays open for a process that can.
        """
        return (await self._deliver_open(worker))[1]

    async def retry(self, run: Run, worker: WorkerIdentity) -> tuple[int, list[str]]:
        """Deliver a run's open and failed deliveries; return how many were tried, and the problems, one line each."""
        run_id = UUID(run.id)
        await deliveries.reopen(self._database, run_id)
        tried, problems = await self._deliver_open(worker, run_id)
        for left in await deliveries.of_run(self._database, run_id):
            if left.status == "open":
                problems.append(f"delivery of run {run.short_id} to {left.receiver} stays open: {self.why_open(left)}")
        return tried, problems

    def why_open(self, delivery: deliveries.Delivery) -> str:
        """Return what an open delivery waits for, as far as this process can see."""
        if delivery.owner is not None:
            return f"{delivery.owner} has it in hand"
        if delivery.receiver == WORKFLOW_RECEIVER and not _is_there(delivery.file):
            return f"{delivery.file} is not here; a process that has the file delivers it"
        if not self._serves(delivery.receiver, None):
            return (
                f"no active plugin '{delivery.receiver}' listens to brain_run_finished here; a process with it delivers"
            )
        return "the next `brain run` delivers it"

    async def _deliver_open(self, worker: WorkerIdentity, run_id: UUID | None = None) -> tuple[int, list[str]]:
        problems = []
        found = await deliveries.open_for(self._database, worker, self._serves, run_id=run_id)
        for each, receiver in found:
            try:
                run = await runs.get(self._database, each)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - what is stored cannot be read: as in `deliver`
                text = visible(what_raised(error))[:MAX_ERROR_CHARS]
                problems.append(f"delivery of run {str(each)[:8]} to {receiver}: {text}")
                await deliveries.failed(self._database, each, receiver, text)
            else:
                problems += await self.deliver(run, [receiver])
        return len(found), problems

    def _serves(self, receiver: str, file: str | None) -> bool:
        if receiver == WORKFLOW_RECEIVER:
            return file is None or _is_there(file)
        return receiver in self._receivers.receivers

    async def _call_on_finished(self, run: Run, runner: Runner | None) -> None:
        own = runner is None
        if runner is None:
            runner = self._new_runner()
        try:
            if own:
                plan = await runner.load(run.file)
                if plan.digest != run.version:
                    raise PluginError(f"{run.file} has changed since the run; its on_finished was not called")
            await self._bounded(runner.call_on_finished(run))
        finally:
            if own:
                await runner.close()

    async def _bounded(self, call: Coroutine[Any, Any, None]) -> None:
        # Not wait_for: a TimeoutError of the hook's own would look like ours.
        task = asyncio.ensure_future(call)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._time_limit)
            if not done:
                raise PluginError(f"on_finished took longer than {self._time_limit:g} s (setting hook_timeout)")
            task.result()
        finally:
            task.cancel()


def _is_there(file: str) -> bool:
    try:
        return Path(file).is_file()
    except (OSError, ValueError):
        return False
