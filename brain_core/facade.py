"""What services of plugins use beside the door: the open brain that they are given, what it answers, and its errors.

To import this imports most of brain-core: do it where a service is made, not at the top of a plugin's first module.
"""

from __future__ import annotations

from brain_core.app import Brain
from brain_core.app.control import Cancelled
from brain_core.app.figures import Figures
from brain_core.app.following import RunEvent
from brain_core.app.recent import Recent
from brain_core.app.serving import Health, Started
from brain_core.app.shapes import (
    cancelled_shape,
    changed_shape,
    fire_shape,
    last_run_shape,
    listed_shape,
    run_shape,
    step_shape,
    trigger_shape,
)
from brain_core.app.trigger_types import Described
from brain_core.app.triggers import Listed, Triggers
from brain_core.errors import (
    BrainError,
    ConfigError,
    DatabaseError,
    DatabaseUnreachable,
    IdempotencyConflict,
    InputError,
    PluginError,
    RunnerDied,
    RunNotFound,
    TriggerNotFound,
    TriggerRefused,
    UsageError,
    WorkflowFileError,
    nearest,
)
from brain_core.plugin.info import PluginInfo, plugin_shape
from brain_core.store.enqueuer import Accepted
from brain_core.store.fires import LedgerEntry, LedgerRow
from brain_core.store.patterns import matches_any
from brain_core.store.triggers import TriggerRow
from brain_core.validation import wanted

__all__ = [
    "Accepted",
    "Brain",
    "BrainError",
    "Cancelled",
    "ConfigError",
    "DatabaseError",
    "DatabaseUnreachable",
    "Described",
    "Figures",
    "Health",
    "IdempotencyConflict",
    "InputError",
    "LedgerEntry",
    "LedgerRow",
    "Listed",
    "PluginError",
    "PluginInfo",
    "Recent",
    "RunEvent",
    "RunNotFound",
    "RunnerDied",
    "Started",
    "TriggerNotFound",
    "TriggerRefused",
    "TriggerRow",
    "Triggers",
    "UsageError",
    "WorkflowFileError",
    "cancelled_shape",
    "changed_shape",
    "fire_shape",
    "last_run_shape",
    "listed_shape",
    "matches_any",
    "nearest",
    "plugin_shape",
    "run_shape",
    "step_shape",
    "trigger_shape",
    "wanted",
]
