"""The hook. What it needs is imported when it is called, so that finding the plugin costs next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    from brain_core import Trigger


@hookimpl
def brain_trigger_types() -> list[type[Trigger]]:
    from brain_plugin_every.trigger import Every

    return [Every]
