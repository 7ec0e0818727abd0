"""Strangers' code, called so that it can neither raise into us nor keep us waiting.

What cannot be had inside one process: code that ends it (`os._exit`), and code that never lets go of the interpreter.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_REASON = 400
"""How long a reason may get; what is cut stands in the detail."""


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


def one_line(text: str) -> str:
    """Return a text as one line of bounded length."""
    line = " ".join(text[: 4 * MAX_REASON].split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def what_raised(error: BaseException) -> str:
    """Return type and message of an exception in one line, even of one whose message cannot be had."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - a stranger's __str__
        message = "(its message cannot be read)"
    name = type(error).__name__
    return one_line(f"{name}: {message}" if message else name)


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


def start_thread(work: Callable[[], Any], name: str) -> threading.Thread:
    """Start a daemon thread that sees the context variables of the caller."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


def stack_of(thread: threading.Thread) -> str:
    """Return where a thread is at this moment."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))
