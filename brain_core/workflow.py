"""Workflow and Step: what a workflow file is made of. Pure values; nothing here runs anything.

The checks that need the whole workflow (placeholders, step names) are in `Workflow`, so that a workflow that exists
is one that can run.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from brain_core.errors import TriggerRefused, nearest
from brain_core.inputs import InputSpec, declare
from brain_core.origin import made_at
from brain_core.placeholders import RESERVED, ROOTS_IN_USE, RUN_FIELDS, NearMiss, Placeholder, Scope
from brain_core.templates import NearMissFinder, TemplateMark, mark_of
from brain_core.trigger import Trigger

if TYPE_CHECKING:
    from brain_core.context import StepContext

_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_WORKFLOW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
MAX_STEPS = 1_000


class Step(BaseModel):
    """One step of a workflow; subclass it to make a step type.

    The fields of the subclass are the arguments of the step; those marked `Template`, `TextTemplate` or `JsonTemplate`
    may hold placeholders, which are filled in before `run()` is called. Steps are frozen and refuse unknown fields.
    A class that lives in a workflow file can be used at once; one that others install enters by the hook
    `brain_step_types`.
    """

    # The schema of a step type is built with its first step: most types that are installed are not used by a run.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    type_name: ClassVar[str] = ""
    """What the history calls steps of this type; the class's name when empty."""

    name: str
    """The step's name: a letter or `_`, then letters, digits and `_`; later steps read its output as `{name}`."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds after which the step is ended and failed; None for no limit."""

    _defined_at: tuple[str, int] | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:

        def __init__(self, *unnamed: Any, **data: Any) -> None:
            _refuse_unnamed(type(self), unnamed)
            super().__init__(**data)
            self._defined_at = made_at(self)

    @field_validator("name")
    @classmethod
    def _name_can_be_referred_to(cls, name: str) -> str:
        if not _STEP_NAME.fullmatch(name):
            raise ValueError(
                f"step name '{name[:100]}' is not a name: a letter or _, then letters, digits and _, 100 at most"
            )
        if name in RESERVED:
            raise ValueError(f"step name '{name}' is reserved for placeholders; choose another")
        return name

    @classmethod
    def type_label(cls) -> str:
        """Return the name of this step type in the history and in `brain plugins list`."""
        return cls.type_name or cls.__name__

    @property
    def defined_at(self) -> tuple[str, int] | None:
        """File and line where the step was made, as far as they are known."""
        return self._defined_at

    def placeholders(self) -> Iterator[tuple[str, Placeholder]]:
        """Yield each placeholder of the step with the name of the field that holds it."""
        for field, mark in template_fields(type(self)):
            for placeholder in mark.find(getattr(self, field)):
                yield field, placeholder

    def near_misses(self) -> Iterator[tuple[str, NearMiss]]:
        """Yield what may be a mistaken placeholder, with the name of the field that holds it."""
        for field, mark in template_fields(type(self)):
            if isinstance(mark, NearMissFinder):
                for miss in mark.near_misses(getattr(self, field)):
                    yield field, miss

    def resolved(self, scope: Scope) -> Self:
        """Return the step with its placeholders filled in; PlaceholderError says which one has no value."""
        changed = {
            field: mark.resolve(value, scope)
            for field, mark in template_fields(type(self))
            if mark.changes(value := getattr(self, field))
        }
        return self.model_copy(update=changed) if changed else self

    def run(self, ctx: StepContext) -> Any | Awaitable[Any]:
        """Do the work and return the output: text, or anything that JSON can hold.

        May be `async`; a plain `run` is called in a thread of its own. Whatever it raises fails the step with that
        message (`StepFailed` with the message alone). An `async` one is cancelled at the time limit and on Ctrl-C.
        """
        raise NotImplementedError(f"{type(self).__name__} has no run()")


def own_init(kind: type[BaseModel]) -> str:
    """Return the complaint about a step type whose `__init__` leaves the step half made."""
    return (
        f"the class {kind.__name__} has an __init__ of its own; leave it out and declare each argument as a field, "
        "such as text: Template"
    )


def _refuse_unnamed(kind: type[BaseModel], unnamed: tuple[Any, ...]) -> None:
    if unnamed:
        fields = ", ".join(f"{name}=…" for name, info in kind.model_fields.items() if info.is_required())
        raise TypeError(f"{kind.__name__} takes its fields by name: {kind.__name__}({fields})")


# Bounded: a process that loads files again and again makes new classes each time.
@lru_cache(maxsize=256)
def template_fields(step_type: type[Step]) -> tuple[tuple[str, TemplateMark], ...]:
    """Return the fields of a step type that may hold placeholders, each with its mark."""
    found: list[tuple[str, TemplateMark]] = []
    for name, info in step_type.model_fields.items():
        marks = [mark for mark in info.metadata if isinstance(mark, TemplateMark)]
        mark = marks[0] if marks else mark_of(info.annotation)
        if mark is not None:
            found.append((name, mark))
    return tuple(found)


def name_problem(name: str) -> str | None:
    """Return why a workflow cannot have this name, or None."""
    if _WORKFLOW_NAME.fullmatch(name):
        return None
    return (
        f"workflow name '{name[:100]}' is not a name: ASCII letters, digits, '_', '-' and '.', 200 at most, "
        "and no '-' or '.' at its start"
    )


class PartProblem(ValueError):
    """A problem of one step or of the schedule of a workflow; carries that part so that its line can be named."""

    def __init__(self, part: Step | Trigger, message: str) -> None:
        super().__init__(message)
        self.part = part


