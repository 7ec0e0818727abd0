"""Webhook: the trigger type `webhook`, whose runs are started by deliveries over HTTP."""

from __future__ import annotations

from typing import ClassVar, Literal

from brain_core import Trigger


class Webhook(Trigger):
    """A run for each delivery that is signed as its scheme says."""

    type_name: ClassVar[str] = "webhook"

    webhook: bool = True
    scheme: Literal["standard", "github", "bearer"] = "standard"

    def describe(self) -> str:
        return f"for each delivery to its URL (scheme {self.scheme})"
