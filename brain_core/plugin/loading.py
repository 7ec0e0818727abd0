"""Loading one plugin with a time limit, checking it, and quarantining it when something is wrong."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pluggy

from brain_core import __version__
from brain_core.errors import ConfigError, PluginError, nearest
from brain_core.plugin import spec
from brain_core.plugin.discovery import Found
from brain_core.plugin.info import PluginInfo

_MARK = f"{spec.PROJECT}_impl"


@contextmanager
def loaded_or_refused(info: PluginInfo) -> Iterator[None]:
    """Quarantine the plugin when anything is raised inside; only ConfigError, the user's own mistake, passes."""
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises, sys.exit included, stays its own
        info.state = "quarantined"
        info.reason = _reason(error)
        info.detail = "".join(traceback.format_exception(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, PluginError):
        text = str(error)
    elif isinstance(error, ModuleNotFoundError) and error.name:
        text = f"needs the module '{error.name}', which is not installed"
    elif isinstance(error, pluggy.PluginValidationError):
        text = str(error).strip().splitlines()[-1] if str(error).strip() else "its hooks do not fit"
        text = " ".join(str(error).split()) or text
    else:
        text = f"raised {type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def load_module(found: Found, timeout: float) -> ModuleType:
    """Import a plugin's module within `timeout` seconds and check its hooks; PluginError says what is wrong.

    A module that hangs is left behind in its thread.
    """
    refuse_older_core(found)
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append((found.entry_point.load(), None))
        except BaseException as error:  # noqa: BLE001 - carried over to the caller
            outcome.append((None, error))

    thread = threading.Thread(target=work, name=f"brain-plugin-{found.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        raise PluginError(f"was still importing after {timeout:g} s (setting plugin_timeout)")
    module, error = outcome[0]
    if error is not None:
        raise error
    check_hooks(module)
    return module  # type: ignore[no-any-return]


def refuse_older_core(found: Found) -> None:
    """Raise PluginError when the plugin's distribution asks for another brain-core than this one."""
    for text in found.requires:
        if not text.lower().replace("_", "-").startswith("brain-core"):
            continue
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name.lower() == "brain-core" and not requirement.specifier.contains(
            __version__, prereleases=True
        ):
            raise PluginError(f"needs brain-core {requirement.specifier}, and this is {__version__}")


def check_hooks(module: ModuleType) -> None:
    """Raise PluginError when a function of the module looks like a hook and is none."""
    known = spec.hook_names()
    for name, value in inspect.getmembers(module, inspect.isroutine):
        marked = getattr(value, _MARK, None) is not None
        if name.startswith("brain_") and name not in known and getattr(value, "__module__", "") == module.__name__:
            raise PluginError(f"has a function {name}, which is no hook of brain-core{nearest(name, known)}")
        if marked and name not in known:
            raise PluginError(f"marks {name} with @hookimpl, which is no hook of brain-core{nearest(name, known)}")
        if name in known and not marked and getattr(value, "__module__", "") == module.__name__:
            raise PluginError(f"defines {name} without @hookimpl, so it would never be called; mark it")
