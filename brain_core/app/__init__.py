"""Brain: the one place that wires the parts, and the façade that the command line and the tests call.

What only some commands need is imported in the method that needs it, so that `brain history` does not pay for running
workflows: start-up time is a promise.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid4

from brain_core.app.place import Place
from brain_core.app.serving import Serving
from brain_core.config import LoadedSettings, Settings
from brain_core.embedded import EmbeddedServer
from brain_core.engine.events import HookProblem, Watch, nobody
from brain_core.errors import DatabaseError, DatabaseUnreachable, RunNotFound
from brain_core.placeholders import Json, Previous
from brain_core.plugin.manager import PluginManager
from brain_core.run import Run
from brain_core.store import deliveries, migrate, runs, workers
from brain_core.store.codec import stored_inputs
from brain_core.store.database import Database
from brain_core.store.trouble import place_of

if TYPE_CHECKING:
    from brain_core.app.control import Control
    from brain_core.app.tables import PluginTables
    from brain_core.app.triggers import Triggers
    from brain_core.engine.deliver import Delivery
    from brain_core.engine.runner import Plan, Runner
    from brain_core.store.retention import Pruned
    from brain_core.store.workers import Beat, WorkerIdentity

Cancels: TypeAlias = dict[UUID, Callable[[str], None]]
"""What ends a run as cancelled, by its id."""

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a `brain run` in good order: Ctrl-C, a service manager, a terminal that closes."""


