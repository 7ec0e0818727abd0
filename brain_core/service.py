"""Service: a long-running part that a plugin brings and a daemon serves within its process (`brain_services`)."""

from __future__ import annotations

from typing import Protocol


class Service(Protocol):
    """What a daemon starts before its first run and stops with its drain; all of it in the daemon's event loop.

    Nothing in it may block the loop: what has to, takes a thread of its own.
    """

    @property
    def name(self) -> str:
        """What the log calls it, such as `http api`."""
        ...

    async def start(self) -> str:
        """Begin, and return one line for the log, such as `on http://127.0.0.1:8001`.

        A BrainError means that the daemon must not run without it: `brain daemon` then ends with that line. Anything
        else that is raised, and a start that takes longer than the setting `plugin_timeout`, is the plugin's own
        trouble: it is put in quarantine, and the daemon goes on without it.
        """
        ...

    async def stop(self, grace: float) -> None:
        """End: take nothing new from this moment on, finish what was taken within `grace` seconds, cut what is left.

        Called when the drain begins, while runs in hand still go on to their end, and after a start that was given up,
        too. Cancelled when the daemon is told to stop at once, or some seconds after the grace.
        """
        ...
