"""Loads one plugin, as far as that concerns nobody else. Called inside a bounded thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brain_core.plugin import checks
from brain_core.plugin.discovery import Found

if TYPE_CHECKING:
    from pydantic import BaseModel

    from brain_core.sqlfiles import OwnTables
    from brain_core.trigger import Trigger
    from brain_core.workflow import Step


@dataclass(slots=True)
class Loaded:
    """What loading one plugin gave."""

    hooks: dict[str, Any] = field(default_factory=dict)
    types: list[type[Step]] = field(default_factory=list)
    triggers: list[type[Trigger]] = field(default_factory=list)
    model: type[BaseModel] | None = None
    tables: OwnTables | None = None


def load(found: Found) -> Loaded:
    """Import a plugin and check what it brings; Quarantine says what was wrong."""
    checks.check_core(found)
    hooks = checks.hooks_of(checks.imported(found), found)
    steps, triggers = checks.step_types_of(hooks), checks.trigger_types_of(hooks)
    return Loaded(hooks, steps, triggers, checks.settings_model_of(hooks), _tables_of(hooks, found))


def _tables_of(hooks: Mapping[str, Any], found: Found) -> OwnTables | None:
    if checks.hook_named("brain_migrations", hooks) is None:
        return None
    from brain_core.plugin.tables import tables_of  # late: most processes have no plugin with tables

    return tables_of(hooks, found)


def provides(found: Found, loaded: Loaded) -> list[str]:
    """Return what a plugin brings, in words, as `brain plugins list` has it."""
    brought = [f"step {one.type_label()}" for one in loaded.types]
    brought += [f"trigger {one.type_name}" for one in loaded.triggers]
    if loaded.model is not None:
        brought.append(f"settings plugins.{found.section}")
    if loaded.tables is not None:
        brought.append(f"tables {loaded.tables.schema}")
    if checks.hook_named("brain_commands", loaded.hooks) is not None:
        brought.append("commands")
    if checks.hook_named("brain_services", loaded.hooks) is not None:
        brought.append("services")
    events = ("brain_run_facts", "brain_run_started", "brain_step_finished", "brain_run_finished")
    return brought + [f"hook {name}" for name in events if checks.hook_named(name, loaded.hooks) is not None]
