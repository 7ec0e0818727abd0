"""Code that may block, raise anything or never come back, called in daemon threads.

Not in an executor: its threads are joined at exit, so that a call which never returns would hold up the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

MAX_LINE = 400
"""How long the line for an exception may get."""


def start_thread(work: Callable[[], Any], name: str) -> threading.Thread:
    """Start a daemon thread that sees the context variables of the caller."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


async def in_thread(call: Callable[[], Any], name: str = "brain-step") -> Any:
    """Call in a new daemon thread and return or raise what it does.

    When the waiting task is cancelled the thread is left behind.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def work() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = call()
        except (StopIteration, GeneratorExit) as error:
            # A future cannot hold the first, and the second would look like the end of the coroutine that waits.
            failure = RuntimeError(what_raised(error))
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting task
            failure = error
        try:
            loop.call_soon_threadsafe(settle, value, failure)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    start_thread(work, name)
    return await future


def call_in(
    loop: asyncio.AbstractEventLoop, call: Callable[..., Coroutine[Any, Any, T]]
) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return the same call for any event loop of any thread; the work is done in `loop`, and is cancelled with it."""

    async def anywhere(*args: Any, **kwargs: Any) -> T:
        if asyncio.get_running_loop() is loop:
            return await call(*args, **kwargs)
        work = call(*args, **kwargs)
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
        except RuntimeError:
            work.close()  # the loop is closed: nobody would ever await it
            raise

    return anywhere


def one_line(text: str) -> str:
    """Return a text as one line of bounded length."""
    line = " ".join(text[: 4 * MAX_LINE].split())
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def type_name(value: object) -> str:
    """Return the name of a value's type, also where a stranger's metaclass would raise for it."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def what_raised(error: BaseException) -> str:
    """Return type and message of an exception in one line, even of one whose message cannot be had."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - a stranger's __str__
        message = "(its message cannot be read)"
    name = type_name(error)
    return one_line(f"{name}: {message}" if message else name)
