"""brain-shell: `ShellStep`, a step that runs a shell command in which no value ever becomes code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_shell.step import ShellStep

__all__ = ["ShellStep"]


def __getattr__(name: str) -> Any:
    if name != "ShellStep":
        raise AttributeError(f"module 'brain_shell' has no attribute '{name}'")
    from brain_shell.step import ShellStep

    globals()[name] = ShellStep
    return ShellStep
