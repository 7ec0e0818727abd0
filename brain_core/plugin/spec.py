"""Every hook of brain-core: when it is called, with what, and what becomes of its answer.

A plugin is a module named by an entry point of the group `brain`; its hooks are the functions in it marked `@hookimpl`.
An argument that a plugin does not need may be left out of its signature. `settings` is the plugin's own section of the
configuration, an instance of the model that its `brain_settings` returns; None for a plugin without one.

Event hooks may be plain or `async`. Each call has a thread of its own, an `async` one an event loop of its own in it:
keep nothing between calls that belongs to a loop, and expect calls for several runs at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer
    from pydantic import BaseModel

    from brain_core import Brain
    from brain_core.placeholders import Json
    from brain_core.run import Run, StepRun
    from brain_core.service import Service
    from brain_core.tables import Query, Tables
    from brain_core.trigger import Trigger
    from brain_core.workflow import Step

PROJECT = "brain"
ENTRY_POINT_GROUP = "brain"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def brain_step_types() -> list[type[Step]]:  # type: ignore[empty-body]
    """Called once when a process starts: return the step types that this plugin brings.

    Each is a subclass of `Step`; its `type_name` has to be unique over all plugins. The second plugin that brings a
    name is quarantined, and its line in `brain plugins list` names both owners.
    """


@hookspec
def brain_trigger_types() -> list[type[Trigger]]:  # type: ignore[empty-body]
    """Called once when a process starts: return the trigger types that this plugin brings.

    Each is a subclass of `Trigger`; its `type_name` has to be unique over all plugins, and so has each option of
    `brain register` that its fields become. The second plugin that brings one is quarantined.
    """


@hookspec
def brain_settings() -> type[BaseModel]:  # type: ignore[empty-body]
    """Called once when the configuration is read: return the model of the section `[plugins.NAME]`.

    NAME is the entry point's name with `-` as `_`. Every field needs a default; a step reads the values with
    `ctx.settings(Model)`. Unknown keys in the section are configuration errors.
    """


@hookspec
def brain_commands(app: typer.Typer, settings: Any) -> None:
    """Called when `brain` shows its help or meets a command that it does not have: add commands to `app`.

    A command of the core cannot be replaced. What is returned is ignored.
    """


@hookspec
def brain_services(brain: Brain, settings: Any) -> list[Service]:  # type: ignore[empty-body]
    """Called once when `brain daemon` starts, in a thread: return what is to be served within its process, or nothing.

    A BrainError means that the daemon must not run. What else is raised, or more than `plugin_timeout` seconds, puts
    the plugin in quarantine, and the daemon goes on.
    """


@hookspec
def brain_migrations() -> Tables:  # type: ignore[empty-body]
    """Called once when a process starts: return the tables that this plugin has in a schema of its own.

    What is missing of them is applied, as the core's own is, before anything of the plugin runs. A plugin whose
    migrations fail, or whose schema is newer than it, is quarantined.
    """


@hookspec
def brain_run_facts(run: Run, query: Query, settings: Any) -> Mapping[str, Json]:  # type: ignore[empty-body]
    """Called by `brain show`: return what this plugin knows of a run, a few short facts by name; nothing for none.

    May be `async`, and has to be to use `query`, which is `ctx.query` of steps. Bounded by the setting `hook_timeout`;
    what it raises becomes one line of warning.
    """


@hookspec
def brain_run_started(run: Run, settings: Any) -> None:
    """Called after the start of a run is committed. May be `async`; bounded by the setting `hook_timeout`.

    What it returns is ignored, and what it raises is reported and leaves the run as it is. Not repeated after a crash.
    """


@hookspec
def brain_step_finished(run: Run, step: StepRun, settings: Any) -> None:
    """Called after the result of a step is committed, whatever the result. May be `async`; bounded by `hook_timeout`.

    What it returns is ignored, and what it raises is reported and leaves the run as it is. Not repeated after a crash.
    """


@hookspec
def brain_run_finished(run: Run, settings: Any) -> None:
    """Called after the end of a run is committed. May be `async`; bounded by the setting `hook_timeout`.

    The delivery is a row, written in the transaction that ends the run and marked done after this plugin has had it: a
    crash in between delivers it again, from the next `brain` process. At least once, so keep it repeatable
    (`run.id` names the run). What it raises marks the delivery failed: `brain deliveries` lists it.
    """


def hook_names() -> frozenset[str]:
    """Return the names of all hooks."""
    return frozenset(name for name in globals() if name.startswith("brain_"))


def arguments_of(hook: str) -> tuple[str, ...]:
    """Return the names of the arguments that a hook offers."""
    code = globals()[hook].__code__
    return tuple(code.co_varnames[: code.co_argcount])
