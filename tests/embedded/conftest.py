"""Homes for embedded servers: each is stopped and removed at the end, whatever a test did to it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brain_core.embedded import EmbeddedServer

IDLE = 600.0
CHILD = """
import sys
from pathlib import Path
from brain_core.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), float(sys.argv[2]))
print(server.ensure(), flush=True)
sys.stdin.read()
"""

NewHome = Callable[[], Path]


def wait_gone(pid: int) -> None:
    """Wait until a process that need not be a child of ours has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([watched], [], [], 120)[0], f"process {pid} does not end"
    finally:
        os.close(watched)


def keeper_pid(home: Path) -> int:
    """Return the id of the running keeper; it writes it just after its start."""
    lock = next(home.glob("postgres-*/keeper.lock"))
    while not (text := lock.read_text()):
        os.sched_yield()
    return int(text)


class User:
    """Another process that uses the server until it is told to end."""

    def __init__(self, home: Path, idle: float = IDLE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(home), str(idle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline().strip()
        assert line, self.process.stderr.read()
        return line

    def end(self) -> None:
        self.process.communicate(timeout=180)

    def kill(self) -> None:
        self.process.kill()
        self.end()


def new_folder() -> Path:
    # Not tmp_path: its length is near the limit of a socket, and as root nobody else may pass through it.
    return Path(tempfile.mkdtemp(prefix="brain-emb-", dir="/tmp"))


def remove(home: Path) -> None:
    EmbeddedServer(home, IDLE).stop()
    shutil.rmtree(home)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home of the test's own."""
    made = new_folder()
    yield made
    remove(made)


@pytest.fixture(scope="session")
def shared_home() -> Iterator[Path]:
    """A home whose database exists and whose server may or may not run."""
    made = new_folder()
    EmbeddedServer(made, IDLE).ensure()
    yield made
    remove(made)


@pytest.fixture
def server(shared_home: Path) -> Iterator[EmbeddedServer]:
    """The server of the shared home, not used by this process yet."""
    made = EmbeddedServer(shared_home, IDLE)
    yield made
    made.close()
