"""What lies beside a workflow file: its modules are importable, recorded as they ran, and put away afterwards.

One folder is in force in a process at a time. Its modules go into `sys.modules` under their plain names, as for a
script; when another file is loaded they are taken out again, so that two folders may have a `helper.py` each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

MAX_SIBLINGS = 500
"""How many modules a workflow file may import from its folder."""

MAX_SIBLING_BYTES = 16 * 1024 * 1024
"""How large these modules may be together."""

OWN = frozenset({"brain_core", "brain_shell", "brain_llm", "brain_http_api"})
"""Top-level modules of our own distributions; no file beside a workflow takes their place."""


class TooMuch(ImportError):
    """The file imports more from its folder than is recorded."""


class _Recorded(SourceFileLoader):
    """Runs a module from its source, never from or into a .pyc, and keeps the text that it ran."""

    folder: Folder

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        data = self.get_data(path)
        self.folder.keep(path, data)
        return self.source_to_code(data, path)


class Folder:
    """The folder of one workflow file as a source of modules; a finder in `sys.meta_path` while it is in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sources: dict[str, str] = {}
        """The modules that were imported so far: relative path and text."""
        self.modules: dict[str, ModuleType] = {}
        """The modules taken out of `sys.modules` by `leave`."""
        self._size = 0
        self._names: set[str] = set()
        self._taken = {name.partition(".")[0] for name in list(sys.modules)}
        self._finders: dict[str, FileFinder] = {}
        self._loader = type("_RecordedHere", (_Recorded,), {"folder": self})

    def enter(self) -> None:
        """Make the folder the first place for imports, and bring back what `leave` put away."""
        sys.modules.update(self.modules)
        self.modules = {}
        sys.path.insert(0, str(self.path))
        finders: list[Any] = sys.meta_path
        finders.insert(finders.index(PathFinder) if PathFinder in finders else len(finders), self)

    def leave(self) -> None:
        """Undo `enter`: the folder's modules are no longer importable by name; whoever holds them keeps them."""
        finders: list[Any] = sys.meta_path
        if self in finders:
            finders.remove(self)
        if str(self.path) in sys.path:
            sys.path.remove(str(self.path))
        sys.path_importer_cache.pop(str(self.path), None)
        for name in [name for name in list(sys.modules) if name in self._names or self._is_namespace(name)]:
            self.modules[name] = sys.modules.pop(name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, *rest = fullname.split(".")
        if top in OWN or top in sys.stdlib_module_names:
            return self._elsewhere(fullname) if not rest and self._has(top) else None
        if top in self._taken:
            return None
        place = str(self.path.joinpath(*fullname.split(".")[:-1]))
        if path is not None and place not in path:
            return None
        finder = self._finders.get(place)
        if finder is None:
            finder = self._finders[place] = FileFinder(place, (self._loader, [".py"]))
        spec = finder.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        self._names.add(fullname)
        return spec

    def invalidate_caches(self) -> None:
        for finder in self._finders.values():
            finder.invalidate_caches()

    def keep(self, path: str, data: bytes) -> None:
        self._size += len(data)
        if len(self.sources) >= MAX_SIBLINGS:
            raise TooMuch(f"more than {MAX_SIBLINGS} modules are imported from the file's folder")
        if self._size > MAX_SIBLING_BYTES:
            raise TooMuch(f"the modules imported from the file's folder are over {MAX_SIBLING_BYTES:,} bytes")
        self.sources[Path(path).relative_to(self.path).as_posix()] = data.decode("utf-8-sig", "backslashreplace")

    def shown(self, path: str) -> str | None:
        """Return the relative name of a module of this folder that was imported; None for any other file."""
        try:
            name = Path(path).relative_to(self.path).as_posix()
        except ValueError:
            return None
        return name if name in self.sources else None

    def hides(self, name: str) -> bool:
        """Whether a file here has the name of a module of Python or of ours, and is therefore never imported."""
        return (name in OWN or name in sys.stdlib_module_names) and self._has(name)

    def _has(self, name: str) -> bool:
        return (self.path / f"{name}.py").exists() or (self.path / name / "__init__.py").exists()

    def _elsewhere(self, fullname: str) -> ModuleSpec | None:
        # The core imports much of Python late: a `secrets.py` beside a workflow must not become its `secrets`.
        others = [place for place in sys.path if place != str(self.path)]
        for finder in list(sys.meta_path):
            if finder is PathFinder:
                spec = PathFinder.find_spec(fullname, others)
            elif finder is self or not hasattr(finder, "find_spec"):
                continue
            else:
                spec = finder.find_spec(fullname, None)
            if spec is not None:
                return spec
        return None

    def _is_namespace(self, name: str) -> bool:
        """Whether this is a package of this folder without an `__init__.py`, which no finder of ours has made."""
        top = name.partition(".")[0]
        if top in self._taken or top in OWN:
            return False
        spec = getattr(sys.modules.get(name), "__spec__", None)
        places = getattr(spec, "submodule_search_locations", None) or ()
        return spec is not None and spec.origin is None and str(self.path.joinpath(*name.split("."))) in list(places)
