"""A workflow file → a Workflow, or one clear line that says what is wrong, with file and line.

The file is run as a module of its own, named after its path, with its folder first among the places for imports.
Nothing of it is cached on disk. Files of one process share what all Python modules share; what harms more than the
file itself (an endless loop, `os._exit`) is for the runner to bound.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from brain_core.errors import WorkflowFileError, nearest
from brain_core.loader_checks import step_problem, workflow_problem
from brain_core.loader_folder import Folder
from brain_core.loader_source import one_line, read_source
from brain_core.workflow import Step, Workflow, a_value


class LoadedWorkflow(NamedTuple):
    """A workflow with what a record of it needs.

    `sources` holds the file's text and that of every module that it imported from its folder, each by its path in that
    folder; `digest` is the SHA-256 of these.
    """

    workflow: Workflow
    path: Path
    sources: Mapping[str, str]
    digest: str


Check = Callable[[Step], str | None]

MAX_WAIT = 20.0
"""Seconds that a load waits for another one in this process; less than the usual limit on imports, so that a file that
hangs is named instead of the one that waits for it."""

_TOO_LONG = "the file took too long to load and was given up"


class _Loading:
    """A load that goes on; `below` is the one of the same thread that it happens inside of."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.thread = threading.get_ident()
        self.below: _Loading | None = None
        self.before: Folder | None = None
        self.folder: Folder | None = None
        self.given_up = False


_turn = threading.Condition()
_loading: _Loading | None = None
_waiting: set[_Loading] = set()
_active: Folder | None = None


def load_workflow(file: str | Path, *, check: Check | None = None) -> LoadedWorkflow:
    """Import a workflow file and return its workflow; WorkflowFileError says in one line why that cannot be done.

    `check` may refuse a step by returning why. There is no time limit here; the caller sets one, and says `give_up`
    when it is reached. After a failure the process imports as it did before; after a success the file's folder stays
    the first place for imports until the next file is loaded, so that a step may import a module beside the file when
    it runs.
    """
    global _active
    shown = one_line(os.fspath(file), 4_096)
    path, text = read_source(file, shown)
    mine = _take_turn(shown)
    try:
        mine.before = before = _active
        if before is not None:
            before.leave()
        mine.folder = folder = Folder(path.parent)
        try:
            loaded = _load(path, text, shown, folder, check)
        except BaseException:
            with _turn:
                if not mine.given_up:
                    folder.leave()
                    if before is not None:
                        before.enter()
            raise
        with _turn:
            if mine.given_up:
                raise WorkflowFileError(_TOO_LONG, file=shown)
            _active = folder
        return loaded
    finally:
        _end_turn(mine)


def give_up(thread: int) -> None:
    """Let other files be loaded although the one that this thread loads has not come to its end, and may never.

    Its folder is no longer in force, and what becomes of it is no longer looked at.
    """
    global _active, _loading
    with _turn:
        for other in _waiting:
            other.given_up |= other.thread == thread
        if _loading is not None and _loading.thread == thread:
            one: _Loading | None = _loading
            while one is not None:
                one.given_up = True
                if one.folder is not None:
                    one.folder.leave()
                _active, one = one.before, one.below
            if _active is not None:
                _active.enter()
            _loading = None
        _turn.notify_all()


def _take_turn(shown: str) -> _Loading:
    """Wait until no other thread loads a file; a file that loads another one while it is imported goes on."""
    global _loading
    with _turn:
        mine = _Loading(shown)
        _waiting.add(mine)
        _turn.wait_for(lambda: mine.given_up or _loading is None or _loading.thread == mine.thread, MAX_WAIT)
        _waiting.remove(mine)
        if _loading is not None and (mine.given_up or _loading.thread != mine.thread):
            raise WorkflowFileError(f"this process is still importing another file, {_loading.shown}", file=shown)
        if mine.given_up:
            raise WorkflowFileError(_TOO_LONG, file=shown)
        mine.below, _loading = _loading, mine
        return mine


def _end_turn(mine: _Loading) -> None:
    global _loading
    with _turn:
        if _loading is mine:
            _loading = mine.below
        _turn.notify_all()


def _load(path: Path, text: str, shown: str, folder: Folder, check: Check | None) -> LoadedWorkflow:
    module = _module(path)
    former = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    folder.enter()
    try:
        problem = _execute(module, path, text, folder)
        if problem is None:
            problem = _examine(module, path, text, folder, check)
    except BaseException:
        _put_back(module, former)
        raise
    if problem is not None:
        _put_back(module, former)
        # Outside the handler: the error must not keep the frames of the failed file alive.
        raise WorkflowFileError(problem[0], file=shown, line=problem[1])
    sources = {_storable(path.name): text, **{_storable(name): body for name, body in folder.sources.items()}}
    return LoadedWorkflow(vars(module)["workflow"], path, sources, digest_of(sources))


