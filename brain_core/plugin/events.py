"""Calls event hooks one by one, each in a daemon thread and within a time limit.

An `async` hook gets an event loop of its own in that thread. In ours, one that blocks would stop every run, and one
that swallows its cancellation could never be ended; so it can only hurt itself.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from brain_core.errors import PluginError
from brain_core.threads import start_thread, what_raised


async def call_hook(plugin: str, hook: str, call: Callable[[], Any], limit: float) -> Any:
    """Call one hook and return its answer; PluginError when it raises or is not back in time.

    In the latter case it is left behind.
    """
    loop = asyncio.get_running_loop()
    back: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def work() -> None:
        answer: Any = None
        trouble: BaseException | None = None
        try:
            answer = call()
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer, running))
        except BaseException as error:  # noqa: BLE001 - SystemExit of a stranger must not end anything of ours
            trouble = error
        try:
            loop.call_soon_threadsafe(_settle, back, (answer, trouble))
        except RuntimeError:
            return  # our loop has ended meanwhile; nobody waits any more

    start_thread(work, f"hook {plugin} {hook}")
    done, _ = await asyncio.wait({back}, timeout=limit)
    if not done:
        _ask_to_stop(running)
        raise PluginError(f"plugin '{plugin}': {hook} took longer than {limit:g} s (setting hook_timeout)")
    answer, error = back.result()
    if error is not None:
        raise PluginError(f"plugin '{plugin}': {hook} raised {what_raised(error)}") from error
    return answer


async def _awaited(answer: Awaitable[Any], running: list[Any]) -> Any:
    task = asyncio.current_task()
    running.append((asyncio.get_running_loop(), task))
    return await answer


def _ask_to_stop(running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]]) -> None:
    for loop, task in running:
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:
            return


def _settle(back: asyncio.Future[Any], result: Any) -> None:
    if not back.done():
        back.set_result(result)
