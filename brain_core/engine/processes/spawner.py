"""The zygote as the daemon sees it: asks it for runners, hears of their ends, and replaces it when it dies."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from brain_core.errors import RunnerDied

logger = logging.getLogger("brain.runner")

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS})
"""What the system answers when it has no file descriptor, process or memory to give: it may have some again soon."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before it is asked again, the first time and at most; each pause is twice the one before."""
ASK_AGAIN = 0.01
"""Seconds before the zygote is asked again that has not read what it was asked before."""
PLAIN = "brain_core.engine.processes.zygote:plain_runner"


@dataclass(frozen=True, slots=True)
class Preparation:
    """What the zygote does before it forks: calls `factory` (`module:function`) with JSON arguments.

    The factory imports what runners need and returns a callable that makes a LocalRunner.
    """

    factory: str = PLAIN
    arguments: dict[str, Any] = field(default_factory=dict)


class Child:
    """A runner process: our ends of its link, its guard and its output, and how it ended."""

    def __init__(
        self, number: int, ends: tuple[socket.socket, socket.socket, int], kill: Callable[[int], None]
    ) -> None:
        self.number = number
        self.link, self.guard, self.output = ends
        self.pid = 0
        self._kill = kill
        self._pidfd = -1
        self._closed = False
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int | None] = loop.create_future()
        """Its exit code, negative for a signal; None when nobody can know."""

    def is_forked(self, pid: int) -> None:
        self.pid = pid
        if not self._closed and hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(pid)
        if not self.started.done():
            self.started.set_result(pid)

    def is_alone(self, why: str) -> None:
        """The zygote is gone: that the process has ended can still be seen, but not how."""
        if self._pidfd < 0:
            if not self.started.done():
                self.has_exited(None, why)
            return
        loop = asyncio.get_running_loop()
        pidfd = self._pidfd

        def ended() -> None:
            loop.remove_reader(pidfd)
            self.has_exited(None)

        loop.add_reader(pidfd, ended)

    def has_exited(self, code: int | None, why: str = "it was not started", number: int | None = None) -> None:
        """`number` is the system's for the error that kept it from being started."""
        if not self.started.done():
            self.started.set_exception(OSError(number, why) if number in EXHAUSTED else RunnerDied(why))
        if not self.exited.done():
            self.exited.set_result(code)

    def kill(self) -> None:
        """End the process now, whatever it does; the zygote ends what it leaves."""
        if self._pidfd >= 0:
            # Safe even when the zygote is gone: the descriptor means this process and no other.
            with suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        else:
            self._kill(self.number)

    def close(self) -> None:
        """Let go of what is left open on our side."""
        self._closed = True
        self.guard.close()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


