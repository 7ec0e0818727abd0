"""A thread in the runner that ends the runner's children when the daemon is gone or has been silent for too long (G12).

It has a socket of its own, so that it works while workflow code blocks the event loop. The other end says `.` to be
heard and `?` to ask which line of the workflow file the runner stands on.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

from brain_core.engine.processes.ending import end_own_children

BEAT = b"."
ASK = b"?"

CLOSED = 113
"""Exit code of a runner that was asked to close."""
ORPHANED = 114
"""Exit code of a runner whose daemon is gone."""
SILENT = 115
"""Exit code of a runner whose daemon said nothing for too long."""
BROKEN = 116
"""Exit code of a runner whose event loop cannot go on."""

_ending = threading.Lock()


class Guard:
    """Watches `end`; `silence` is how many seconds without a beat are too many, 0 for no limit."""

    def __init__(self, end: socket.socket, silence: float) -> None:
        self.file = ""
        self.ending = False
        """Whether children are being ended: how their steps end from now on is not what they did."""
        self._end = end
        self._silence = silence
        self._watched = threading.get_ident()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="brain-guard", daemon=True).start()

    def _watch(self) -> None:
        code = self._wait_for_end()
        self.ending = True
        end_process(code)

    def _wait_for_end(self) -> int:
        """Watch until there is a reason to end; return the exit code that names it."""
        poll = select.poll()
        poll.register(self._end.fileno(), select.POLLIN)
        heard = time.monotonic()
        try:
            while True:
                left = heard + self._silence - time.monotonic() if self._silence else None
                if left is not None and left <= 0:
                    return SILENT
                if not poll.poll(None if left is None else left * 1000):
                    continue
                data = self._end.recv(4096)
                if not data:
                    return ORPHANED
                heard = time.monotonic()
                if ASK in data:
                    self._end.sendall(b"%d\n" % self._line())
        except OSError:
            # Workflow code has closed our socket: nobody could tell us anything any more.
            return ORPHANED

    def _line(self) -> int:
        """Return the line of the workflow file at which the watched thread stands; 0 when it stands elsewhere."""
        frame = sys._current_frames().get(self._watched)
        while frame is not None:
            if frame.f_code.co_filename == self.file:
                return frame.f_lineno
            frame = frame.f_back
        return 0


def end_process(code: int) -> NoReturn:
    """End what this process has started, then the process itself, whatever its other threads do."""
    # One thread does it to the end: what another one has told to end is not to be seen by a second any more.
    _ending.acquire()
    try:
        with suppress(Exception):
            end_own_children()
    finally:
        os._exit(code)
