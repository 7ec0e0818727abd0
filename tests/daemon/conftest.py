"""Real daemons on a database of the test's own, workflow files whose steps a test holds and lets go, and a journal."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from brain_core.run import PlannedStep, Run
from brain_core.store import queue, runs, triggers
from brain_core.store.database import Database
from brain_core.store.queue import NewRun
from brain_core.store.triggers import NewTrigger

Found = TypeVar("Found")

# What a step does is written into the journal, the truth from outside the database: one write of one line.
HEAD = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
from brain_core import Step, Workflow

FOLDER = Path({folder!r})

def note(text):
    descriptor = os.open(FOLDER / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

class Note(Step):
    async def run(self, ctx):
        note(f"{{self.name}} {{ctx.attempt}}")
        return self.name

class Held(Step):
    '''Goes on as soon as the test lets it.'''
    async def run(self, ctx):
        note(f"{{self.name}} {{ctx.attempt}} begins {{os.getpid()}}")
        while not (FOLDER / f"go-{{self.name}}").exists():
            await asyncio.sleep(0.01)
        note(f"{{self.name}} {{ctx.attempt}} ends")
        return self.name

class Blocks(Step):
    '''Plain Python that hears nothing.'''
    def run(self, ctx):
        note(f"{{self.name}} {{ctx.attempt}} begins {{os.getpid()}}")
        while not (FOLDER / f"go-{{self.name}}").exists():
            time.sleep(0.01)
        note(f"{{self.name}} {{ctx.attempt}} ends")

class Shell(Step):
    '''A child in a session of its own, as a shell step has it.'''
    async def run(self, ctx):
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", "sleep 600 & wait", start_new_session=True)
        note(f"{{self.name}} {{ctx.attempt}} begins {{child.pid}}")
        try:
            await child.wait()
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()

class Kills(Step):
    '''Kills the daemon of this runner, each time.'''
    async def run(self, ctx):
        note(f"{{self.name}} {{ctx.attempt}}")
        while not (FOLDER / "daemon").exists():
            await asyncio.sleep(0.01)
        os.kill(int((FOLDER / "daemon").read_text()), signal.SIGKILL)
        await asyncio.sleep(600)
"""


