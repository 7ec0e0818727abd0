"""The daemon, wired: zygote, runner processes, worker, tick, and the log of what it does."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_core.app.services import Services
from brain_core.config import forget_secrets, load_settings
from brain_core.engine.carrying import Carrier
from brain_core.engine.daemon import Daemon
from brain_core.engine.deliver import Delivery
from brain_core.engine.events import Event, HookProblem, RunEnded, RunStarted, StepEnded
from brain_core.engine.file_threads import FileThreads
from brain_core.engine.live import FOR_EVER
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.processes.pool import PooledRunner, RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Preparation, Spawner
from brain_core.engine.queries import AT_ONCE, SECONDS
from brain_core.engine.runner import Ask, Plan, StepReply, StepRequest
from brain_core.engine.upkeep import Kept, Upkeep
from brain_core.engine.worker import Worker
from brain_core.placeholders import Json
from brain_core.plugin.manager import PluginManager
from brain_core.run import Run
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity
from brain_core.trigger import Trigger

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.service import Service

logger = logging.getLogger("brain.run")
output = logging.getLogger("brain.output")


def new_spawner() -> Spawner:
    """Fork the process that forks runners; called before this process has a loop, threads or connections.

    Where a plugin has left a thread behind, it is started as a program of its own with the first runner.
    """
    preparation = Preparation("brain_core.app.daemon:runner_factory")
    try:
        return Spawner.forked(preparation)
    except RuntimeError:
        return Spawner(preparation)


def runner_factory() -> Callable[[], LocalRunner]:
    """Import what runners need and return what makes one; called in the zygote."""
    settings = load_settings().settings
    forget_secrets()
    plugins = PluginManager.load(settings)
    plugins.ready()
    return lambda: LocalRunner(
        check=lambda step: plugins.refusal_of(type(step)),
        bar=plugins.quarantine,
        settings=plugins.settings_for_steps,
        max_output=settings.max_output,
    )


async def run_daemon(
    brain: Brain,
    spawner: Spawner,
    *,
    concurrency: int,
    grace: float | None,
    serve: Callable[[Brain], Sequence[Service]] | None = None,
) -> None:
    """Be a daemon until SIGTERM or Ctrl-C; a second one ends what runs at once (G15).

    With `serve` it runs what is queued and fires nothing, and its services are those that `serve` returns.
    """
    settings = brain.settings
    brain.plugins.ready()
    if brain.plugins.any_tables:
        await brain.tables.ready()
    files = FileThreads()
    pool = _new_pool(brain, spawner, files)
    # Connections of their own: a plugin's statement that takes long must not keep the daemon's own waiting.
    aside = brain.db.sibling(pool_size=AT_ONCE, command_timeout=SECONDS)
    parts = _Parts(brain, pool, files, brain.tables.queries(aside, patience=FOR_EVER).ask, fires=serve is None)
    try:
        async with brain.beside(lambda: _Fresh(pool)) as served:
            services = Services(served, None if serve is None else serve(served))
            daemon = Daemon(
                parts,
                lambda identity: parts.new_worker(identity, concurrency),
                Upkeep(brain.db, parts.delivery, Kept(**settings.retention.model_dump())),
                beat=settings.beat,
                lease=settings.lease,
                grace=grace,
                beside=services,
                kind="daemon" if serve is None else "serve",
            )
            loop = asyncio.get_running_loop()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(each, daemon.stop)
            try:
                # Before it has any run in hand: a service may say that there must be no daemon.
                await services.start()
                await daemon.run()
            finally:
                await services.stop(0.0)
    finally:
        await pool.close()
        await spawner.close()
        await aside.close()


def _new_pool(brain: Brain, spawner: Spawner, files: FileThreads) -> RunnerPool:
    settings = brain.settings
    return RunnerPool(
        spawner,
        RunnerSettings(
            import_timeout=settings.import_timeout,
            max_output=settings.max_output,
            silence=RunnerSettings.silence_for(settings.lease, settings.beat),
            idle=settings.runner_idle,
            barred=brain.plugins.barred,
        ),
        hear=lambda file, text: output.info("%s", text.rstrip("\n"), extra={"file": file}),
        files=files,
    )


class _Parts:
    """What the daemon needs of the brain."""

    def __init__(self, brain: Brain, pool: RunnerPool, files: FileThreads, ask: Ask, *, fires: bool) -> None:
        self._brain = brain
        self._fires = fires
        self._ask = ask
        self._pool = pool
        self._files = files
        self.delivery = Delivery(
            brain.db, brain.plugins, new_runner=lambda: _Fresh(pool), time_limit=brain.settings.hook_timeout
        )

    @property
    def db(self) -> Database:
        return self._brain.db

    @property
    def trigger_types(self) -> Mapping[str, type[Trigger]]:
        # Of no type there is nothing due.
        return self._brain.plugins.trigger_types if self._fires else {}

    @property
    def receivers(self) -> list[str]:
        return self._brain.plugins.receivers

    def new_worker(self, identity: WorkerIdentity, concurrency: int) -> Worker:
        carrier = Carrier(
            self.db,
            identity,
            runners=self._pool,
            hooks=self._brain.plugins,
            delivery=self.delivery,
            hear=_log,
            ask=self._ask,
            ended=self._brain.runs_ended,
        )
        return Worker(self.db, carrier, concurrency=concurrency, files=self._files)


class _Fresh:
    """A Runner out of the pool: which one, its `load` decides."""

    def __init__(self, pool: RunnerPool) -> None:
        self._pool = pool
        self._held: PooledRunner | None = None

    @property
    def _runner(self) -> PooledRunner:
        if self._held is None:
            raise RuntimeError("nothing is loaded")
        return self._held

    async def load(self, file: str | Path) -> Plan:
        self._held = await self._pool.runner_for(file)
        return self._held.plan

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        return await self._runner.accept_inputs(given, typed=typed)

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        return await self._runner.run_step(request, on_live, ask)

    async def call_on_finished(self, run: Run) -> None:
        await self._runner.call_on_finished(run)

    async def close(self) -> None:
        if self._held is not None:
            self._pool.give_back(self._held)
            self._held = None


def _log(run_id: str, event: Event) -> None:
    """Write one line of the log for an event of a run."""
    facts: dict[str, Any] = {"run": run_id}
    match event:
        case RunStarted(run):
            logger.info("run started", extra={**facts, "workflow": run.workflow})
        case StepEnded(step):
            level = logging.INFO if step.status == "success" else logging.WARNING
            logger.log(level, "step %s", step.status, extra={**facts, "step": step.name, "error": step.error})
        case RunEnded(run):
            level = logging.INFO if run.status == "success" else logging.WARNING
            logger.log(level, "run %s", run.status, extra={**facts, "workflow": run.workflow, "error": run.error})
        case HookProblem(text):
            logger.warning("%s", text, extra=facts)
        case _:
            pass
