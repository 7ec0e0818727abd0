"""PluginManager: a typed façade over pluggy that isolates plugins from each other and from us.

pluggy stops at the first exception, awaits nothing and lets one broken entry point stop the start. So entry points are
loaded one by one, checked and, where something is wrong with one, quarantined; events are handed out one by one, each
with a time limit.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from brain_core.errors import ConfigError, PluginError, nearest
from brain_core.plugin import spec
from brain_core.plugin.discovery import Found, discover
from brain_core.plugin.info import PluginInfo
from brain_core.plugin.loading import load_module, loaded_or_refused

if TYPE_CHECKING:
    import typer
    from pydantic import BaseModel

    from brain_core.config import Settings
    from brain_core.run import Run, StepRun
    from brain_core.workflow import Step

Answer = TypeVar("Answer")


class PluginManager:
    """The plugins of this process. Made by `load`, once, when a command starts."""

    def __init__(self, *, hook_timeout: float) -> None:
        self._pluggy = pluggy.PluginManager(spec.PROJECT)
        self._pluggy.add_hookspecs(spec)
        self._hook_timeout = hook_timeout
        self.plugins: list[PluginInfo] = []
        """All plugins that were found, in the order of their names."""
        self.step_types: dict[str, type[Step]] = {}
        """The step types of the active plugins, by type name."""
        self.settings_for_steps: dict[type, Any] = {}
        """The plugins' own sections of the configuration, by their models."""

    @classmethod
    def load(cls, settings: Settings) -> PluginManager:
        """Find, load and check the plugins; what is wrong with one quarantines it and is never raised.

        ConfigError when the configuration names a plugin that is not installed, or a key that a plugin does not have.
        """
        manager = cls(hook_timeout=settings.hook_timeout)
        sections = dict(settings.plugins)
        disabled = _disabled(sections.pop("disable", []))
        found = discover()
        names = {each.name.replace("-", "_") for each in found}
        for name in [*disabled, *sections]:
            if name not in names:
                raise ConfigError(f"[plugins] names '{name}', which is not installed{nearest(name, names)}")
        for each in found:
            name = each.name.replace("-", "_")
            manager._add(each, name in disabled, sections.get(name, {}), settings.plugin_timeout)
        return manager

    def _add(self, found: Found, disabled: bool, section: Any, timeout: float) -> None:
        info = PluginInfo(found.name, found.distribution, found.version, found.module)
        self.plugins.append(info)
        if disabled:
            info.state, info.reason = "disabled", "switched off by [plugins] disable"
            return
        with loaded_or_refused(info):
            module = load_module(found, timeout)
            self._pluggy.register(module, name=found.name)
            self._pluggy.check_pending()
            types = self._step_types_of(info)
            settings = self._settings_of(info, section)
            self.step_types.update({each.type_label(): each for each in types})
            self.settings_for_steps.update(settings)
            info.provides = [
                *(f"step {each.type_label()}" for each in types),
                *(
                    hook
                    for hook in sorted(spec.hook_names())
                    if hook != "brain_step_types" and info.name in self._who(hook)
                ),
            ]
        if info.state == "quarantined" and self._pluggy.has_plugin(found.name):
            self._pluggy.unregister(name=found.name)

    def _step_types_of(self, info: PluginInfo) -> list[type[Step]]:
        from brain_core.workflow import Step

        types = self._call("brain_step_types", info.name) or []
        for each in types:
            if not (isinstance(each, type) and issubclass(each, Step)):
                raise PluginError(f"brain_step_types returned {each!r}, which is not a subclass of Step")
            if (other := self.step_types.get(each.type_label())) is not None:
                owner = self.owner_of(other)
                raise PluginError(
                    f"step type '{each.type_label()}' is brought by two plugins: "
                    f"{info.label} and {owner.label if owner else other.__module__}"
                )
        labels = [each.type_label() for each in types]
        for label in labels:
            if labels.count(label) > 1:
                raise PluginError(f"step type '{label}' is brought twice by {info.label}")
        return list(types)

    def _settings_of(self, info: PluginInfo, section: Any) -> dict[type, Any]:
        from pydantic import ValidationError

        model: type[BaseModel] | None = self._call("brain_settings", info.name)
        name = info.name.replace("-", "_")
        if model is None:
            if section:
                raise ConfigError(f"[plugins.{name}] is set, but plugin '{info.name}' has no settings")
            return {}
        try:
            model()
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise PluginError(f"brain_settings: field '{field}' of {model.__name__} has no default") from None
        try:
            return {model: model.model_validate(section)}
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            guess = nearest(key, model.model_fields) if first["type"] == "extra_forbidden" else ""
            raise ConfigError(f"[plugins.{name}] {key}: {first['msg']}{guess}") from None

    def _who(self, hook: str) -> list[str]:
        caller = getattr(self._pluggy.hook, hook)
        return [implementation.plugin_name for implementation in caller.get_hookimpls()]

    def _implementations(self, hook: str) -> list[tuple[str, Callable[..., Any], Sequence[str]]]:
        """Return (plugin, function, its argument names) of each plugin that implements a hook, in order of loading."""
        caller = getattr(self._pluggy.hook, hook)
        return [(each.plugin_name, each.function, each.argnames) for each in caller.get_hookimpls()]

    def _call(self, hook: str, plugin: str, **arguments: Any) -> Any:
        for name, function, names in self._implementations(hook):
            if name == plugin:
                return function(**{key: arguments[key] for key in names})
        return None

    def listens(self, hook: str) -> bool:
        """Whether any active plugin implements a hook."""
        return bool(getattr(self._pluggy.hook, hook).get_hookimpls())

    @property
    def receivers(self) -> list[str]:
        """The active plugins that are to be told when a run has finished."""
        return self._who("brain_run_finished")

    def owner_of(self, step_type: type[Step]) -> PluginInfo | None:
        """Return the plugin whose distribution a step type comes from; None for a class of a workflow file."""
        module = step_type.__module__
        for info in self.plugins:
            package = info.module.rpartition(".")[0] or info.module
            if module == info.module or module.startswith(info.module + "."):
                return info
            if package != "brain_core.builtin" and (module == package or module.startswith(package + ".")):
                return info
        return None

    def refusal_of(self, step_type: type[Step]) -> str | None:
        """Return why steps of this type may not be used, or None when they may."""
        owner = self.owner_of(step_type)
        if owner is None or owner.state == "active":
            return None
        return f"step type '{step_type.type_label()}' belongs to {owner.label}, which is {owner.state}: {owner.reason}"

    async def run_started(self, run: Run) -> list[str]:
        """Tell the plugins that a run has started; return what went wrong, one line each."""
        return await self._tell("brain_run_started", run=run)

    async def step_finished(self, run: Run, step: StepRun) -> list[str]:
        """Tell the plugins that a step has finished; return what went wrong, one line each."""
        return await self._tell("brain_step_finished", run=run, step=step)

    async def deliver(self, receiver: str, run: Run) -> None:
        """Hand a finished run to one plugin; PluginError when it fails or takes too long."""
        for name, function, names in self._implementations("brain_run_finished"):
            if name == receiver:
                await self._bounded("brain_run_finished", name, function, names, {"run": run})
                return
        raise PluginError(f"no active plugin '{receiver}' implements brain_run_finished")

    async def _tell(self, hook: str, **arguments: Any) -> list[str]:
        problems = []
        for name, function, names in self._implementations(hook):
            try:
                await self._bounded(hook, name, function, names, arguments)
            except PluginError as error:
                problems.append(str(error))
        return problems

    async def _bounded(
        self, hook: str, plugin: str, function: Callable[..., Any], names: Sequence[str], arguments: dict[str, Any]
    ) -> None:
        given = {key: arguments[key] for key in names}
        try:
            async with asyncio.timeout(self._hook_timeout):
                if inspect.iscoroutinefunction(function):
                    await function(**given)
                else:
                    await _in_daemon_thread(lambda: function(**given))
        except TimeoutError:
            raise PluginError(
                f"plugin '{plugin}': {hook} took longer than {self._hook_timeout:g} s (setting hook_timeout)"
            ) from None
        except Exception as error:
            raise PluginError(f"plugin '{plugin}': {hook} raised {type(error).__name__}: {error}") from error

    def add_commands(self, app: typer.Typer) -> list[str]:
        """Let the plugins add their commands to `app`; return what went wrong, one line each."""
        problems = []
        for name, function, names in self._implementations("brain_commands"):
            try:
                function(**dict.fromkeys(names, app))
            except Exception as error:  # noqa: BLE001 - one plugin's commands must not take away everybody's
                problems.append(f"plugin '{name}': brain_commands raised {type(error).__name__}: {error}")
        return problems


def _disabled(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"[plugins] disable has to be a list of names, and {value!r} is not")
    return [each.replace("-", "_") for each in value]


async def _in_daemon_thread(call: Callable[[], Answer | Awaitable[Answer]]) -> None:
    """Call a plain hook in a daemon thread: one that hangs is left behind and does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def work() -> None:
        failure: Exception | None = None
        try:
            call()
        except SystemExit as error:
            failure = RuntimeError(f"SystemExit: {error}")
        except Exception as error:  # noqa: BLE001 - carried over to the waiting task
            failure = error
        try:
            loop.call_soon_threadsafe(settle, failure)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=work, name="brain-hook", daemon=True).start()
    await future
