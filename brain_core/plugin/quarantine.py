"""Strangers' code, called so that it can neither raise into us nor keep us waiting.

What cannot be had inside one process: code that ends it (`os._exit`), and code that never lets go of the interpreter.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from brain_core.threads import one_line, start_thread, what_raised

T = TypeVar("T")


class Quarantine(Exception):
    """Why a plugin cannot be used: `reason` is one line, `detail` all that is known."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = one_line(reason)
        self.detail = detail or reason
        super().__init__(self.reason)


class TookTooLong(Exception):
    """A call has not come back in time; `stack` says where it was."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        super().__init__("took too long")


def trace_of(error: BaseException) -> str:
    """Return the whole traceback, as far as it can be told."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - a stranger's __str__
        return what_raised(error)


def bounded(call: Callable[[], T], limit: float, *, name: str) -> T:
    """Call in a thread, and return or raise what it does; TookTooLong after `limit` seconds.

    A thread that is not back by then is left behind: it is a daemon and does not keep the process from ending. What is
    printed meanwhile goes to stderr, so that a plugin that prints as it is loaded does not spoil `--json`.
    """
    answer: list[T] = []
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(call())
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like included: this is what we are here for
            trouble.append(error)

    kept = sys.stdout
    sys.stdout = sys.stderr
    try:
        thread = start_thread(work, name)
        thread.join(limit)
    finally:
        sys.stdout = kept
    if thread.is_alive():
        raise TookTooLong(stack_of(thread))
    if trouble:
        raise trouble[0]
    return answer[0]


def stack_of(thread: threading.Thread) -> str:
    """Return where a thread is at this moment."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))
