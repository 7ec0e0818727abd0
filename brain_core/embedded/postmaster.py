"""The running server: proving that it is ours, asking whether it answers, ending it.

What `postmaster.pid` says is a claim: after a crash it names a process that is gone, or by now another one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

from brain_core.embedded.locks import FileLock
from brain_core.errors import EmbeddedServerError

USER = "brain"
DATABASE = "brain"
PORT = 5432


class PidFile(NamedTuple):
    """What `postmaster.pid` claims."""

    pid: int
    sockets: str
    ready: bool

    @property
    def url(self) -> str:
        """The URL of our database on that server."""
        # The folder's name needs no quoting: it was chosen so. The port is named because a client would else take it
        # from the environment.
        return f"postgresql://{USER}@/{DATABASE}?host={self.sockets}&port={PORT}"


def read(data: Path) -> PidFile | None:
    """Return the claim of a data folder; None without one, or when it is half written."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="surrogateescape").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        pid = abs(int(lines[0]))
    except ValueError:
        return None
    return PidFile(pid, lines[4] if len(lines) > 4 else "", len(lines) > 7 and lines[7].strip() == "ready")


def running(data: Path) -> PidFile | None:
    """Return the claim when a server of that folder is up and takes connections, which is tried."""
    claim = read(data)
    return claim if claim and claim.ready and _answers(claim, data) else None


def _answers(claim: PidFile, data: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(f"{claim.sockets}/.s.PGSQL.{PORT}")
        except OSError:
            return False
        if not hasattr(socket, "SO_PEERCRED"):
            return is_postmaster(claim.pid, data)
        peer = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        # The kernel knows who listens there. 0: a process of another PID namespace (a container beside this one).
        return peer in (0, claim.pid)


def is_postmaster(pid: int, data: Path) -> bool:
    """Whether that process lives and is a postmaster of that folder."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        command = [os.fsdecode(word) for word in words]
        folder = _link(f"/proc/{pid}/cwd")
    else:
        import psutil

        try:
            process = psutil.Process(pid)
            command, folder = process.cmdline(), process.cwd()
        except psutil.Error:
            return False
    if not command or Path(command[0]).name not in ("postgres", "postmaster"):
        return False
    return str(data) in command or folder == str(data)


def is_alive(pid: int) -> bool:
    """Whether a process has that id (a zombie has it too)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stop(data: Path, server_lock: Path, patience: float = 30.0) -> bool:
    """End the server of that folder and wait until it is gone; False when none was there.

    Open connections are cut. One that does not end by itself is ended at once (it recovers at its next start).
    """
    lock = FileLock(server_lock)
    try:
        claim = read(data)
        known = claim is not None and is_postmaster(claim.pid, data)
        if not known or claim is None:
            # What is left of a killed server ends by itself when it notices.
            lock.lock(patience=patience, complaint=_not_visible(data))
            return False
        for number, wait in ((signal.SIGINT, patience), (signal.SIGQUIT, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(claim.pid, number)
            if _gone(claim.pid, data, lock, wait):
                with contextlib.suppress(OSError):
                    Path(claim.sockets).rmdir()  # the next start makes it again
                return True
        raise EmbeddedServerError(f"the server (pid {claim.pid}) of {data} does not end; see its log")
    except PermissionError as error:
        raise EmbeddedServerError(f"the server of {data} belongs to another user: {error.strerror}") from error
    finally:
        lock.close()


def _not_visible(data: Path) -> str:
    return f"a server on {data} is running, but not where this process can see it (another container?); stop it there"


def _gone(pid: int, data: Path, lock: FileLock, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        # The lock says that the server's other processes have ended as well.
        if not is_postmaster(pid, data) and lock.try_lock():
            return True
        time.sleep(0.01)
    return False


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:  # another user's process, or gone
        return ""
