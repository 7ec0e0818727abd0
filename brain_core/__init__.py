"""brain-core: a workflow runner that you can leave alone.

This module is the public door: what a workflow author or a plugin author imports, and nothing else. Its names are
loaded when they are first used, so that a command pays only for what it needs.
"""

from __future__ import annotations

# Not from typing, whose import takes longer than all of this; type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from brain_core.app import Brain
    from brain_core.builtin.cron import Cron
    from brain_core.builtin.function import FunctionStep
    from brain_core.context import StepContext
    from brain_core.errors import BrainError, StepFailed, TriggerRefused
    from brain_core.placeholders import Placeholder, Scope
    from brain_core.plugin.spec import hookimpl
    from brain_core.run import Run, StepRun
    from brain_core.service import Service
    from brain_core.tables import Query, Tables
    from brain_core.templates import JsonTemplate, Template, TemplateMark, TextTemplate
    from brain_core.trigger import Registration, Trigger
    from brain_core.workflow import Step, Workflow

__version__ = "0.1.0"

_HOMES = {
    "Brain": "app",
    "BrainError": "errors",
    "Cron": "builtin.cron",
    "FunctionStep": "builtin.function",
    "JsonTemplate": "templates",
    "Placeholder": "placeholders",
    "Query": "tables",
    "Registration": "trigger",
    "Run": "run",
    "Scope": "placeholders",
    "Service": "service",
    "Step": "workflow",
    "StepContext": "context",
    "StepFailed": "errors",
    "StepRun": "run",
    "Tables": "tables",
    "Template": "templates",
    "TemplateMark": "templates",
    "TextTemplate": "templates",
    "Trigger": "trigger",
    "TriggerRefused": "errors",
    "Workflow": "workflow",
    "hookimpl": "plugin.spec",
}

__all__ = [
    "Brain",
    "BrainError",
    "Cron",
    "FunctionStep",
    "JsonTemplate",
    "Placeholder",
    "Query",
    "Registration",
    "Run",
    "Scope",
    "Service",
    "Step",
    "StepContext",
    "StepFailed",
    "StepRun",
    "Tables",
    "Template",
    "TemplateMark",
    "TextTemplate",
    "Trigger",
    "TriggerRefused",
    "Workflow",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'brain_core' has no attribute '{name}'")
    value = getattr(import_module(f"brain_core.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
