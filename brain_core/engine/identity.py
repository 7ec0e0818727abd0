"""Who a process is, and whether it still lives: host, boot, PID namespace, pid and start time.

A pid alone is not enough: pids are used again, and two containers have the same ones.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import NamedTuple


class ProcessIdentity(NamedTuple):
    """A process of one boot of one host. `started` is its start time in the kernel's own unit, as text."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str


def this_process() -> ProcessIdentity:
    """Return the identity of this process."""
    pid = os.getpid()
    return ProcessIdentity(socket.gethostname(), boot_id(), pid_namespace(), pid, _started(pid) or "")


def is_dead(other: ProcessIdentity) -> bool | None:
    """Whether that process is gone; None when it cannot be seen from here (another host, boot or PID namespace)."""
    if other.boot_id != boot_id() or other.pid_namespace != pid_namespace():
        return None
    return _started(other.pid) != other.started


def boot_id() -> str:
    """Return what names this boot of this host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{socket.gethostname()}@{psutil.boot_time():.0f}"


def pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def boot_seconds() -> float:
    """Return the seconds since this host booted, sleep included where the platform can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _started(pid: int) -> str | None:
    """Return the start time of a living process; None when there is none (a zombie is not living)."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        import psutil

        try:
            return f"{psutil.Process(pid).create_time():.3f}"
        except psutil.Error:
            return None
    try:
        # The second field, the program's name, may hold blanks and brackets; what follows its last ")" does not.
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
