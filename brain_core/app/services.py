"""The services of plugins within a daemon: asked for, started, and stopped when it drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from brain_core.errors import BrainError, PluginError
from brain_core.plugin.events import call_hook
from brain_core.threads import one_line, what_raised

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.service import Service

T = TypeVar("T")

logger = logging.getLogger("brain.daemon")

HOOK = "brain_services"
GRACE = 30.0
"""Seconds that services have for what they have taken when the daemon's own drain has no bound."""
LAST_WORDS = 2.0
"""Seconds beyond its grace after which a service that is not back is cancelled, and then left alone."""


class Services:
    """The services of one daemon. `given` are started in place of those of the hook: what `brain serve` serves.

    What plugins raise beside BrainErrors stays with them (G18): it is logged, and one that does not start is put in
    quarantine. Nothing guards against code that blocks the loop.
    """

    def __init__(self, brain: Brain, given: Sequence[Service] | None = None) -> None:
        self._brain = brain
        self._given = given
        self._limit = brain.settings.plugin_timeout
        self._started: list[Service] = []

    async def start(self) -> None:
        """Start what the plugins bring; BrainError when one of them says that the daemon must not run."""
        for plugin, service in await self._asked():
            try:
                line = await _guarded(service.start, self._limit)
            except Exception as error:
                await self._stop(service, 0.0, told=False)
                if isinstance(error, BrainError):
                    raise
                why = f"service '{_name(service)}' did not start: {_why(error, self._limit)}"
                if plugin is None:
                    raise PluginError(why) from error
                logger.error("plugin '%s': %s; it goes on without it", plugin, why, exc_info=error)
                self._brain.plugins.quarantine(plugin, why)
            else:
                self._started.append(service)
                logger.info("%s %s", _name(service), one_line(str(line)))

    async def stop(self, grace: float | None) -> None:
        """Stop all of them at once, the bound of the drain being `grace`; who calls may cancel it."""
        stopping, self._started = self._started, []
        if stopping:
            seconds = GRACE if grace is None else grace
            await asyncio.gather(*(self._stop(service, seconds) for service in stopping))

    async def _asked(self) -> list[tuple[str | None, Service]]:
        if self._given is not None:
            return [(None, service) for service in self._given]
        found: list[tuple[str | None, Service]] = []
        for plugin, call in self._brain.plugins.calls(HOOK):
            try:
                answer = await call_hook(plugin, HOOK, partial(call, {"brain": self._brain}), self._limit)
                if not isinstance(answer, list | tuple):
                    raise PluginError(f"plugin '{plugin}': {HOOK} returned {type(answer).__name__}, not a list")
            except PluginError as error:
                if isinstance(error.__cause__, BrainError):
                    raise error.__cause__ from None
                logger.error("%s; it goes on without it", error, exc_info=error.__cause__)
                self._brain.plugins.quarantine(plugin, str(error))
            else:
                found += [(plugin, service) for service in answer]
        return found

    async def _stop(self, service: Service, grace: float, *, told: bool = True) -> None:
        try:
            await _guarded(lambda: service.stop(grace), grace + LAST_WORDS)
        except Exception as error:
            # One that did not even start has often nothing to stop.
            why = _why(error, grace + LAST_WORDS)
            level = logging.WARNING if told else logging.DEBUG
            logger.log(level, "service '%s' did not stop in good order: %s", _name(service), why, exc_info=error)


async def _guarded(work: Callable[[], Coroutine[Any, Any, T]], limit: float) -> T:
    """Return what a stranger's coroutine does within so many seconds, raising nothing that would end the loop."""

    async def kept() -> T:
        try:
            return await work()
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise RuntimeError(f"raised {what_raised(error)}") from error

    task = asyncio.ensure_future(kept())
    try:
        done, _ = await asyncio.wait({task}, timeout=limit)
        if not done:
            raise TimeoutError
        if task.cancelled():
            # Not we: something that it has waited for.
            raise RuntimeError("raised CancelledError")
        return task.result()
    finally:
        if not task.done():
            # Not waited for: it may swallow this.
            task.cancel()


def _why(error: BaseException, limit: float) -> str:
    return f"took longer than {limit:g} s" if isinstance(error, TimeoutError) else what_raised(error)


def _name(service: Service) -> str:
    return one_line(str(getattr(service, "name", type(service).__name__)))