class Brain(Serving):
    """An open brain: settings, plugins and a database whose schema is up to date. Made by `Brain.open`."""

    def __init__(
        self, settings: LoadedSettings, plugins: PluginManager, db: Database, server: EmbeddedServer | None
    ) -> None:
        self.loaded_settings = settings
        self.settings: Settings = settings.settings
        self.plugins = plugins
        self.db = db
        self._server = server
        self.runs_ended = Counter[str]()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: LoadedSettings, plugins: PluginManager, *, ready: bool = True
    ) -> AsyncIterator[Brain]:
        """Connect (starting the embedded PostgreSQL where no database is configured) and bring the schema up to date.

        `ready=False` leaves the schema as it is, for `migrate` alone.

        DatabaseError when there is no database to be had or its schema is newer than this brain-core.
        """
        place = Place(settings.settings)
        try:
            try:
                db = await Database.open(
                    await place.url(),
                    pooler=settings.settings.database_pooler,
                    renew=None if place.given else place.url,
                )
            except DatabaseUnreachable as error:
                if not place.given:
                    raise
                raise type(error)(f"{error} (the URL is from {settings.origin('database_url')})") from error
            try:
                if ready:
                    await migrate.ensure_schema(db)
                yield cls(settings, plugins, db, place.server)
            finally:
                await db.close()
        finally:
            if place.server is not None:
                place.server.close()

    @property
    def triggers(self) -> Triggers:
        """What people do with schedules and other triggers."""
        from brain_core.app.triggers import Triggers

        return Triggers(self)

    @property
    def tables(self) -> PluginTables:
        """The tables that plugins bring."""
        from brain_core.app.tables import PluginTables

        return PluginTables(self.db, self.plugins)

    @property
    def control(self) -> Control:
        """What people do to runs and daemons: cancel, resume, follow, look."""
        from brain_core.app.control import Control

        return Control(self.db, partial(self.show, steps=False), self.plugins.receivers)

    def new_runner(self) -> Runner:
        """Return a runner for one workflow file: a thread of this process, for services a process of its own."""
        return new_runner(self.settings, self.plugins) if self._runners is None else self._runners()

    async def run_file(
        self,
        file: str | Path,
        given: Mapping[str, Any],
        *,
        typed: bool = True,
        watch: Watch = nobody,
    ) -> Run:
        """Load a workflow file and run it here, from start to end; return the finished run.

        `typed` says that the inputs are texts from a command line. Nothing is written when the file or an input is
        refused. Ctrl-C and SIGTERM end the run as cancelled; a second signal ends the step without grace, a third the
        process at once, whose run the next command that writes then ends.
        """
        # Before the file is loaded, so that a slow plugin is not taken for a slow file.
        self.plugins.ready()
        if self.plugins.any_tables:
            await self.tables.ready()
        runner = self.new_runner()
        try:
            plan = await runner.load(file)
            inputs = stored_inputs(await runner.accept_inputs(given, typed=typed), self.settings.max_output)
            return await self._run(plan, inputs, runner, watch)
        finally:
            await runner.close()

    async def _run(self, plan: Plan, inputs: dict[str, Json], runner: Runner, watch: Watch) -> Run:
        from brain_core.engine.beginning import new_run
        from brain_core.engine.executor import Execution
        from brain_core.store.recorder import Recorder

        cancels: Cancels = {}
        async with self._working(cancels) as worker:
            recorder = Recorder(self.db, worker)
            recorder.add_version(
                plan.digest, plan.sources, on_finished=plan.has_on_finished, on_interrupt=plan.on_interrupt
            )
            execution = Execution(
                plan,
                run_id=uuid4(),
                runner=runner,
                recorder=recorder,
                hooks=self.plugins,
                watch=watch,
                ask=self.tables.queries().ask if self.plugins.any_tables else None,
            )
            cancels[execution.run_id] = execution.cancel
            begin = new_run(
                plan,
                inputs,
                run_id=execution.run_id,
                recorder=recorder,
                max_output=self.settings.max_output,
                previous=await self._previous(plan),
            )
            try:
                with _ended_by_signals(execution.cancel):
                    run = await execution.run(begin)
            finally:
                await recorder.drain()
            return await self._close_run(run, execution.receivers, runner, worker, watch)

    async def _close_run(
        self, run: Run, receivers: Sequence[str], runner: Runner, worker: WorkerIdentity, watch: Watch
    ) -> Run:
        """Tell who is to be told of a run that has ended, and return it as it is stored.

        Its end is recorded: whatever goes wrong from here on is said, and changes nothing about it.
        """
        try:
            problems = await self._delivery().deliver(run, receivers, runner)
            # The times are the database's.
            run = await runs.get(self.db, run.id)
            # Last, because it may load other workflow files, and one folder at a time is the place for imports.
            problems += await self._delivery().deliver_left_behind(worker)
        except DatabaseError as error:
            problems = [f"run {run.short_id} is recorded; telling others of it is left to a later command: {error}"]
        for text in problems:
            watch(HookProblem(text))
        return run

    @asynccontextmanager
    async def _working(self, cancels: Cancels | None = None) -> AsyncIterator[WorkerIdentity]:
        """Be a worker that beats; first end what dead workers left, as every writing command does.

        A beat that finds a run of `cancels` to be cancelled calls what stands there, once.
        """
        from brain_core.engine.beats import Beats
        from brain_core.engine.sweep import sweep, worker_identity

        worker = worker_identity("run", self.settings.lease)

        def on_beat(beat: Beat | None) -> None:
            for run_id, reason in ({} if beat is None else beat.cancels).items():
                if cancel := (cancels or {}).pop(run_id, None):
                    cancel(reason)

        beats = Beats(
            self.db,
            lambda db: workers.beat(db, worker.id),
            interval=self.settings.beat,
            limit=self.settings.lease,
            on_beat=on_beat,
        )
        beats.start()
        try:
            await sweep(self.db, worker.id, self.plugins.receivers)
            yield worker
        finally:
            beats.stop()
        # A worker that cannot say that it has ended is found by the next sweep: its process is gone.
        with suppress(DatabaseError):
            await workers.stop(self.db, worker.id)

    async def _previous(self, plan: Plan) -> Previous | None:
        found = await runs.previous(self.db, plan.workflow) if plan.reads_previous else None
        return None if found is None else Previous(str(found[0]), found[1])

    def _delivery(self) -> Delivery:
        from brain_core.engine.deliver import Delivery

        return Delivery(self.db, self.plugins, new_runner=self.new_runner, time_limit=self.settings.hook_timeout)

    async def clock(self) -> datetime:
        """Return what is now by the database's clock (G5)."""
        from brain_core.store import triggers

        return await triggers.clock(self.db)

    async def history(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        limit: int = 20,
        before: str | None = None,
    ) -> list[Run]:
        """Return runs, newest first, without their steps; `before` is the id of the run to go on from."""
        last = None if before is None else await runs.find(self.db, before, steps=False)
        start = None if last is None else (last.created_at, UUID(last.id))
        wanted = runs.RunFilter(workflow=workflow, status=status, since=since)
        return await runs.history(self.db, wanted, limit=limit, before=start)

    async def show(self, id_prefix: str | None = None, *, steps: bool = True) -> Run:
        """Return one run: the one whose id begins so, or the last one. RunNotFound otherwise."""
        if id_prefix is not None:
            return await runs.find(self.db, id_prefix, steps=steps)
        latest = await runs.history(self.db, limit=1)
        if not latest:
            raise RunNotFound("nothing has run yet; start with: brain run FILE")
        return await runs.get(self.db, latest[0].id) if steps else latest[0]

    async def check(self) -> list[runs.Violation]:
        """Sweep, then return every row of the history that breaks a rule of G13; empty when all is well."""
        async with self._working() as worker:
            await self._delivery().deliver_left_behind(worker)
        return await runs.check_history(self.db)

    async def status(self) -> dict[str, Json]:
        """Return the schema's state and the counts of runs, of workers and of unfinished deliveries by their state."""
        from brain_core.engine.sweep import census

        return {
            "database": place_of(self.db.url),
            "embedded": self._server is not None,
            "schema": (await migrate.schema_state(self.db)).state,
            "runs": await runs.counts(self.db),
            "workers": await census(self.db),
            "deliveries": await deliveries.counts(self.db),
        }

    async def migrate(self) -> list[str]:
        """Bring the schema up to date and return the names of the migrations that were applied."""
        return await migrate.migrate(self.db)

    async def prune(
        self,
        *,
        days: float | None = None,
        keep_last: int | None = None,
        keep_failed: float | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Delete old runs (with `dry_run` count them); what is None comes from the settings `retention`."""
        from brain_core.store import retention

        kept = self.settings.retention
        rules = (
            kept.days if days is None else days,
            kept.keep_last if keep_last is None else keep_last,
            kept.keep_failed if keep_failed is None else keep_failed,
        )
        return await (retention.count if dry_run else retention.prune)(self.db, *rules)

    async def deliveries(self) -> list[tuple[deliveries.Delivery, str | None]]:
        """Return the deliveries that are open or failed, oldest first, each with what it waits for if it is open."""
        found, delivery = await deliveries.list_deliveries(self.db), self._delivery()
        return [(one, delivery.why_open(one) if one.status == "open" else None) for one in found]

    async def retry_deliveries(self, id_prefix: str) -> tuple[int, list[str]]:
        """Deliver the open and failed deliveries of a run; return how many were tried, and the problems."""
        async with self._working() as worker:
            return await self._delivery().retry(await runs.find(self.db, id_prefix), worker)


def new_runner(settings: Settings, plugins: PluginManager) -> Runner:
    """Return a runner for one workflow file in a thread of this process; needs no database."""
    from brain_core.engine.local_runner import LocalRunner
    from brain_core.engine.thread_runner import ThreadRunner

    inner = LocalRunner(
        check=lambda step: plugins.refusal_of(type(step)),
        settings=plugins.settings_for_steps,
        max_output=settings.max_output,
    )
    return ThreadRunner(inner, import_timeout=settings.import_timeout)


async def load_plan(
    settings: Settings, plugins: PluginManager, file: str | Path, given: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, Json]]:
    """Load and check a workflow file without running anything and without a database.

    Returns the plan and, where `given` (texts from a command line) is not None, the inputs of such a run.
    """
    runner = new_runner(settings, plugins)
    try:
        plan = await runner.load(file)
        inputs = {} if given is None else await runner.accept_inputs(given, typed=True)
        return plan, stored_inputs(inputs, settings.max_output)
    finally:
        await runner.close()


@contextmanager
def _ended_by_signals(cancel: Callable[[str], None]) -> Iterator[None]:
    """Turn the first ending signal into a cancellation and the second into one without grace; the third means now."""
    loop = asyncio.get_running_loop()
    before = 0

    def on_signal(name: str) -> None:
        nonlocal before
        before += 1
        if before > 1:
            for each in END_SIGNALS:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
        cancel(f"cancelled by {name}")

    # asyncio.run has one of its own for Ctrl-C, which would else be lost.
    handlers = {each: signal.getsignal(each) for each in END_SIGNALS}
    try:
        for each in END_SIGNALS:
            loop.add_signal_handler(each, on_signal, "Ctrl-C" if each is signal.SIGINT else each.name)
    except (RuntimeError, ValueError):
        # Not the main thread: whoever called us there handles signals.
        yield
        return
    try:
        yield
    finally:
        for each, handler in handlers.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)
