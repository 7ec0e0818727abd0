"""Asks plugins for commands, and first whether any could bring one at all, which is cheap to know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_group

from brain_core.errors import BrainError

_BUILT_IN = "brain_core.builtin."
_DECLARED = re.compile(rb"^BRAIN_COMMANDS = (\{[^{}]*?),?\s*\}", re.MULTILINE)
"""A table of texts, in JSON but for the comma that formatters put at its end."""


def any_has(hook: str) -> bool:
    """Whether a plugin that is not built in may have a hook, told from its module's text without importing it.

    Loading the settings and the plugins costs more than all the rest of `brain --help`, and few plugins have it.
    A module whose text cannot be read, or that takes its names from elsewhere by `*`, counts as one that may.
    """
    return any(_may_have(hook, text) for text in _texts())


def declared() -> dict[str, str] | None:
    """Return the commands, with a line of help each, that plugins declare in the texts of their modules.

    A plugin does by `BRAIN_COMMANDS = {"name": "help"}`, as JSON, in the module of its entry point. None when one
    that may bring commands declares none: then only loading them all tells.
    """
    import json

    found: dict[str, str] = {}
    for text in _texts():
        if not _may_have("brain_commands", text):
            continue
        match = _DECLARED.search(text or b"")
        try:
            commands = json.loads(match[1] + b"}") if match else None
        except ValueError:
            commands = None
        if not isinstance(commands, dict) or not all(isinstance(line, str) for line in commands.values()):
            return None
        found = {**commands, **found}
    return dict(sorted(found.items()))


def _texts() -> Iterator[bytes | None]:
    """Yield the text of each module that the entry points of plugins name, built-in ones left out; None: unknown."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="brain"):
        if not entry.module.startswith(_BUILT_IN):
            yield _text_of(entry.module)


def _may_have(hook: str, text: bytes | None) -> bool:
    return text is None or hook.encode() in text or b"import *" in text


def _text_of(module: str) -> bytes | None:
    from importlib.machinery import PathFinder

    path = None
    spec = None
    name = ""
    for part in module.split("."):
        # Step by step and not by find_spec("a.b"), which would import a.
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    source = spec.origin if spec else None
    if source is None or not source.endswith(".py"):
        return None
    try:
        with open(source, "rb") as file:  # noqa: PTH123 - pathlib is not imported on this path
            return file.read()
    except OSError:
        return None


def collect(*, strict: bool = False) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return the commands that the plugins bring, by name, and what went wrong, one line each.

    Never raises unless `strict`: then settings that keep plugins from being loaded are the ConfigError that they are.
    """
    gathered = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        from brain_core.cli.session import load

        plugins = load()[1]
        problems = plugins.add_commands(gathered)
        broken = [info for info in plugins.plugins if info.state == "quarantined"]
    except BrainError as error:
        if strict:
            raise
        return [], [f"no commands of plugins: {error}"]
    except Exception as error:  # noqa: BLE001 - help has to come whatever a plugin does
        return [], [f"no commands of plugins: {type(error).__name__}: {error}"]
    problems += [f"plugin '{info.name}' is quarantined; see: brain plugins check {info.name}" for info in broken]
    found, unusable = _built(gathered)
    return found, problems + unusable


def _built(gathered: typer.Typer) -> tuple[list[tuple[str, Any]], list[str]]:
    """Build each command by itself: a declaration that Typer cannot use costs that command and no other."""
    found: list[tuple[str, Any]] = []
    problems: list[str] = []
    for kind in ("registered_commands", "registered_groups"):
        for declared in getattr(gathered, kind):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            getattr(alone, kind).append(declared)
            try:
                found += get_group(alone).commands.items()
            except Exception as error:  # noqa: BLE001 - a stranger's code
                name = declared.name or getattr(declared.callback, "__name__", "?")
                problems.append(f"command '{name}' of a plugin cannot be used: {type(error).__name__}: {error}")
    return found, problems
