"""The hooks of brain-shell; nothing is imported before a hook is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from brain_core import Step


@hookimpl
def brain_step_types() -> list[type[Step]]:
    from brain_shell.step import ShellStep

    return [ShellStep]


@hookimpl
def brain_settings() -> type[BaseModel]:
    from brain_shell.settings import ShellSettings

    return ShellSettings