class Spawner:
    """Starts runner processes. Make it with `forked` before there is an event loop, a thread or a connection; made
    otherwise, or when the zygote has died, the next `spawn` starts a zygote as a program of its own."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation
        self._control: socket.socket | None = None
        self._wait: Callable[[], Any] | None = None
        self._reaper: threading.Thread | None = None
        self._attached = False
        self._received = b""
        self._children: dict[int, Child] = {}
        self._numbers = 0
        self._short = False
        self.make_room: Callable[[], None] = lambda: None
        """Called before each pause: whoever keeps runners for later may end one."""
        self.pid = 0

    @classmethod
    def forked(cls, preparation: Preparation) -> Spawner:
        """Fork the zygote off this process, whose imports it then shares. Only before loop, threads and connections."""
        if threading.active_count() > 1:
            raise RuntimeError("a process with threads cannot be forked safely")
        spawner = cls(preparation)
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            from brain_core.engine.processes import zygote

            try:
                ours.close()
                zygote.leave_daemon(theirs.fileno())
                zygote.serve(theirs, preparation.factory, preparation.arguments)
            finally:
                os._exit(1)
        theirs.close()
        spawner._control, spawner.pid = ours, pid
        spawner._wait = lambda: os.waitpid(pid, 0)
        return spawner

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        module = "brain_core.engine.processes.zygote"
        arguments = [str(theirs.fileno()), self._preparation.factory, json.dumps(self._preparation.arguments)]
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], pass_fds=[theirs.fileno()])
            undo.pop_all()
        self._control, self.pid, self._wait = ours, process.pid, process.wait

    def _attach(self) -> socket.socket:
        if self._control is None:
            self._launch()
        control = self._control
        if control is None:
            raise RuntimeError("the zygote was not started")
        if not self._attached:
            # Reaped by a thread: the loop's own watcher of children may not be ours to use.
            reaper = threading.Thread(target=self._wait, name="brain-zygote-end", daemon=True)
            try:
                reaper.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, str(error)) from None
            self._reaper = reaper
            self._attached = True
            self._received = b""
            control.setblocking(False)
            asyncio.get_running_loop().add_reader(control.fileno(), self._listen, control)
        return control

    async def spawn(self, *, silence: float, limit: int) -> Child:
        """Fork a runner; RunnerDied when there is none to be had. `silence` is the guard's, `limit` the link's.

        A system that has no descriptor, process or memory left is waited for.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                child = await self._spawned(silence, limit)
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                if not self._short:
                    logger.warning("no runner process can be started now, so runs wait: %s", error.strerror)
                self._short = True
            else:
                if self._short:
                    logger.info("runner processes can be started again")
                self._short = False
                return child
            self.make_room()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _spawned(self, silence: float, limit: int) -> Child:
        for attempt in (1, 2):
            child, theirs, line = self._prepared(silence, limit)
            try:
                await self._ask(child, theirs, line)
                await child.started
            except BaseException as error:
                # Also for a process that is forked after its caller was cancelled: it sees the end of its link.
                child.link.close()
                child.close()
                os.close(child.output)
                if not isinstance(error, RunnerDied):
                    raise
                # The zygote may have died before it saw the request: the next one is a new one.
                if attempt == 2:
                    raise
            else:
                return child
        raise AssertionError("two attempts are made")

    def _prepared(self, silence: float, limit: int) -> tuple[Child, list[int], bytes]:
        """Return a child that is to be asked for, the zygote's ends of it, and the request."""
        self._attach()
        self._numbers += 1
        number = self._numbers
        with ExitStack() as undo:
            link, their_link = (undo.enter_context(end) for end in socket.socketpair())
            guard, their_guard = (undo.enter_context(end) for end in socket.socketpair())
            output, their_output = os.pipe()
            undo.pop_all()
        guard.setblocking(False)
        os.set_blocking(output, False)
        child = self._children[number] = Child(number, (link, guard, output), self._kill)
        line = json.dumps({"fork": number, "silence": silence, "limit": limit}).encode() + b"\n"
        return child, [their_link.detach(), their_guard.detach(), their_output], line

    async def _ask(self, child: Child, theirs: list[int], line: bytes) -> None:
        """Send a request with the ends of the one who is asked; waits for a zygote that is slow to read."""
        try:
            # When there is another one after a wait, this child was lost with the one before.
            control = self._control
            while control is not None and control is self._control:
                try:
                    socket.send_fds(control, [line], theirs)
                except BlockingIOError:
                    await asyncio.sleep(ASK_AGAIN)
                except OSError:
                    self._lost(control)
                else:
                    return
        except BaseException:
            self._children.pop(child.number, None)
            raise
        finally:
            for end in theirs:
                os.close(end)

    def _kill(self, number: int) -> None:
        if self._control is not None:
            with suppress(OSError):
                self._control.send(json.dumps({"kill": number}).encode() + b"\n")

    def _listen(self, control: socket.socket) -> None:
        try:
            data = control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(control)
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "forked" in message:
                self._children[message["forked"]].is_forked(message["pid"])
            elif "failed" in message:
                self._children.pop(message["failed"]).has_exited(None, message["why"], message["errno"])
            elif "exited" in message:
                self._children.pop(message["exited"]).has_exited(message["code"])

    def _lost(self, control: socket.socket) -> None:
        """The zygote is gone: what runs goes on, and how it ends is not known any more."""
        if control is not self._control:
            return
        asyncio.get_running_loop().remove_reader(control.fileno())
        control.close()
        self._control, self._attached = None, False
        children, self._children = self._children, {}
        for child in children.values():
            child.is_alone("the process that starts runners has ended")

    async def close(self) -> None:
        """Let the zygote go, and wait until it has ended what it has to."""
        reaper = self._reaper
        if self._control is not None:
            self._attach()
            reaper = self._reaper
            self._lost(self._control)
        if reaper is not None:
            await asyncio.to_thread(reaper.join)
