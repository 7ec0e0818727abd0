"""What is wrong with a workflow that only its run would tell: said when the file is loaded instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import Any

from brain_core.placeholders import Placeholder, find
from brain_core.workflow import Step, Workflow, template_fields


def step_problem(step: Step, workflow: Workflow) -> str | None:
    """Return why a step could not run as its author means it, or None."""
    if (problem := _run_problem(type(step))) is not None:
        return f"step '{step.name}': {problem}"
    return _silent_text(step, workflow)


# Bounded: a process that loads files again and again makes new classes each time.
@lru_cache(maxsize=256)
def _run_problem(kind: type[Step]) -> str | None:
    if kind.run is Step.run:
        return f"the class {kind.__name__} has no run(); a step type defines one"
    if not callable(kind.run):
        return f"run of the class {kind.__name__} is not a method; write: def run(self, ctx)"
    bound = isinstance(inspect.getattr_static(kind, "run"), staticmethod | classmethod)
    if not _takes(kind.run, (None,) if bound else (None, None)):
        return f"{kind.__name__}.run is called with the context; write: def run(self, ctx)"
    return None


def workflow_problem(workflow: Workflow) -> str | None:
    """Return why the workflow's `on_finished` could not be called, or None."""
    hook = workflow.on_finished
    if hook is None or _takes(hook, (None,)):
        return None
    name = getattr(hook, "__name__", type(hook).__name__)
    shown = name if name.isidentifier() else "finished"
    return f"on_finished is called with the finished run, which {name} does not take; write: def {shown}(run)"


def _takes(call: Callable[..., Any], arguments: tuple[None, ...]) -> bool:
    """Whether a call with so many arguments fits; True where nobody can know."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _silent_text(step: Step, workflow: Workflow) -> str | None:
    """Return the complaint about a placeholder in a field that holds none: its text would stay as it is, unseen."""
    kind = type(step)
    templates = {field for field, _ in template_fields(kind)}
    names = [one.name for one in workflow.steps]
    for field in kind.model_fields:
        if field in templates:
            continue
        for text in _texts(getattr(step, field)):
            for placeholder in find(text):
                if _is_meant(placeholder, names, workflow.inputs):
                    return (
                        f"step '{step.name}', {field}: {placeholder} would stay as it is, {field} of {kind.__name__} "
                        f"takes no placeholders; in a class of your own declare it as {field}: Template"
                    )
    return None


def _is_meant(placeholder: Placeholder, names: Collection[str], inputs: Collection[str]) -> bool:
    root, rest = placeholder.root, placeholder.path[1:]
    known = {"inputs": inputs, "previous": names}.get(root)
    return root in names if known is None else bool(rest) and rest[0] in known


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "{" in value:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
