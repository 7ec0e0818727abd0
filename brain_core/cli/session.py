"""How a command gets at the brain: settings, plugins, database, and everything closed again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.config import LoadedSettings
    from brain_core.plugin.manager import PluginManager

T = TypeVar("T")


def load(overrides: Mapping[str, Any] | None = None) -> tuple[LoadedSettings, PluginManager]:
    """Return the settings (`overrides` are those of flags) and the plugins; no database is touched."""
    from brain_core.config import load_settings
    from brain_core.plugin.manager import PluginManager

    settings = load_settings(overrides)
    return settings, PluginManager.load(settings.settings, origins=settings.origins)


def with_brain(
    work: Callable[[Brain], Awaitable[T]],
    *,
    ready: bool = True,
    loaded: tuple[LoadedSettings, PluginManager] | None = None,
) -> T:
    """Open the brain, do the work, close it, and return its answer; `ready=False` leaves the schema as it is.

    `loaded` is what `load` has returned to a command that had to look at it first.
    """

    async def whole() -> T:
        from brain_core.app import Brain

        async with Brain.open(*(loaded or load()), ready=ready) as brain:
            return await work(brain)

    return asyncio.run(whole())