@dataclass
class Process:
    """A `brain` process and what it has written to standard error."""

    popen: subprocess.Popen[bytes]
    errors: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.errors.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def kill(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    async def ended(self, limit: float = 180.0) -> int:
        """Wait for the end and return the exit code."""
        try:
            return await asyncio.to_thread(self.popen.wait, limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end; its log:\n{self.log}")


@dataclass
class House:
    """One database with its daemons, and a folder with workflow files."""

    db: Database
    url: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    def spawn(self, *arguments: str, **settings: Any) -> Process:
        """Start a `brain` process; settings are given by the environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("THE_BRAIN_")}
        given = {"database_url": self.url, "home": self.folder, "log_format": "json", "beat": 0.5, **self.settings}
        given |= settings
        named = {f"THE_BRAIN_{name.upper()}": str(value) for name, value in given.items()}
        number = len(self.processes)
        errors = self.folder / f"errors-{number}"
        with errors.open("wb") as err, (self.folder / f"out-{number}").open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "brain_core", *arguments],
                env={**kept, **named},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        process = Process(popen, errors)
        self.processes.append(process)
        return process

    async def daemon(self, *arguments: str, **settings: Any) -> Process:
        """Start a daemon and return when it has given its first sign of life."""
        process = self.spawn("daemon", *arguments, **settings)
        await self.until(lambda: self.worker_of(process), "the daemon has a row", process)
        return process

    async def brain(self, *arguments: str, **settings: Any) -> tuple[int, str]:
        """Run a command to its end; return its exit code and output."""
        process = self.spawn(*arguments, **settings)
        code = await process.ended()
        return code, (self.folder / f"out-{self.processes.index(process)}").read_text()

    async def worker_of(self, process: Process) -> UUID | None:
        rows = await self.sql("SELECT id FROM brain.workers WHERE pid = $1 AND stopped_at IS NULL", process.pid)
        return rows[0]["id"] if rows else None

    async def until(
        self, condition: Callable[[], Awaitable[Found]], what: str, *watched: Process, limit: float = 150.0
    ) -> Found:
        """Wait until a condition holds and return what it has found; fail when a watched process ends before."""
        until = asyncio.get_running_loop().time() + limit
        while not (found := await condition()):
            for process in watched:
                if process.popen.poll() is not None:
                    pytest.fail(f"waiting until {what}: the process has ended\n{process.log}")
            if asyncio.get_running_loop().time() > until:
                logs = "\n".join(process.log for process in self.processes)
                pytest.fail(f"waited in vain until {what}; journal {self.journal}; logs:\n{logs}")
            # Looking too often would take the time from those that it looks at.
            await asyncio.sleep(0.02)
        return found

    def flow(self, steps: str, name: str = "flow", body: str = "", **more: str) -> Path:
        """Write a workflow file with `steps` such as "Note(name='one'), Held(name='two')"."""
        given = "".join(f", {key}={value}" for key, value in more.items())
        text = HEAD.format(folder=str(self.folder)) + dedent(body)
        file = self.folder / f"{name}.py"
        file.write_text(f"{text}\nworkflow = Workflow(name={name!r}, steps=[{steps}]{given})\n")
        return file

    async def queue(self, file: Path, **more: Any) -> UUID:
        """Queue a run of a file, as `brain trigger` and a schedule do."""
        planned = [PlannedStep("queued", "noop")]
        new = NewRun(workflow=file.stem, file=str(file), planned=planned, host=socket.gethostname())
        return await queue.enqueue(self.db, new if not more else NewRun(**{**_facts(new), **more}))

    async def schedule(self, file: Path, **more: Any) -> UUID:
        """Register a schedule that is due at this moment, and then for a long time no more."""
        now = await triggers.clock(self.db)
        facts: dict[str, Any] = {
            "id": uuid4(),
            "name": file.stem,
            "type": "cron",
            "config": {"cron": "0 0 29 2 *", "timezone": "UTC"},
            "workflow_name": file.stem,
            "file": str(file),
            "host": socket.gethostname(),
            "inputs": {},
            "planned_steps": [{"name": "one", "type": "noop"}],
            "next_due_at": now,
        }
        return (await triggers.register(self.db, NewTrigger(**(facts | more)), now)).id

    async def run(self, run_id: UUID) -> Run:
        return await runs.get(self.db, run_id)

    async def ended(self, run_id: UUID, *watched: Process, limit: float = 150.0) -> Run:
        """Wait until a run is final or parked."""

        async def over() -> Run | None:
            run = await runs.get(self.db, run_id)
            return run if run.final or run.status == "parked" else None

        return await self.until(over, f"run {run_id} is over", *watched, limit=limit)

    async def ended_after_park(self, run_id: UUID, *watched: Process) -> Run:
        """Wait until a run is final that is parked at first."""

        async def over() -> Run | None:
            run = await runs.get(self.db, run_id)
            return run if run.final else None

        return await self.until(over, f"run {run_id} is over", *watched)

    def go(self, step: str) -> None:
        """Let a held step go on."""
        (self.folder / f"go-{step}").touch()

    @property
    def journal(self) -> list[str]:
        """What has really happened."""
        file = self.folder / "journal"
        return file.read_text().splitlines() if file.exists() else []

    async def began(self, step: str, attempt: int = 1, *watched: Process) -> int:
        """Wait until a step has begun; return the process that it has noted."""

        async def noted() -> int | None:
            begun = [line for line in self.journal if line.startswith(f"{step} {attempt} begins ")]
            return int(begun[0].split()[-1]) if begun else None

        return await self.until(noted, f"step {step} begins", *watched)

    async def sql(self, text: str, *args: Any) -> list[Any]:
        async with self.db.session() as session:
            rows: list[Any] = await session.connection.fetch(text, *args)
            return rows


def _facts(new: NewRun) -> dict[str, Any]:
    return {name: getattr(new, name) for name in NewRun.__dataclass_fields__ if name != "run_id"}


async def gone(pid: int, limit: float = 60.0) -> None:
    """Wait until a process that need not be a child of ours has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready = await asyncio.to_thread(select.select, [watched], [], [], limit)
        if not ready[0]:
            pytest.fail(f"process {pid} still runs")
    finally:
        os.close(watched)


@pytest.fixture
async def house(db: Database, database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A database, a folder and no daemon yet; what a test has started is ended with it."""
    made = House(db, database_url, tmp_path)
    yield made
    end_all(made)


def end_all(made: House) -> None:
    for process in made.processes:
        if process.popen.poll() is None:
            with suppress(ProcessLookupError):
                process.kill(signal.SIGCONT)
            process.popen.kill()
            process.popen.wait()
