"""Who lives in which process group, and a sure end for them. Linux reads /proc; elsewhere psutil does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

GRACE = 1.0
"""Seconds between TERM and KILL for what a runner that ends has started."""

_POLL = 0.02
_PROC = Path("/proc")


def children_of(pid: int) -> list[int]:
    """Return the living children of a process."""
    return [one for one, parent, _ in _processes() if parent == pid]


def members(groups: Iterable[int]) -> list[int]:
    """Return the living processes of some process groups."""
    wanted = frozenset(groups)
    return [one for one, _, group in _processes() if group in wanted] if wanted else []


def _processes() -> list[tuple[int, int, int]]:
    """Return (pid, parent, group) of every process that is more than a zombie."""
    if not (_PROC / "self/stat").exists():
        return _processes_elsewhere()
    found = []
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            with suppress(OSError, ValueError):
                stat = Path(entry.path, "stat").read_bytes()
                # The name of the program stands in brackets and may hold anything.
                state, parent, group = stat[stat.rindex(b")") + 2 :].split(None, 3)[:3]
                if state not in b"ZX":
                    found.append((int(entry.name), int(parent), int(group)))
    return found


def _processes_elsewhere() -> list[tuple[int, int, int]]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.pid, process.ppid(), os.getpgid(process.pid)))
    return found


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; one that is empty or not ours is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_own_children(grace: float = GRACE) -> None:
    """End what this process has started: TERM to each child's group, KILL to what is left of them after the grace.

    Other threads may go on and start more: these are told too. A child in this process's own group is ended alone.
    """
    me, own = os.getpid(), os.getpgrp()
    groups: set[int] = set()
    end = time.monotonic() + grace
    while True:
        processes = _processes()
        mine = [(pid, group) for pid, parent, group in processes if parent == me and group != own]
        for group in {group for _, group in mine} - groups:
            groups.add(group)
            signal_group(group, signal.SIGTERM)
        left = any(group in groups for _, _, group in processes)
        if not left or time.monotonic() >= end:
            break
        time.sleep(_POLL)
    for group in groups:
        signal_group(group, signal.SIGKILL)
    for pid in members([own]):
        if pid != me:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
