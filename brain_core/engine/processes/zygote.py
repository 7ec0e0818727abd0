"""The zygote: a process with the imports and nothing else, that forks runners when the daemon asks for them.

It has one thread, no event loop and no connection but the control socket, so that a fork of it is safe and cheap.
It also reaps: on Linux what a runner leaves behind when it dies becomes the zygote's child, and is ended.

Control messages are lines of JSON. From the daemon: {"fork": number, "silence": s, "limit": n} with three descriptors
(link, guard, output), {"kill": number}. To it: {"ready": true}, {"forked": number, "pid": p}, {"failed": number,
"why": …, "errno": n}, {"exited": number, "code": c} (negative: a signal).
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.processes import runner_child
from brain_core.engine.processes.ending import GRACE, children_of, signal_group
from brain_core.engine.processes.guard import BROKEN, CLOSED
from brain_core.engine.runner import MAX_OUTPUT

PATIENCE = GRACE + 1.5
"""Seconds that runners get to end by themselves when the daemon is gone."""

_LOOK = 5.0
_CHILD_SUBREAPER = 36


def plain_runner(max_output: int = MAX_OUTPUT) -> Callable[[], LocalRunner]:
    """Return what makes runners without plugins: enough for steps that need no settings."""
    return partial(LocalRunner, max_output=max_output)


def prepare(factory: str, arguments: dict[str, Any]) -> Callable[[], LocalRunner]:
    """Call `module:function` with arguments; it imports what runners need and returns what makes one."""
    module, _, name = factory.partition(":")
    make: Callable[[], LocalRunner] = getattr(importlib.import_module(module), name)(**arguments)
    return make


def serve(control: socket.socket, factory: str, arguments: dict[str, Any]) -> NoReturn:
    """Be the zygote until the control socket closes; called in the main thread of a new process."""
    code = BROKEN
    try:
        make = prepare(factory, arguments)
        # What is there now is shared with every runner; the collector would touch, and so copy, all of it.
        gc.collect()
        gc.freeze()
        gc.disable()
        Zygote(control, make).serve()
        code = 0
    except BaseException:  # noqa: BLE001 - said where the daemon's own errors go, and over
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class Zygote:
    def __init__(self, control: socket.socket, make: Callable[[], LocalRunner]) -> None:
        self._control = control
        self._make = make
        self._runners: dict[int, int] = {}
        self._left: set[int] = set()
        self._ending: dict[int, float] = {}
        self._received = b""
        self._fds: list[int] = []
        self._open = True
        self._last: float | None = None
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()

    def serve(self) -> None:
        _adopt_orphans()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._say({"ready": True})
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self._open or self._runners or self._ending:
            ready = {fd for fd, _ in poll.poll(self._timeout())}
            if self._woken in ready:
                with suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._reap()
            if self._control.fileno() in ready and not self._listen():
                self._open = False
                self._last = time.monotonic() + PATIENCE
                poll.unregister(self._control.fileno())
            self._look()

    def _timeout(self) -> int | None:
        """Return how many milliseconds from now there is something to do, None for never."""
        times = [*self._ending.values()]
        if self._last is not None:
            times.append(self._last)
        elif self._runners:
            times.append(time.monotonic() + _LOOK)
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1) if times else None

    def _look(self) -> None:
        now = time.monotonic()
        for group in [group for group, at in self._ending.items() if at <= now]:
            del self._ending[group]
            signal_group(group, signal.SIGKILL)
        if self._last is not None and now >= self._last:
            self._last = None
            for pid in self._runners:
                _kill(pid)
        elif self._runners and self._open:
            # What steps left running on purpose, so that it is not taken for the remains of a dead runner.
            self._left = {pid for pid in self._orphans() if pid not in self._ending}

    def _listen(self) -> bool:
        """Take what the daemon says; False when it is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 65_536, 64)
        except OSError:
            return False
        self._fds += fds
        if not data:
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "fork" in message:
                self._fork(message)
            elif "kill" in message:
                for pid, number in self._runners.items():
                    if number == message["kill"]:
                        _kill(pid)
        return True

    def _fork(self, message: dict[str, Any]) -> None:
        ends, self._fds = self._fds[:3], self._fds[3:]
        try:
            if len(ends) < 3:
                # What there was no room for in our table the system has left out.
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = os.fork()
        except OSError as error:
            why = f"no process can be forked: {error.strerror}"
            self._say({"failed": message["fork"], "why": why, "errno": error.errno})
        else:
            if pid == 0:
                self._become_runner(ends, message)
            self._runners[pid] = message["fork"]
            self._say({"forked": message["fork"], "pid": pid})
        finally:
            for end in ends:
                os.close(end)

    def _become_runner(self, ends: list[int], message: dict[str, Any]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            for fd in (self._woken, self._wake, *self._fds):
                os.close(fd)
            self._control.close()
            link, guard, output = ends
            os.set_inheritable(link, False)
            os.set_inheritable(guard, False)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            runner_child.serve(
                socket.socket(fileno=link),
                socket.socket(fileno=guard),
                self._make,
                silence=message["silence"],
                limit=message["limit"],
            )
        except BaseException:  # noqa: BLE001 - a bug; a forked process never runs on into its parent's code
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(BROKEN)

    def _reap(self) -> None:
        while True:
            try:
                # Looked at before it is reaped: until then nobody else can have its number.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            number = self._runners.pop(pid, None)
            clean = found.si_code == os.CLD_EXITED and found.si_status == CLOSED
            if number is not None and not clean:
                signal_group(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._left.discard(pid)
            if number is not None:
                if not clean:
                    self._end_remains()
                self._say({"exited": number, "code": os.waitstatus_to_exitcode(status)})

    def _end_remains(self) -> None:
        """End what a dead runner's steps had started: those that lead a session, as a step's programs do."""
        for pid in self._orphans():
            if pid not in self._left and pid not in self._ending:
                with suppress(ProcessLookupError):
                    if os.getsid(pid) == pid:
                        signal_group(pid, signal.SIGTERM)
                        self._ending[pid] = time.monotonic() + GRACE

    def _orphans(self) -> list[int]:
        return [pid for pid in children_of(os.getpid()) if pid not in self._runners]

    def _say(self, message: dict[str, Any]) -> None:
        # A daemon that is gone hears nothing, and the next read says that it is.
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")


def _kill(pid: int) -> None:
    signal_group(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_daemon(keep: int) -> None:
    """Let go of everything that the process which forked us has open and set, but for `keep` and standard error."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    for entry in list(os.scandir("/dev/fd")):
        if (fd := int(entry.name)) > 2 and fd != keep:
            with suppress(OSError):
                os.close(fd)


def main() -> NoReturn:
    """Be a zygote that was started as a program: `python -m … FD FACTORY ARGUMENTS`."""
    fd = int(sys.argv[1])
    leave_daemon(fd)
    serve(socket.socket(fileno=fd), sys.argv[2], json.loads(sys.argv[3]))


if __name__ == "__main__":
    main()
