"""What is known of one plugin, as `brain plugins list` and `check` show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

State: TypeAlias = Literal["active", "disabled", "quarantined"]


@dataclass(slots=True)
class PluginInfo:
    """A plugin that was found. `reason` is one line, `detail` all that is known (a traceback, say)."""

    name: str
    distribution: str
    version: str
    module: str
    provides: list[str] = field(default_factory=list)
    state: State = "active"
    reason: str | None = None
    detail: str = ""

    @property
    def label(self) -> str:
        """Name, distribution and version, as messages name a plugin."""
        return f"plugin '{self.name}' ({self.distribution} {self.version})"
