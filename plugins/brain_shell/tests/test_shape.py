"""The modules of brain_shell import each other in one direction, also where only types are meant."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import brain_shell

PACKAGE = Path(brain_shell.__file__).parent


def imports_of(source: str) -> set[str]:
    """Return the modules of brain_shell that a source imports anywhere: at the top, late, or for types."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "brain_shell" and len(part) > 1}
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {path.stem: imports_of(path.read_text()) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("catalogue") < order.index("programs") < order.index("refusals") < order.index("binding")


def test_late_and_typed_imports_count() -> None:
    source = "if TYPE_CHECKING:\n    from brain_shell.a import B\ndef f():\n"
    source += "    from brain_shell import c\n    import brain_shell.d"
    assert imports_of(source) == {"a", "c", "d"}
