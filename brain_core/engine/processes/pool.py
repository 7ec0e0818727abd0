"""Which runner process has which version of which workflow file, and for how long."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from brain_core.engine.file_threads import FileThreads
from brain_core.engine.processes.process_runner import ProcessRunner, RunnerSettings
from brain_core.engine.processes.spawner import Spawner
from brain_core.engine.runner import Ask, Plan, StepReply, StepRequest
from brain_core.errors import RunnerDied, WorkflowFileError
from brain_core.placeholders import Json
from brain_core.run import Run

Signature: TypeAlias = tuple[tuple[int, int, int, int], ...]

_MOST_REMEMBERED, _LONGEST_REMEMBERED = 1_000, 4_096
"""How many inputs are remembered with what they become, and how long their JSON may be."""
MAX_IDLE = 64
"""How many processes are kept that nobody holds: each costs memory and file descriptors, and there may be thousands of
workflow files."""
_LEAST_IDLE = 0.1
"""Seconds: enough for those who waited for a load to take what was loaded."""


@dataclass(slots=True, eq=False)
class _Version:
    """A file as one process has loaded it; `signature` is None when it changed while it was loaded."""

    file: str
    process: ProcessRunner
    plan: Plan
    signature: Signature | None
    holders: int = 0
    timer: asyncio.TimerHandle | None = None

    accepted: dict[str, dict[str, Json]] = field(default_factory=dict)
    """What inputs become, by their JSON: most runs of a file have the same ones, and to ask is a round trip."""

    asked: list[asyncio.Future[PooledRunner | None]] = field(default_factory=list)
    """Who waits for the next look at its sources; the one that is under way may have missed a change."""
    looking: bool = False

    @property
    def usable(self) -> bool:
        return not self.process.retired


class PooledRunner:
    """A runner held for one run: the version of the file stays the same, its process may be replaced when it dies."""

    def __init__(self, pool: RunnerPool, version: _Version) -> None:
        self.plan = version.plan
        self._pool = pool
        self._version: _Version | None = version

    async def load(self, file: str | Path) -> Plan:
        """Return the plan; the file is loaded already."""
        return self.plan

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        process = await self._process()
        version = self._version
        key = json.dumps([typed, dict(given)])
        if version is None or len(key) > _LONGEST_REMEMBERED:
            return await process.accept_inputs(given, typed=typed)
        if (known := version.accepted.get(key)) is None:
            known = await process.accept_inputs(given, typed=typed)
            if len(version.accepted) < _MOST_REMEMBERED:
                version.accepted[key] = known
        # A copy: who gets it may change it.
        return json.loads(json.dumps(known)) if known else {}

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        return await (await self._process()).run_step(request, on_live, ask)

    async def call_on_finished(self, run: Run) -> None:
        await (await self._process()).call_on_finished(run)

    async def close(self) -> None:
        """Give the runner back; its process goes on for others."""
        self.release()

    def release(self) -> None:
        version = self.hand_over()
        if version is not None:
            self._pool.let_go(version)

    def hand_over(self) -> _Version | None:
        """Return the version, which is then the caller's to let go of."""
        version, self._version = self._version, None
        return version

    async def _process(self) -> ProcessRunner:
        version = self._version
        if version is None:
            raise RuntimeError("the runner was given back")
        while not version.usable:
            # Another run's step has taken the process with it. This run goes on with the same source, or not at all.
            try:
                fresh = await self._pool.take(version.file)
            except WorkflowFileError as error:
                raise RunnerDied(f"the runner process of {version.file} ended, and now: {error}") from None
            if fresh.plan.digest != self.plan.digest:
                self._pool.let_go(fresh)
                raise RunnerDied(
                    f"the runner process of {version.file} ended, and the file has changed since this run began"
                )
            self._pool.let_go(version)
            self._version = version = fresh
        return version.process


