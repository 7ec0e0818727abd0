"""What is known of one plugin, as `brain plugins list` and `check` show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

_CORE_PACKAGE = "brain_core"

State: TypeAlias = Literal["active", "disabled", "quarantined"]


@dataclass(slots=True)
class PluginInfo:
    """A plugin that was found. `reason` is one line, `detail` all that is known (a traceback, say).

    `enabled` is the field of that name in its section of the configuration: what is installed may be switched off.
    None when the section has no such field.
    """

    name: str
    distribution: str
    version: str
    module: str
    provides: list[str] = field(default_factory=list)
    state: State = "active"
    reason: str | None = None
    detail: str = ""
    enabled: bool | None = None

    @property
    def label(self) -> str:
        """Name, distribution and version, as messages name a plugin."""
        return f"plugin '{self.name}' ({self.distribution} {self.version})"


def plugin_shape(plugin: PluginInfo) -> dict[str, Any]:
    """Return an installed plugin as JSON holds it."""
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "module": plugin.module,
        "provides": list(plugin.provides),
        "state": plugin.state,
        "enabled": plugin.enabled,
        "reason": plugin.reason,
    }


def described(kind: type) -> str:
    """Return what messages call a step type or a trigger type."""
    if hasattr(kind, "type_label"):
        return f"step type '{kind.type_label()}'"
    return f"trigger type '{getattr(kind, 'type_name', kind.__name__)}'"


def common_names(module: str, other: str) -> int:
    """Return how many leading names two modules share; inside brain_core only those of one part of it count."""
    mine, theirs = module.split("."), other.split(".")
    count = 0
    for left, right in zip(mine, theirs, strict=False):
        if left != right:
            break
        count += 1
    return 0 if mine[0] == _CORE_PACKAGE and count < min(len(mine), 3) else count
