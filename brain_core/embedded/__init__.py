"""A PostgreSQL of our own: started by the first process that needs it, shared, and stopped after the last.

Below home lies `postgres-<major>/` with the data, the log and four locks, which the kernel gives back however their
holder ends: `start.lock` (one starter at a time), `users.lock` (shared by every process that uses the server),
`server.lock` (held by the server's own processes) and `keeper.lock` (held by the keeper, which stops an unused server).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from brain_core.embedded import postmaster
from brain_core.embedded.locks import FileLock, holders
from brain_core.errors import EmbeddedServerError

if TYPE_CHECKING:
    from brain_core.embedded.cluster import Cluster

__all__ = ["EmbeddedServer", "EmbeddedStatus"]

_PATIENCE = 150.0  # longer than a start may take


class EmbeddedStatus(NamedTuple):
    """What is known of the server. `users` counts the other processes that use it, None where that is not known."""

    running: bool
    pid: int | None
    url: str | None
    data_directory: Path
    version: str
    users: int | None


class EmbeddedServer:
    """The PostgreSQL below a home folder. Every method raises EmbeddedServerError with one line.

    `idle_seconds` is for the keeper that this process starts; one that runs already keeps its own.
    """

    def __init__(self, home: Path, idle_seconds: float) -> None:
        self._home = Path(os.path.realpath(home.expanduser()))
        self._idle_seconds = idle_seconds
        self._users: FileLock | None = None
        self._version = ""

    def ensure(self) -> str:
        """Return the URL of the running server, started when it does not run.

        Until `close()` or the end of this process the server is not stopped for being idle. May be called again, which
        starts a server that was lost.
        """
        with _one_line(self._home):
            folder = self._folder()
            self._use(folder)
            server = postmaster.running(folder / "data") or self._start(folder)
            self._keep(folder)
            return server.url

    def close(self) -> None:
        """Say that this process no longer uses the server."""
        if self._users is not None:
            self._users.touch()
            self._users.close()
            self._users = None

    def hand_on(self) -> None:
        """Keep the server in use through an `exec` of this process."""
        if self._users is not None:
            os.set_inheritable(self._users.fd, True)

    def status(self) -> EmbeddedStatus:
        """Return what is known of the server; nothing is started."""
        with _one_line(self._home):
            folder = self._folder()
            server = postmaster.running(folder / "data")
            return EmbeddedStatus(
                running=server is not None,
                pid=server.pid if server else None,
                url=server.url if server else None,
                data_directory=folder / "data",
                version=self._version,
                users=holders(folder / "users.lock") if server else 0,
            )

    def stop(self) -> bool:
        """Stop the server, whoever uses it, and its keeper; return whether one was running."""
        with _one_line(self._home):
            self.close()
            folder = self._folder()
            if not folder.is_dir():
                return False
            start = self._start_lock(folder)
            try:
                stopped = postmaster.stop(folder / "data", folder / "server.lock")
                _end_keeper(folder / "keeper.lock")
            finally:
                start.close()
            return stopped

    @property
    def psql_path(self) -> Path:
        """The `psql` that comes with the server."""
        from brain_core.embedded.binaries import find

        return Path(find().program("psql"))

    def _folder(self) -> Path:
        from brain_core.embedded.binaries import find

        found = find()
        self._version = found.version
        return self._home / f"postgres-{found.major}"

    def _use(self, folder: Path) -> None:
        if self._users is None:
            self._users = FileLock(folder / "users.lock")
        complaint = f"the embedded PostgreSQL is being stopped for over {_PATIENCE:.0f} s; see {folder / 'keeper.log'}"
        try:
            self._users.lock(shared=True, patience=_PATIENCE, complaint=complaint)
        except FileNotFoundError:
            self._cluster(folder).make_folder()
            self._users.lock(shared=True, patience=_PATIENCE, complaint=complaint)
        self._users.touch()

    def _start(self, folder: Path) -> postmaster.PidFile:
        start = self._start_lock(folder)
        try:
            return self._cluster(folder).start()
        finally:
            start.close()

    def _start_lock(self, folder: Path) -> FileLock:
        start = FileLock(folder / "start.lock")
        start.lock(
            patience=_PATIENCE,
            complaint=f"another process is starting the embedded PostgreSQL for over {_PATIENCE:.0f} s ({start.path})",
        )
        return start

    def _keep(self, folder: Path) -> None:
        lock = FileLock(folder / "keeper.lock")
        try:
            if lock.try_lock():
                from brain_core.embedded.keeper import spawn

                spawn(folder, self._idle_seconds, str(self.psql_path), lock.fd)
        finally:
            lock.close()

    def _cluster(self, folder: Path) -> Cluster:
        from brain_core.embedded.binaries import find
        from brain_core.embedded.cluster import Cluster

        return Cluster(folder, find())


def _end_keeper(path: Path) -> None:
    lock = FileLock(path)
    try:
        if lock.try_lock():
            return
        pid = int(path.read_text() or 0)
        # The lock is held, so the id in it is the keeper's; another PID namespace is told apart by the name.
        if pid and b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        # It notices by itself that the server is gone when its time is over.
        return
    finally:
        lock.close()


@contextmanager
def _one_line(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        import errno

        place = f" ({error.filename})" if error.filename else ""
        advice = (
            "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "set THE_BRAIN_HOME to another folder"
        )
        raise EmbeddedServerError(
            f"cannot use {home} for the embedded PostgreSQL: {error.strerror or error}{place}; "
            f"{advice}, or set THE_BRAIN_DATABASE_URL"
        ) from error
    except Exception as error:
        import subprocess

        if not isinstance(error, subprocess.SubprocessError):
            raise
        command = " ".join(str(error).split())
        raise EmbeddedServerError(f"a program of the embedded PostgreSQL failed: {command}") from error
