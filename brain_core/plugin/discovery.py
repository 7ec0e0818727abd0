"""Finds what is installed as a plugin, without importing any of it.

Only the text of each distribution's metadata is read: parsing it as mail, which `importlib.metadata` would do, costs
more than all the rest of finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from importlib.metadata import Distribution, distributions
from typing import NamedTuple

from brain_core.plugin.spec import ENTRY_POINT_GROUP

_GROUP = re.compile(rf"^\[\s*{ENTRY_POINT_GROUP}\s*\]", re.MULTILINE)
_TARGET = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\])?")
_NEEDS_CORE = re.compile(r"^brain[-_.]+core(?![-_.\w])", re.IGNORECASE)


class _Parser(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # names keep their case


class Found(NamedTuple):
    """One entry point of the group `brain`; `trouble` says why it can be loaded by nobody."""

    name: str
    module: str
    attribute: str
    distribution: str
    version: str
    needs_core: tuple[str, ...] = ()
    trouble: str | None = None

    @property
    def section(self) -> str:
        """The name of its section in the configuration, and what `disable` calls it."""
        return key_of(self.name)


def key_of(name: str) -> str:
    """Return a plugin's name as keys of the configuration have it."""
    return name.replace("-", "_").replace(".", "_").lower()


def find_plugins() -> list[Found]:
    """Return every plugin that is installed: those of brain-core first, then by name.

    The order does not depend on the order of the path, so that of two plugins that quarrel over a name it is always the
    same one that gets it. Where a distribution is installed twice, the first on the path counts, as it does for import.
    """
    found: dict[tuple[str, str], Found] = {}
    for distribution in distributions():
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue
        if not text or not _GROUP.search(text):
            continue
        for plugin in _plugins_of(distribution, text):
            found.setdefault((key_of(plugin.distribution), plugin.name), plugin)
    return sorted(found.values(), key=lambda one: (one.distribution != "brain-core", one.name, one.distribution))


def _plugins_of(distribution: Distribution, text: str) -> Iterator[Found]:
    name, version, needs = _about(distribution)
    parser = _Parser(delimiters=("=",), interpolation=None, strict=False)
    try:
        parser.read_string(text)
        entries = parser.items(ENTRY_POINT_GROUP)
    except ConfigParserError as error:
        trouble = f"its entry_points.txt cannot be read: {error}"
        yield Found(name, "", "", name, version, needs, trouble)
        return
    for entry, value in entries:
        match = _TARGET.fullmatch(value.strip())
        if match is None:
            yield Found(entry, "", "", name, version, needs, f"its entry point is {value!r}, which names no module")
        else:
            yield Found(entry, match["module"], match["attribute"] or "", name, version, needs)


def _about(distribution: Distribution) -> tuple[str, str, tuple[str, ...]]:
    """Return name, version, and the requirements on brain-core, as they stand in the metadata's head."""
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except (OSError, UnicodeDecodeError):
        text = ""
    name, version, needs = "?", "?", []
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        value = value.strip()
        if key == "Name":
            name = value
        elif key == "Version":
            version = value
        elif key == "Requires-Dist" and _NEEDS_CORE.match(value):
            needs.append(value)
    return name, version, tuple(needs)
