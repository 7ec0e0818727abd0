"""The step type and the plugin's section of the configuration."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from brain_core import Step, StepContext, TextTemplate


class HelloSettings(BaseModel):
    """The section `[plugins.hello]`; every field needs a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    greeting: str = "Hello"
    log_file: str | None = None
    """Where `brain_run_finished` adds a line for each finished run; nowhere unless given."""


class Hello(Step):
    """Greets `who`; its output is the greeting."""

    type_name: ClassVar[str] = "hello"

    who: TextTemplate = "world"

    async def run(self, ctx: StepContext) -> str:
        return f"{ctx.settings(HelloSettings).greeting}, {self.who}!"
