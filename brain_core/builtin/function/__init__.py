"""The step type that calls a plain Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from brain_core import JsonTemplate, Step, StepContext, hookimpl


class FunctionStep(Step):
    """Calls a Python function; what it returns is the step's output.

    `args` are its arguments: a dict for arguments by name, a list for arguments by position. Every text in them may
    hold placeholders. The function may be `async`; a plain one is called in a thread of its own.
    """

    type_name: ClassVar[str] = "function"

    function: Callable[..., Any]
    args: JsonTemplate = Field(default_factory=dict)

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        if not isinstance(self.args, dict | list | tuple):
            raise ValueError(f"args is a {type(self.args).__name__}; write a dict (by name) or a list (by position)")
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):
            return self
        try:
            self._bind(signature.bind)
        except TypeError as error:
            name = getattr(self.function, "__name__", "the function")
            raise ValueError(f"args do not fit {name}{signature}: {error}") from None
        return self

    def _bind(self, call: Callable[..., Any]) -> Any:
        return call(**self.args) if isinstance(self.args, dict) else call(*self.args)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function (the engine then awaits it instead of using a thread)."""
        return inspect.iscoroutinefunction(self.function)

    def run(self, ctx: StepContext) -> Any:
        return self._bind(self.function)


@hookimpl
def brain_step_types() -> list[type[Step]]:
    return [FunctionStep]
