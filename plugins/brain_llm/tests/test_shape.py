"""The modules of brain_llm import each other in one direction, also where only types are meant."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import brain_llm

PACKAGE = Path(brain_llm.__file__).parent


def _imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "brain_llm" and len(part) > 1}
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {path.stem: _imports_of(path.read_text()) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    places = [
        order.index(name) for name in ("keys", "settings", "endpoint", "faults", "wire", "clients", "call", "asking")
    ]
    assert places == sorted(places)
