"""What a plugin has to be like; each check raises Quarantine with the reason. Called inside a bounded thread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from brain_core import __version__
from brain_core.errors import nearest
from brain_core.plugin import spec
from brain_core.plugin.discovery import Found
from brain_core.plugin.quarantine import Quarantine, trace_of
from brain_core.threads import one_line, what_raised

if TYPE_CHECKING:
    from pydantic import BaseModel

    from brain_core.trigger import Trigger
    from brain_core.workflow import Step

Kind = TypeVar("Kind")

_SIMPLE = re.compile(r"\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)*)\s*")
_OPTION = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MARK = f"{spec.PROJECT}_impl"


def check_core(found: Found) -> None:
    """Refuse a plugin whose distribution asks for another version of brain-core than this one."""
    for requirement in found.needs_core:
        if not _fits(requirement):
            wanted = requirement.partition(";")[0].strip()
            raise Quarantine(f"needs {wanted}, and brain-core {__version__} is installed; upgrade one of the two")


def _fits(requirement: str) -> bool:
    clauses = re.sub(r"^[\w.-]+", "", requirement).strip().removeprefix("(").removesuffix(")").strip()
    if not clauses:
        return True
    if all(_holds(clause) for clause in clauses.split(",")):
        return True
    # Anything else than plain bounds that hold (markers, ==, ~=, bounds that do not) is for those who know the rules.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return True
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return True
    return parsed.specifier.contains(__version__, prereleases=True)


def _holds(clause: str) -> bool:
    match = _SIMPLE.fullmatch(clause)
    if match is None or not re.fullmatch(r"\d+(\.\d+)*", __version__):
        return False
    ours, bound = ([int(part) for part in text.split(".")] for text in (__version__, match[2]))
    length = max(len(ours), len(bound))
    ours, bound = ([*parts, *[0] * (length - len(parts))] for parts in (ours, bound))
    return {">=": ours >= bound, "<=": ours <= bound, ">": ours > bound, "<": ours < bound}[match[1]]


def imported(found: Found) -> Any:
    """Import what the entry point names; Quarantine says what was in the way."""
    try:
        plugin: Any = import_module(found.module)
        for part in found.attribute.split(".") if found.attribute else ():
            plugin = getattr(plugin, part)
    except ModuleNotFoundError as error:
        raise Quarantine(_missing(found, error), trace_of(error)) from None
    except ImportError as error:
        old = (error.name or "").partition(".")[0] == "brain_core"
        hint = f" (brain-core {__version__} does not have it: upgrade one of the two)" if old else ""
        raise Quarantine(f"cannot be imported: {what_raised(error)}{hint}", trace_of(error)) from None
    except BaseException as error:  # noqa: BLE001 - SystemExit at import included
        raise Quarantine(f"raises when it is imported: {what_raised(error)}", trace_of(error)) from None
    return plugin


def _missing(found: Found, error: ModuleNotFoundError) -> str:
    missing = error.name or "?"
    if missing == found.module or found.module.startswith(f"{missing}."):
        return f"its module {found.module} is not there; install {found.distribution} again"
    if missing.partition(".")[0] == "brain_core":
        return f"needs '{missing}', which brain-core {__version__} does not have; upgrade one of the two"
    return f"lacks a dependency: no module named '{missing}'; install what brings it into this environment"


def hooks_of(plugin: Any, found: Found) -> dict[str, Any]:
    """Return the hooks of a plugin, by attribute name; Quarantine for one that we would never call.

    Of a module only what stands in it counts: asking for more could make a lazy one import all that it has.
    """
    known = spec.hook_names()
    names = vars(plugin) if isinstance(plugin, ModuleType) else dir(plugin)
    hooks: dict[str, Any] = {}
    for attribute in list(names):
        if attribute.startswith("__"):
            continue
        value = getattr(plugin, attribute)
        mark = getattr(value, _MARK, None) if callable(value) and not isinstance(value, type | ModuleType) else None
        if isinstance(mark, Mapping):
            name = mark.get("specname") or attribute
            if name in known:
                _check_call(name, value, mark)
                hooks[attribute] = value
            elif mark.get("optionalhook"):
                if name.startswith("brain_"):
                    hooks[attribute] = value  # some other plugin's hook, which may be here or not
            else:
                raise Quarantine(f"'{name}' is no hook of brain-core {__version__}{nearest(name, known)}")
        elif attribute.startswith("brain_") and _own_function(value, found):
            if attribute in known:
                raise Quarantine(f"{attribute} is not marked and would never be called; write @hookimpl above it")
            raise Quarantine(f"'{attribute}' is no hook of brain-core {__version__}{nearest(attribute, known)}")
    return hooks


def _own_function(value: Any, found: Found) -> bool:
    function = getattr(value, "__func__", value)
    if not isinstance(function, FunctionType):
        return False
    return function.__module__.partition(".")[0] == found.module.partition(".")[0]


def _check_call(name: str, function: Any, mark: Mapping[str, Any]) -> None:
    if mark.get("hookwrapper") or mark.get("wrapper"):
        raise Quarantine(f"{name} is a wrapper; brain-core calls hooks one by one, without wrappers")
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None:
        return
    # Arguments with a default are the plugin's own: pluggy does not fill them.
    positional = code.co_varnames[: code.co_argcount]
    required = positional[: code.co_argcount - len(getattr(function, "__defaults__", None) or ())]
    if hasattr(function, "__func__"):
        required = required[1:]
    wanted = spec.arguments_of(name)
    for argument in required:
        if argument not in wanted:
            has = ", ".join(wanted) or "none"
            raise Quarantine(
                f"{name} has no argument '{argument}'{nearest(argument, wanted)} (its arguments: {has})",
                f"{name} in {code.co_filename}:{code.co_firstlineno} asks for '{argument}'; the hook offers: {has}",
            )
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = getattr(function, "__kwdefaults__", None) or {}
    for argument in keywords:
        if argument not in defaults:
            raise Quarantine(f"{name} takes '{argument}' by keyword only; hooks are called by position")


def _list_of(name: str, hooks: Mapping[str, Any]) -> Collection[Any] | None:
    """Return what a plugin's hook for its types answers; None when it has no such hook."""
    hook = hook_named(name, hooks)
    if hook is None:
        return None
    answer = asked(name, hook)
    if not isinstance(answer, list | tuple | set | frozenset):
        what = name.removeprefix("brain_").replace("_", " ")
        raise Quarantine(f"{name} returned {_shown(answer)}; it has to return a list of {what}")
    return answer