def digest_of(sources: Mapping[str, str]) -> str:
    """Return the SHA-256 of sources, whatever their order."""
    total = hashlib.sha256()
    for name, text in sorted(sources.items()):
        for part in (name.encode(), text.encode()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _storable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _module(path: Path) -> ModuleType:
    stem = re.sub(r"\W", "_", path.stem, flags=re.ASCII)[:60]
    name = f"brain_workflow_{stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__spec__ = ModuleSpec(name, None, origin=str(path))
    return module


def _put_back(module: ModuleType, former: ModuleType | None) -> None:
    name = module.__name__
    if sys.modules.get(name) is not module:
        return  # given up, and the file was loaded again meanwhile
    if former is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = former


def _execute(module: ModuleType, path: Path, text: str, folder: Folder) -> tuple[str, int | None] | None:
    """Run the file; return what is wrong and where, or None."""
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except (RecursionError, MemoryError, OverflowError):
        return "the file nests too deeply for Python", None
    except SyntaxError as error:
        return one_line(f"syntax error: {error.msg}"), error.lineno
    except ValueError as error:
        return one_line(f"syntax error: {error}"), None
    try:
        exec(code, vars(module))  # noqa: S102 - running the user's own file is what this is for
    except BaseException as error:  # whatever the file raises, sys.exit included, is its own problem
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C, which comes to the main thread alone; in another one the file itself has raised it
        return _report(error, path, folder, vars(module))
    return None


def _report(error: BaseException, path: Path, folder: Folder, variables: Mapping[str, Any]) -> tuple[str, int | None]:
    from brain_core.loader_report import Report

    try:
        return Report(path, folder, variables).of(error)
    except Exception:  # noqa: BLE001 - an error made so that it cannot even be described
        return f"an error of the type {one_line(type(error).__name__)}", None


def _examine(
    module: ModuleType, path: Path, text: str, folder: Folder, check: Check | None
) -> tuple[str, int | None] | None:
    """Look at what the file has defined; return what is wrong and where, or None."""
    found = vars(module)
    if "workflow" not in found:
        return _no_workflow(found, text)
    workflow = found["workflow"]
    if not issubclass(type(workflow), Workflow):
        return _wrong_type(workflow), _line_of(text, "workflow")
    made_by: Step | Workflow = workflow
    problem = workflow_problem(workflow)
    for step in workflow.steps:
        if problem is not None:
            break
        made_by, problem = step, check(step) if check is not None else None
        if problem is None:
            problem = step_problem(step, workflow)
    if problem is None:
        return None
    from brain_core.loader_report import Report

    report = Report(path, folder, found)
    return one_line(problem + report.place(made_by)), report.line_of(made_by)


def _no_workflow(found: Mapping[str, Any], text: str) -> tuple[str, int | None]:
    others = [str(name) for name, value in found.items() if issubclass(type(value), Workflow)]
    if others:
        name = one_line(others[0], 100)
        return f"the file has no `workflow`; its Workflow is named '{name}', name it `workflow`", _line_of(text, name)
    mine = [name for name in map(str, found) if not name.startswith("_") and name != "Workflow"]
    guess = nearest("workflow", mine)
    return f"the file has no `workflow`{guess or '; write: workflow = Workflow(name=…, steps=[…])'}", None


def _wrong_type(workflow: Any) -> str:
    if isinstance(workflow, type):
        return f"`workflow` is the class {workflow.__name__}, not a Workflow; write: workflow = Workflow(…)"
    if issubclass(type(workflow), Step):
        return "`workflow` is a step, not a Workflow; write: workflow = Workflow(name=…, steps=[…])"
    called = "; call it, if it makes one" if callable(workflow) else "; write: workflow = Workflow(name=…, steps=[…])"
    return one_line(f"`workflow` is {a_value(workflow)}, not a Workflow{called}")


def _line_of(text: str, name: str) -> int | None:
    """Return the last line outside of functions and classes on which the file gives a name its meaning."""
    line = 0
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        scope = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        if _names(node, name):
            line = max(line, getattr(node, "lineno", 0))
        if not scope:
            waiting.extend(ast.iter_child_nodes(node))
    return line or None


def _names(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return isinstance(node.ctx, ast.Store) and node.id == name
    if isinstance(node, ast.alias):
        return (node.asname or node.name) == name
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name