class Workflow(BaseModel):
    """A named list of steps that run one after the other; a workflow file holds one as `workflow`.

    `inputs` declares what a run may be given: a default (`{"who": "world"}`, whose type is the input's type) or a type
    (`{"count": int}`, which makes the input required). `on_finished` is called with the finished run (a `Run`) after
    its end is committed: at least once, with a time limit, and whatever it raises leaves the run as it is. `schedule`
    is the schedule that the workflow gets when it is registered and none is named; it starts nothing by itself.
    `on_interrupt` says what becomes of a run whose process died: it fails, or it is resumed, and then finished steps
    keep their results and the interrupted one runs again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    steps: tuple[Step, ...]
    inputs: dict[str, Any] = Field(default_factory=dict)
    description: str = ""
    on_finished: Callable[..., Any] | None = None
    schedule: Trigger | None = None
    on_interrupt: Literal["fail", "resume"] = "fail"

    _defined_at: tuple[str, int] | None = PrivateAttr(default=None)
    _inputs: dict[str, InputSpec] = PrivateAttr(default_factory=dict)

    if not TYPE_CHECKING:

        def __init__(self, *unnamed: Any, **data: Any) -> None:
            _refuse_unnamed(type(self), unnamed)
            super().__init__(**data)
            self._defined_at = made_at(self)

    @property
    def defined_at(self) -> tuple[str, int] | None:
        """File and line where the workflow was made, as far as they are known."""
        return self._defined_at

    @property
    def input_specs(self) -> dict[str, InputSpec]:
        """The declared inputs, by name."""
        return self._inputs

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name

    @field_validator("steps", mode="before")
    @classmethod
    def _steps_are_steps(cls, steps: Any) -> Any:
        if not isinstance(steps, list | tuple):
            raise ValueError(f"steps is {a_value(steps)}; write a list of steps")
        if not steps:
            raise ValueError("steps is empty; a workflow needs at least one step")
        if len(steps) > MAX_STEPS:
            raise ValueError(f"steps has {len(steps):,} entries; a workflow has at most {MAX_STEPS:,}")
        for number, step in enumerate(steps, 1):
            if not isinstance(step, Step):
                raise ValueError(f"entry {number} of steps is {a_value(step)}, not a step")
            if not hasattr(step, "__pydantic_fields_set__"):
                raise ValueError(f"entry {number} of steps: {own_init(type(step))}")
        return tuple(steps)

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule_is_one(cls, schedule: Any) -> Any:
        if schedule is None:
            return None
        if not isinstance(schedule, Trigger):
            raise ValueError(f'schedule is {a_value(schedule)}, not a trigger; write: schedule=Cron("0 9 * * 1-5")')
        if not schedule.is_timed():
            raise PartProblem(schedule, f"schedule is {a_value(schedule)}, which has no times; write: schedule=Cron(…)")
        try:
            schedule.check()
        except TriggerRefused as error:
            raise PartProblem(schedule, f"schedule: {error}") from None
        return schedule

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._inputs.update({name: declare(name, value) for name, value in self.inputs.items()})
        earlier: dict[str, Step] = {}
        names = [step.name for step in self.steps]
        for step in self.steps:
            if step.name in earlier:
                raise PartProblem(step, f"there are two steps named '{step.name}'; each name may stand once")
            for field, placeholder in step.placeholders():
                if problem := self._problem_of(placeholder, step.name, earlier, names):
                    raise PartProblem(step, f"step '{step.name}', {field}: {placeholder} {problem}")
            for field, miss in step.near_misses():
                if miss.meant(names, self._inputs):
                    raise PartProblem(step, f"step '{step.name}', {field}: {miss.text} {miss.problem()}")
            earlier[step.name] = step
        return self

    def _problem_of(
        self, placeholder: Placeholder, step: str, earlier: Collection[str], names: list[str]
    ) -> str | None:
        root, rest = placeholder.root, placeholder.path[1:]
        if root == "previous":
            if not rest:
                return "needs the name of a step, such as {previous." + names[0] + "}"
            if rest[0] not in names:
                return f"names no step of this workflow{nearest(rest[0], names)}"
        elif root == "inputs":
            if rest and rest[0] not in self._inputs:
                return f"names no input of this workflow{nearest(rest[0], self._inputs) or _declared(self._inputs)}"
        elif root == "run":
            if rest and rest[0] not in RUN_FIELDS:
                return f"is unknown{nearest(rest[0], RUN_FIELDS)} (there are: {', '.join(RUN_FIELDS)})"
        elif root in RESERVED and root not in ROOTS_IN_USE:
            return f"is reserved and has no meaning yet; for the text itself write {{{placeholder}}}"
        elif root == step:
            return "is this step itself; only earlier steps have an output, and {previous." + root + "} the last run's"
        elif root in names and root not in earlier:
            return "names a step that has not run yet at that point; only earlier steps have an output"
        elif root not in names and root not in RESERVED:
            known = [*earlier, *(f"inputs.{name}" for name in self._inputs)]
            guess = nearest(root, [*known, *RESERVED])
            if not guess and root in self._inputs:
                guess = f"; did you mean 'inputs.{root}'?"
            return f"names no earlier step{guess}; for the text itself write {{{placeholder}}}"
        return None


def a_value(value: Any) -> str:
    """Name what an author has put where a step belongs: a class by its name, a value by its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def _declared(inputs: dict[str, InputSpec]) -> str:
    return f" (declared: {', '.join(inputs)})" if inputs else "; it declares none: Workflow(inputs={…})"
