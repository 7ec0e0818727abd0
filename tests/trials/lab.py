"""The lab: real daemons as processes of their own, on a database and in a folder of one trial."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

HERE = Path(__file__).parent
EVERY = HERE.parents[1] / "examples" / "plugin_every"
PATIENCE = 120.0
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

REGISTER = """
import asyncio, sys
from brain_core.app import Brain, load_plan
from brain_core.config import load_settings
from brain_core.plugin.manager import PluginManager

async def main(act, *words):
    settings = load_settings()
    plugins = PluginManager.load(settings.settings)
    plugins.ready()
    async with Brain.open(settings, plugins) as brain:
        if act == "pause":
            for one in await brain.triggers.listing():
                await brain.triggers.pause(one.row.name)
            return
        if act == "go-on":
            for run in words:
                await brain.control.resume_run(run)
            return
        file, count, *intervals = words
        plan, _ = await load_plan(settings.settings, plugins, file, {})
        for number in range(int(count)):
            trigger = plugins.trigger_types["every"](every=intervals[number % len(intervals)])
            await brain.triggers.register(plan, trigger, name=f"{plan.workflow}-{number}")

asyncio.run(main(*sys.argv[1:]))
"""


class Daemon:
    """One daemon; its log goes into a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it is past its imports: before, a signal ends it as it ends any process."""
        return '"started"' in self.log()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in good order; a daemon that does not is a broken promise (G15)."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0, self.log()[-4_000:]

    def log(self) -> str:
        return self._log.read_text(errors="replace")


class Lab:
    """Folder, settings and processes of one trial. `rng` is what decides in it."""

    def __init__(
        self, folder: Path, url: str, rng: random.Random, *, beat: float = 2.0, lease: float = 10.0, **settings: str
    ) -> None:
        self.folder = folder
        self.rng = rng
        self.url = url
        self.daemons: list[Daemon] = []
        self._logs = self._parked = 0
        site = folder / "site"
        about = site / "brain_plugin_every-0.1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brain-plugin-every\nVersion: 0.1.0\n")
        (about / "entry_points.txt").write_text("[brain]\nevery = brain_plugin_every.plugin\n")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("THE_BRAIN_")}
        before = [path for path in [os.environ.get("PYTHONPATH")] if path]
        self.environment = {
            **kept,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONPATH": os.pathsep.join([str(site), str(EVERY), *before]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "THE_BRAIN_DATABASE_URL": url,
            "THE_BRAIN_BEAT": str(beat),
            "THE_BRAIN_LEASE": str(lease),
            "THE_BRAIN_LOG_FORMAT": "json",
            **settings,
        }

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def flow(self, name: str, *, seconds: float) -> Path:
        """Write a workflow; one with `resume` in its name is resumed after an interruption, others fail."""
        file = self.folder / f"{name}.py"
        file.with_suffix(".seconds").write_text(str(seconds))
        file.write_text((HERE / "flow.py").read_text())
        return file

    def register(self, file: Path, count: int, *intervals: str) -> None:
        """Register a workflow so many times, at these intervals by turns."""
        self._python("-c", REGISTER, "register", str(file), str(count), *intervals)

    def pause_all(self) -> None:
        self._python("-c", REGISTER, "pause")

    def brain(self, *arguments: str, code: int = 0) -> str:
        return self._python("-m", "brain_core", *arguments, code=code)

    def start(self, *arguments: str, driver: tuple[str, ...] = (), **environment: str) -> Daemon:
        """Start a daemon; `driver` are arguments of failpoints.py, whose process it then is."""
        self._logs += 1
        log = self.folder / f"daemon-{self._logs}.log"
        program = [str(HERE / "failpoints.py"), *driver] if driver else ["-m", "brain_core"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *program, "daemon", *arguments],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )
        daemon = Daemon(process, log)
        self.daemons.append(daemon)
        return daemon

    def started(self, *arguments: str, **options: Any) -> Daemon:
        """Start a daemon and wait until it says so."""
        daemon = self.start(*arguments, **options)
        self.until(lambda: daemon.ready, "the daemon has started")
        return daemon

    def end_all(self) -> None:
        for daemon in self.daemons:
            with suppress(ProcessLookupError):
                daemon.process.send_signal(signal.SIGCONT)
                daemon.kill()

    def sql(self, text: str, *args: Any) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.url, timeout=10, command_timeout=60)
            try:
                rows: list[Any] = await connection.fetch(text, *args)
                return rows
            finally:
                await connection.close(timeout=5)

        return asyncio.run(ask())

    def until(self, holds: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> None:
        """Wait until something holds; a database that is away is waited for."""
        end = time.monotonic() + patience
        while True:
            with suppress(*AWAY):
                if holds():
                    return
            if time.monotonic() > end:
                logs = [daemon.log()[-3_000:] for daemon in self.daemons[-3:]]
                raise AssertionError(f"after {patience:g} s it still does not hold that {what}; {logs}")
            time.sleep(0.05)

    def let_pass(self, least: float, most: float) -> None:
        """Let a time go by that the seed decides: when a fault hits is what a trial tries out."""
        time.sleep(self.rng.uniform(least, most))

    def works_again(self, runs: int = 2, *, patience: float = PATIENCE) -> None:
        """Wait until each workflow has had new successful runs, whole ones; what is parked is resumed first."""
        self.resume_parked()
        now = self.sql("SELECT clock_timestamp() AS now")[0]["now"]
        workflows = [row["name"] for row in self.sql("SELECT DISTINCT workflow_name AS name FROM brain.triggers")]

        def succeeded() -> bool:
            rows = self.sql(
                "SELECT workflow_name AS name, count(*) AS n FROM brain.runs "
                "WHERE status = 'success' AND due_at > $1 GROUP BY 1",
                now,
            )
            found = {row["name"]: row["n"] for row in rows}
            return all(found.get(name, 0) >= runs for name in workflows)

        self.until(succeeded, "every workflow has new successes after the last fault", patience=patience)

    def come_to_rest(self) -> int:
        """Pause every schedule, wait until every run is over, stop the daemons; return how many runs were parked."""
        self.pause_all()

        def over() -> bool:
            self.resume_parked()
            return not self.sql("SELECT FROM brain.runs WHERE status IN ('queued', 'running', 'parked')")

        self.until(over, "every run is over")
        for daemon in self.daemons:
            if daemon.alive:
                self.until(lambda daemon=daemon: daemon.ready, "the daemon has started")  # type: ignore[misc]
                daemon.stop()
        return self._parked

    def resume_parked(self) -> None:
        """Do what a person does about runs whose workers kept dying (G16)."""
        runs = [row["id"] for row in self.sql("SELECT id::text FROM brain.runs WHERE status = 'parked'")]
        if runs:
            self._python("-c", REGISTER, "go-on", *runs)
        self._parked += len(runs)

    def checked_by_brain(self) -> None:
        """Let the product judge itself; both commands exit with 1 on what they find."""
        self.brain("audit")
        self.brain("status", "--check")

    def _python(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, (
            f"{arguments[:4]}: {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"
        )
        return done.stdout

    def in_hand(self, daemon: Daemon) -> bool:
        """Whether a daemon has a run in hand at this moment."""
        asked = "SELECT FROM brain.runs AS r JOIN brain.workers AS w ON w.id = r.worker_id "
        return bool(self.sql(f"{asked} WHERE r.status = 'running' AND w.stopped_at IS NULL AND w.pid = $1", daemon.pid))

    def ready(self) -> list[Daemon]:
        """Return the daemons that have started and not ended."""
        return [daemon for daemon in self.daemons if daemon.alive and daemon.ready]

    def interrupted(self) -> int:
        """Return how many attempts were interrupted until now: how many faults hit something."""
        return int(self.sql("SELECT count(*) AS n FROM brain.step_runs WHERE status = 'interrupted'")[0]["n"])

    def victim(self) -> Daemon:
        """Return a daemon for the next fault: mostly one that has a run in hand, for many are idle."""
        found: list[Daemon] = []

        def chosen() -> bool:
            found[:] = [daemon for daemon in self.ready() if self.in_hand(daemon)]
            return bool(found)

        if self.rng.random() < 0.2:
            self.until(self.ready, "a daemon has started")
            found = self.ready()
        else:
            self.until(chosen, "a run is in hand")
        return self.rng.choice(found)

    def events(self, event: str) -> int:
        """Count a line in the logs of all daemons that there were."""
        return sum(1 for daemon in self.daemons for line in daemon.log().splitlines() if _event(line).startswith(event))


def _event(line: str) -> str:
    with suppress(ValueError):
        return str(json.loads(line).get("event", ""))
    return ""


@contextmanager
def lab(folder: Path, url: str, rng: random.Random, **options: Any) -> Iterator[Lab]:
    """Open a lab; no process outlives it."""
    made = Lab(folder, url, rng, **options)
    try:
        yield made
    finally:
        made.end_all()
