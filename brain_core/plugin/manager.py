"""Loads plugins one by one, quarantines those that fail, and calls their hooks so that none can hurt the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from brain_core.errors import PluginError, nearest
from brain_core.plugin import spec
from brain_core.plugin.discovery import Found, find_plugins, key_of
from brain_core.plugin.events import call_hook
from brain_core.plugin.info import PluginInfo, State, common_names, described
from brain_core.plugin.loading import Loaded, load, provides
from brain_core.plugin.quarantine import Quarantine, TookTooLong, bounded, trace_of
from brain_core.plugin.sections import disabled_of, sections_of, settings_from
from brain_core.threads import call_in, one_line, what_raised

if TYPE_CHECKING:
    import typer
    from pydantic import BaseModel

    from brain_core.config import Settings
    from brain_core.plugin.tables import OwnedTables
    from brain_core.run import Run, StepRun
    from brain_core.sqlfiles import OwnTables
    from brain_core.tables import Query
    from brain_core.trigger import Trigger
    from brain_core.workflow import Step

Kind = TypeVar("Kind")


class _Namespace:
    """The hooks of one plugin and nothing else: what pluggy looks through, so that it runs no code of a stranger."""

    def __init__(self, hooks: Mapping[str, Any]) -> None:
        self.__dict__.update(hooks)


class PluginManager:
    """The plugins of this process. Made by `load`; may be used from any thread.

    Plugins are imported when something is first asked of them: a command that needs none (`brain history`) neither
    pays for them nor waits for one that hangs.
    """

    def __init__(
        self, settings: Settings, *, timeout: float | None = None, origins: Mapping[str, str] | None = None
    ) -> None:
        self._timeout = settings.plugin_timeout if timeout is None else timeout
        self._hook_timeout = settings.hook_timeout
        self._lock = threading.RLock()
        self._ready = False
        self._pluggy = pluggy.PluginManager(spec.PROJECT)
        self._infos: list[PluginInfo] = []
        self._step_types: dict[str, type[Step]] = {}
        self._trigger_types: dict[str, type[Trigger]] = {}
        self._owners: dict[type, PluginInfo] = {}
        self._settings: dict[type, BaseModel] = {}
        self._sections: dict[str, BaseModel] = {}
        self._own_settings: dict[str, BaseModel] = {}
        self._calls: dict[str, list[tuple[str, Any]]] = {}
        self._owned: OwnedTables | None = None
        self.barred: dict[str, str] = {}
        """What `quarantine` was told since the plugins were loaded: name → reason."""
        self._config: Mapping[str, Any] = settings.plugins
        self._origins = origins or {}

    @classmethod
    def load(
        cls, settings: Settings, *, timeout: float | None = None, origins: Mapping[str, str] | None = None
    ) -> PluginManager:
        """Return the plugins of this process; ConfigError when `[plugins]` names one that is not there or cannot be so.

        Its error says where a setting came from as far as `origins` knows, by the setting's dotted name. Each plugin
        may take `timeout` seconds (the setting `plugin_timeout` unless given). With nothing in `[plugins]` that
        would have to be checked, importing them is put off until something is asked of them.
        """
        manager = cls(settings, timeout=timeout, origins=origins)
        if manager._config:
            manager.ready()
        return manager

    def ready(self) -> None:
        """Import the plugins now, where that has not been done yet; a plugin that fails is quarantined."""
        if self._ready:
            return
        with self._lock:
            if not self._ready:
                self._load_all()
                self._ready = True

    @property
    def plugins(self) -> list[PluginInfo]:
        """Every plugin that is installed, whatever its state."""
        self.ready()
        return list(self._infos)

    @property
    def step_types(self) -> dict[str, type[Step]]:
        """The step types of active plugins by the name that the history calls them."""
        self.ready()
        return self._usable(self._step_types)

    @property
    def trigger_types(self) -> dict[str, type[Trigger]]:
        """The trigger types of active plugins by their name, such as `cron`."""
        self.ready()
        return self._usable(self._trigger_types)

    @property
    def settings_for_steps(self) -> dict[type, Any]:
        """The sections of active plugins: model class → values."""
        self.ready()
        return dict(self._settings)

    @property
    def section_values(self) -> dict[str, BaseModel]:
        """The sections of active plugins by their key in the configuration, such as `shell`."""
        self.ready()
        return dict(self._sections)

    @property
    def receivers(self) -> list[str]:
        """The names of active plugins that want to hear of finished runs."""
        self.ready()
        return [name for name, _ in self._calls.get("brain_run_finished", ())]

    def listens(self, hook_name: str) -> bool:
        """Whether any active plugin has this hook."""
        self.ready()
        return hook_name in self._calls

    def calls(self, hook: str) -> list[tuple[str, Callable[[Mapping[str, Any]], Any]]]:
        """Return what active plugins have for a hook, by the plugin's name; each is called with values by argument.

        Of hooks that are none of the core's those are known that are marked `@hookimpl(optionalhook=True)`: so a plugin
        may have hooks of its own for others. The calls are not guarded.
        """
        self.ready()
        return [(name, partial(self._called, name, impl)) for name, impl in self._calls.get(hook, ())]

    @property
    def tables(self) -> list[OwnTables]:
        """The tables of active plugins."""
        self.ready()
        return [] if self._owned is None else self._owned.active

    @property
    def any_tables(self) -> bool:
        """Whether any plugin brings tables, one that is quarantined since included."""
        self.ready()
        return self._owned is not None

    def statement(self, name: str) -> str:
        """Return the text of a statement of an active plugin; PluginError for any other name."""
        self.ready()
        return self._owned_tables().statement(name, lambda: self._infos, key_of)

    def quarantine(self, name: str, reason: str) -> None:
        """Put an active plugin aside for what only the database could tell; one that is not there is left out."""
        self.ready()
        with self._lock:
            for info in self._infos:
                if info.name == name and info.state == "active":
                    self.barred[name] = reason
                    info.state, info.reason, info.detail = "quarantined", one_line(reason), reason
                    rest = {hook: [call for call in calls if call[0] != name] for hook, calls in self._calls.items()}
                    self._calls = {hook: calls for hook, calls in rest.items() if calls}

    def _usable(self, types: Mapping[str, type[Kind]]) -> dict[str, type[Kind]]:
        return {name: kind for name, kind in types.items() if self._owners[kind].state == "active"}

    def settings_of_trigger(self, kind: type) -> BaseModel | None:
        """Return the section of the plugin that brings a trigger type, for its `with_defaults`; None without one."""
        owner = self.owner_of(kind)
        return self._own_settings.get(owner.name) if owner is not None else None

    def owner_of(self, kind: type) -> PluginInfo | None:
        """Return the plugin that registered a class, or else the one whose package the class is in."""
        self.ready()
        if (owner := self._owners.get(kind)) is not None:
            return owner
        best, length = None, 0
        for info in self._infos:
            if (common := common_names(info.module, kind.__module__)) > length:
                best, length = info, common
        return best

    def refusal_of(self, kind: type) -> str | None:
        """Return why a step or a trigger of this type may not be used; None when it may.

        A class that derives from a refused type is refused too, wherever it stands.
        """
        for base in kind.__mro__:
            owner = self.owner_of(base)
            if owner is None or owner.state == "active":
                continue
            how = f"; see: brain plugins check {owner.name}" if owner.state == "quarantined" else ""
            return f"{described(kind)} belongs to {owner.label}, which is {owner.state}: {owner.reason}{how}"
        return None

    async def run_started(self, run: Run) -> list[str]:
        """Tell every plugin that a run has started; return the problems, one line each."""
        return await self._tell("brain_run_started", {"run": run})

    async def step_finished(self, run: Run, step: StepRun) -> list[str]:
        """Tell every plugin that a step has finished; return the problems, one line each."""
        return await self._tell("brain_step_finished", {"run": run, "step": step})

    async def deliver(self, receiver: str, run: Run) -> None:
        """Tell one plugin that a run has finished; PluginError when it fails, takes too long or is not there."""
        self.ready()
        calls = [impl for name, impl in self._calls.get("brain_run_finished", ()) if name == receiver]
        if not calls:
            raise PluginError(
                f"no active plugin '{receiver}' has brain_run_finished{nearest(receiver, self.receivers)}"
            )
        for impl in calls:
            await self._call(receiver, "brain_run_finished", impl, {"run": run})

    async def run_facts(self, run: Run, query: Query) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return what each plugin knows of a run, by the plugin's key, and the problems, one line each."""
        self.ready()
        facts: dict[str, dict[str, Any]] = {}
        problems = []
        values = {"run": run, "query": call_in(asyncio.get_running_loop(), query)}
        for name, impl in self._calls.get("brain_run_facts", ()):
            try:
                answer = await self._call(name, "brain_run_facts", impl, values)
                if answer is not None and not isinstance(answer, Mapping):
                    raise PluginError(f"plugin '{name}': brain_run_facts returned {answer!r:.80}; return a dict")
            except PluginError as error:
                problems.append(str(error))
            else:
                if answer:
                    facts[key_of(name)] = dict(answer)
        return facts, problems

    def add_commands(self, app: typer.Typer) -> list[str]:
        """Let each plugin add its commands to `app`; return the problems, one line each.

        A plugin that fails adds none.
        """
        self.ready()
        problems = []
        for name, impl in self._calls.get("brain_commands", ()):
            import typer

            own = typer.Typer(add_completion=False, rich_markup_mode=None)
            try:
                bounded(self._with(name, impl, {"app": own}), self._timeout, name=f"commands of {name}")
            except TookTooLong:
                problems.append(f"plugin '{name}': brain_commands took longer than {self._timeout:g} s")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code
                problems.append(f"plugin '{name}': brain_commands raised {what_raised(error)}")
            else:
                app.registered_commands += own.registered_commands
                app.registered_groups += own.registered_groups
        return problems

    async def _tell(self, hook: str, values: Mapping[str, Any]) -> list[str]:
        self.ready()
        problems = []
        for name, impl in self._calls.get(hook, ()):
            try:
                await self._call(name, hook, impl, values)
            except PluginError as error:
                problems.append(str(error))
        return problems

    async def _call(self, name: str, hook: str, impl: Any, values: Mapping[str, Any]) -> Any:
        return await call_hook(name, hook, self._with(name, impl, values), self._hook_timeout)

    def _with(self, name: str, impl: Any, values: Mapping[str, Any]) -> Callable[[], Any]:
        """Return a call of a hook with those of the values that it asks for."""
        offered = {**values, "settings": self._own_settings.get(name)}
        return lambda: impl.function(*[offered[argument] for argument in impl.argnames])

    def _called(self, name: str, impl: Any, values: Mapping[str, Any]) -> Any:
        return self._with(name, impl, values)()

    def _load_all(self) -> None:
        self._pluggy.add_hookspecs(spec)
        found = find_plugins()
        keys = {one.section for one in found if one.module}
        disabled = disabled_of(self._config, keys)
        sections = sections_of(self._config, keys)
        for one in found:
            if one.section in disabled:
                self._infos.append(_info(one, "disabled", reason="[plugins] disable leaves it out"))
                continue
            try:
                loaded = self._loaded(one)
                self._register(one, loaded)
            except Quarantine as why:
                self._infos.append(_info(one, "quarantined", reason=why.reason, detail=why.detail))
            else:
                section = sections.get(one.section, {})
                self._activate(one, loaded, settings_from(loaded.model, one.section, section, self._origins))
        for hook in {*spec.hook_names(), *(name for name in vars(self._pluggy.hook) if name.startswith("brain_"))}:
            # pluggy keeps the one to call first at the end.
            implementations = reversed(getattr(self._pluggy.hook, hook).get_hookimpls())
            if calls := [(impl.plugin_name, impl) for impl in implementations]:
                self._calls[hook] = calls

    def _loaded(self, found: Found) -> Loaded:
        if found.trouble is not None:
            raise Quarantine(found.trouble)
        for info in self._infos:
            if info.state == "active" and info.name == found.name:
                raise Quarantine(f"its name is that of {info.label}; two plugins cannot share one")
        try:
            return bounded(lambda: load(found), self._timeout, name=f"load {found.name}")
        except TookTooLong as late:
            raise Quarantine(
                f"took longer than {self._timeout:g} s to load (setting plugin_timeout)",
                f"where it was after {self._timeout:g} s:\n{late.stack}",
            ) from None
        except Quarantine:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plugin's objects do when looked at
            raise Quarantine(f"cannot be checked: {what_raised(error)}", trace_of(error)) from None

    def _register(self, found: Found, loaded: Loaded) -> None:
        """Take a plugin's names; Quarantine when one is another's already, and then none of them is taken."""
        for one in loaded.types:
            label = one.type_label()
            if (other := self._step_types.get(label)) is not None:
                owner = self._owners[other]
                mine = _info(found, "active").label
                raise Quarantine(f"step type '{label}' is brought by two plugins, {owner.label} and {mine}")
        self._check_triggers(found, loaded)
        if loaded.tables is not None:
            self._owned_tables().check(loaded.tables)
        if loaded.model in self._settings:
            raise Quarantine(f"its settings model {loaded.model} is another plugin's already")
        try:
            self._pluggy.register(_Namespace(loaded.hooks), found.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise Quarantine(f"its hooks do not fit: {error}") from None

    def _check_triggers(self, found: Found, loaded: Loaded) -> None:
        options = {option: one for one in self._trigger_types.values() for option in one.model_fields}
        for one in loaded.triggers:
            mine = _info(found, "active").label
            # A type's name is one of its fields, so that this is about the names as well.
            for option in (one.type_name, *one.model_fields):
                if (other := options.get(option)) is None:
                    continue
                what = (
                    f"trigger type '{option}'" if option == one.type_name == other.type_name else f"option '{option}'"
                )
                raise Quarantine(f"{what} is brought by two plugins, {self._owners[other].label} and {mine}")

    def _owned_tables(self) -> OwnedTables:
        from brain_core.plugin.tables import OwnedTables

        if self._owned is None:
            self._owned = OwnedTables()
        return self._owned

    def _activate(self, found: Found, loaded: Loaded, values: BaseModel | None) -> None:
        info = _info(found, "active", provides=provides(found, loaded))
        if isinstance(enabled := getattr(values, "enabled", None), bool):
            info.enabled = enabled
        self._infos.append(info)
        if loaded.tables is not None:
            self._owned_tables().add(info, loaded.tables)
        for one in loaded.types:
            self._step_types[one.type_label()] = one
            self._owners[one] = info
        for trigger in loaded.triggers:
            self._trigger_types[trigger.type_name] = trigger
            self._owners[trigger] = info
        if loaded.model is not None and values is not None:
            self._settings[loaded.model] = values
            self._sections[found.section] = values
            self._own_settings[found.name] = values


def _info(
    found: Found, state: State, *, provides: list[str] | None = None, reason: str | None = None, detail: str = ""
) -> PluginInfo:
    return PluginInfo(
        found.name, found.distribution, found.version, found.module, provides or [], state, reason, detail
    )