class RunnerPool:
    """Runner processes by workflow file. `hear` gets what they print: the file and the text.

    Files are looked at in `files`, never in the event loop: where one hangs, its runs wait and no others.

    A process serves every run of its version; one that nobody holds ends after `settings.idle` seconds, or when more
    than MAX_IDLE of them are kept, one whose file has changed as soon as nobody holds it.
    """

    def __init__(
        self,
        spawner: Spawner,
        settings: RunnerSettings,
        hear: Callable[[str, str], None] = lambda file, text: None,
        *,
        files: FileThreads | None = None,
    ) -> None:
        self._spawner = spawner
        spawner.make_room = self._make_room
        self._settings = settings
        self._hear = hear
        self._files = files or FileThreads()
        self._current: dict[str, _Version] = {}
        self._loading: dict[str, asyncio.Task[_Version]] = {}
        self._processes: set[ProcessRunner] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [process.pid for process in self._processes]

    def ready(self, file: str) -> asyncio.Future[PooledRunner | None] | None:
        """Return what becomes a runner as soon as it is seen that a process has the file as it is now, else None; None
        at once when no process can have it. Give the runner back all the same, also one that came too late.

        All who ask in one turn of the event loop share one look: a batch of runs costs one.
        """
        version = self._current.get(file)
        if version is None or not version.usable or version.signature is None:
            return None
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[PooledRunner | None] = loop.create_future()
        version.asked.append(ready)
        if not version.looking:
            version.looking = True
            loop.call_soon(self._look, version)
        return ready

    def _look(self, version: _Version) -> None:
        asked, version.asked = version.asked, []
        looked = self._files.ask(version.file, partial(_signature, version.plan))
        looked.add_done_callback(partial(self._looked, version, asked))

    def _looked(
        self,
        version: _Version,
        asked: Sequence[asyncio.Future[PooledRunner | None]],
        looked: asyncio.Future[Signature | None],
    ) -> None:
        current = version.usable and looked.result() == version.signature
        for ready in asked:
            if ready.done():
                continue
            if current:
                self._hold(version)
            ready.set_result(PooledRunner(self, version) if current else None)
        version.looking = bool(version.asked)
        if version.looking:
            self._look(version)

    async def runner_for(self, file: str | Path) -> PooledRunner:
        """Return a runner with the file as it is now; give it back with `give_back` or its `close`.

        WorkflowFileError when the file cannot be loaded, RunnerDied when no process can be had.
        """
        return PooledRunner(self, await self.take(str(file)))

    def give_back(self, runner: PooledRunner) -> None:
        runner.release()

    async def take(self, file: str) -> _Version:
        """Hold the current version of a file, loading it into a new process when no process has it."""
        while (version := await self._held(file)) is None:
            loading = self._loading.get(file)
            ours = loading is None
            if loading is None:
                loading = self._loading[file] = asyncio.ensure_future(self._load(file))
                loading.add_done_callback(partial(self._loaded, file))
            # Shielded: others may wait for the same load.
            version = await asyncio.shield(loading)
            if ours:
                # As new as it gets. A load that others had begun may be older than the file is by now.
                if not version.usable:
                    raise version.process.died()
                self._hold(version)
                break
        return version

    async def _held(self, file: str) -> _Version | None:
        """Hold the version that a process has, when it is the file as it is now."""
        if (ready := self.ready(file)) is None:
            return None
        try:
            runner = await ready
        except asyncio.CancelledError:
            if ready.done() and not ready.cancelled() and (runner := ready.result()) is not None:
                runner.release()
            raise
        return None if runner is None else runner.hand_over()

    def _hold(self, version: _Version) -> None:
        version.holders += 1
        if version.timer is not None:
            version.timer.cancel()
            version.timer = None

    def let_go(self, version: _Version) -> None:
        version.holders -= 1
        if version.holders:
            return
        if self._current.get(version.file) is not version or not version.usable:
            self._end(version)
        elif version.timer is None:
            self._end_later(version)
            self._end_longest_idle()

    async def close(self) -> None:
        """End all processes; steps that still run in them are ended."""
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        for version in self._current.values():
            if version.timer is not None:
                version.timer.cancel()
        self._current.clear()
        self._files.close()
        await asyncio.gather(*(process.close() for process in self._processes), *self._closing, return_exceptions=True)

    async def _load(self, file: str) -> _Version:
        process = await ProcessRunner.start(self._spawner, self._settings, lambda text: self._hear(file, text))
        self._processes.add(process)
        process.on_end = lambda: self._processes.discard(process)
        try:
            plan = await process.load(file)
            signature = await self._files.ask(file, partial(_signature_of_what_ran, plan))
        except BaseException:
            self._close(process)
            raise
        version = _Version(file, process, plan, signature)
        before = self._current.get(file)
        self._current[file] = version
        if before is not None and not before.holders:
            self._end(before)
        # Whoever asked for it may have been cancelled, so that nobody takes it.
        self._end_later(version)
        return version

    def _loaded(self, file: str, task: asyncio.Task[_Version]) -> None:
        self._loading.pop(file, None)
        if not task.cancelled():
            # Looked at here: those who asked may all have been cancelled.
            task.exception()

    def _end_later(self, version: _Version) -> None:
        idle = max(self._settings.idle, _LEAST_IDLE)
        version.timer = asyncio.get_running_loop().call_later(idle, self._end_idle, version)

    def _end_longest_idle(self) -> None:
        idle = self._idle()
        if len(idle) > MAX_IDLE:
            self._end(idle[0])

    def _make_room(self) -> None:
        for version in self._idle()[:1]:
            self._end(version)

    def _idle(self) -> list[_Version]:
        """Return whom nobody holds, the longest idle first: in the order in which their timers end."""
        idle = [(version.timer.when(), version) for version in self._current.values() if version.timer is not None]
        return [version for _, version in sorted(idle, key=lambda each: each[0])]

    def _end_idle(self, version: _Version) -> None:
        version.timer = None
        if not version.holders:
            self._end(version)

    def _end(self, version: _Version) -> None:
        if version.timer is not None:
            version.timer.cancel()
            version.timer = None
        if self._current.get(version.file) is version:
            del self._current[version.file]
        self._close(version.process)

    def _close(self, process: ProcessRunner) -> None:
        process.retired = True
        task = asyncio.ensure_future(process.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _signature(plan: Plan) -> Signature | None:
    """Return what tells whether one of the plan's sources has changed; None when one is not there."""
    # Asked for every run, so without Path, which takes longer than the system does.
    folder = os.path.dirname(plan.file)  # noqa: PTH120
    found = []
    for name in plan.sources:
        try:
            facts = os.stat(f"{folder}/{name}")  # noqa: PTH116
        except (OSError, ValueError):
            return None
        found.append((facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino))
    return tuple(found)


def _signature_of_what_ran(plan: Plan) -> Signature | None:
    """Return the signature of the sources when they are still what was loaded, else None."""
    signature = _signature(plan)
    folder = Path(plan.file).parent
    for name, text in plan.sources.items():
        try:
            if (folder / name).read_bytes().decode("utf-8-sig", "backslashreplace") != text:
                return None
        except (OSError, ValueError):
            return None
    return signature
