"""The modules of each plugin import each other in one direction, late imports and those for types included."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest


def imports_of(source: str, package: str) -> set[str]:
    """Return what a source imports of a package anywhere, by dotted names; some of them may name no module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith(f"{package}.")}


@pytest.mark.parametrize(
    ("package", "in_order"),
    [
        ("brain_http_api", "settings api access routes.run routes app service"),
        ("brain_llm", "keys settings endpoint faults wire clients call asking"),
        ("brain_shell", "catalogue programs refusals binding"),
    ],
)
def test_no_module_imports_itself_by_way_of_others(package: str, in_order: str) -> None:
    folder = Path(import_module(package).__path__[0])
    sources = {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): path.read_text()
        for path in folder.rglob("*.py")
    }
    graph = {name: imports_of(source, package) & sources.keys() - {name} for name, source in sources.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    places = [order.index(f"{package}.{name}") for name in in_order.split()]
    assert places == sorted(places)


def test_late_and_typed_imports_count() -> None:
    source = (
        "if TYPE_CHECKING:\n    from shelf.a import B\ndef f():\n    from shelf import c\n    import shelf.d, other"
    )
    assert imports_of(source, "shelf") == {"shelf.a", "shelf.a.B", "shelf.c", "shelf.d"}