def _subclasses(name: str, answer: Collection[Any], base: type[Kind]) -> Iterator[type[Kind]]:
    """Yield the answer one by one; the first that is no proper subclass of the base is refused."""
    for one in answer:
        if not isinstance(one, type) or not issubclass(one, base):
            raise Quarantine(f"{name} returned {_shown(one)}, which is no subclass of brain_core.{base.__name__}")
        if one is base:
            raise Quarantine(f"{name} returned {base.__name__} itself; it has to return subclasses of it")
        yield one


def step_types_of(hooks: Mapping[str, Any]) -> list[type[Step]]:
    """Ask a plugin for its step types and check each by itself."""
    answer = _list_of("brain_step_types", hooks)
    if answer is None:
        return []
    from brain_core.workflow import Step

    labels: dict[str, type[Step]] = {}
    for one in _subclasses("brain_step_types", answer, Step):
        label = one.type_label()
        if not isinstance(label, str) or not label or label != one_line(label):
            raise Quarantine(f"the type name of {_shown(one)} is {label!r}; it has to be one line of text")
        if labels.setdefault(label, one) is not one:
            raise Quarantine(f"brings two step types called '{label}': {_shown(labels[label])} and {_shown(one)}")
    return list(labels.values())


def trigger_types_of(hooks: Mapping[str, Any]) -> list[type[Trigger]]:
    """Ask a plugin for its trigger types and check each by itself."""
    answer = _list_of("brain_trigger_types", hooks)
    if answer is None:
        return []
    from brain_core.trigger import Trigger

    options: dict[str, type[Trigger]] = {}
    for one in _subclasses("brain_trigger_types", answer, Trigger):
        _check_trigger_type(one)
        for option in one.model_fields:
            if (other := options.setdefault(option, one)) is not one:
                raise Quarantine(
                    f"its trigger types '{other.type_name}' and '{one.type_name}' both have the field '{option}'; "
                    "each field becomes an option of brain register, which can have it once"
                )
    return list(answer)


def _check_trigger_type(one: type[Trigger]) -> None:
    from brain_core.trigger import Trigger

    name = getattr(one, "type_name", None)
    if not isinstance(name, str) or not _OPTION.fullmatch(name):
        raise Quarantine(
            f"the type name of {_shown(one)} is {_shown(name)}; "
            "it has to be a lower-case letter, then lower-case letters, digits and _, 40 at most"
        )
    if name not in one.model_fields:
        has = ", ".join(one.model_fields) or "none"
        raise Quarantine(
            f"trigger type '{name}' has no field '{name}', by which brain register chooses it (its fields: {has})"
        )
    if one.default_overlap not in ("skip", "allow"):
        raise Quarantine(
            f"trigger type '{name}': default_overlap is {_shown(one.default_overlap)}, not 'skip' or 'allow'"
        )
    if one.describe is Trigger.describe:
        raise Quarantine(f"trigger type '{name}' has no describe(); people see a trigger by what it returns")


def settings_model_of(hooks: Mapping[str, Any]) -> type[BaseModel] | None:
    """Ask a plugin for the model of its section; every field of it needs a default."""
    hook = hook_named("brain_settings", hooks)
    if hook is None:
        return None
    model = asked("brain_settings", hook)
    from pydantic import BaseModel

    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise Quarantine(f"brain_settings returned {_shown(model)}; it has to return a pydantic model class")
    lacking = [name for name, field in model.model_fields.items() if field.is_required()]
    if lacking:
        raise Quarantine(f"its settings {model.__name__} lack a default for {', '.join(lacking)}")
    try:
        model()
    except BaseException as error:  # noqa: BLE001 - a stranger's validators
        raise Quarantine(f"its settings {model.__name__} refuse their own defaults: {what_raised(error)}") from None
    return model


def hook_named(name: str, hooks: Mapping[str, Any]) -> Any:
    """Return the function that a plugin has for a hook, whatever it calls it itself; None without one."""
    for attribute, function in hooks.items():
        if (getattr(function, _MARK).get("specname") or attribute) == name:
            return function
    return None


def asked(name: str, hook: Any) -> Any:
    """Call a registration hook without arguments; what it raises puts the plugin in quarantine."""
    try:
        return hook()
    except ModuleNotFoundError as error:
        missing = f"lacks a dependency: {name} found no module named '{error.name}'"
        raise Quarantine(f"{missing}; install what brings it into this environment", trace_of(error)) from None
    except BaseException as error:  # noqa: BLE001 - SystemExit included
        raise Quarantine(f"{name} raises {what_raised(error)}", trace_of(error)) from None


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return one_line(repr(value))[:80]
    except BaseException:  # noqa: BLE001 - a stranger's __repr__
        return f"a {type(value).__name__}"
