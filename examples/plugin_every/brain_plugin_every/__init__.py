"""brain-plugin-every: what workflow files import."""

from __future__ import annotations

from brain_plugin_every.trigger import Every

__all__ = ["Every"]
