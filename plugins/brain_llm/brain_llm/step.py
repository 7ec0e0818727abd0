"""LLMStep: a question to a language model as a step."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from brain_core import Step, StepContext, StepFailed, TextTemplate
from brain_llm.endpoint import Wanted, endpoint_of
from brain_llm.keys import reference_problem
from brain_llm.schema import Shape, shape_of
from brain_llm.settings import LLMSettings
from brain_llm.urls import url_problem

MAX_PROMPT = 16_000_000
"""Characters of prompt and system together."""


class LLMStep(Step):
    """Asks a model; its answer is the step's output: text, or with `output=` a JSON value that later steps reach into.

    What is not set here comes from the named model (`[plugins.llm.models.NAME]`), then from `[plugins.llm]`. Each call
    is a row, written before the call goes out. A model's answer is data: no placeholder in it is ever filled in. An
    answer that is empty, refused, cut off by length or not what `output=` asks for fails the step.
    """

    type_name: ClassVar[str] = "llm"

    prompt: TextTemplate
    system: TextTemplate | None = None
    """What the model is told before the prompt: its part, the manner of its answers."""
    model: str | None = Field(default=None, min_length=1)
    """A named model of the configuration, what the server calls it, or `openai:NAME`, `anthropic:NAME` and the like."""
    provider_url: str | None = None
    """The base URL of an OpenAI-compatible server."""
    api_key: str | None = None
    """`env:NAME`: the environment variable that holds the key. A key itself is refused: the file's source is kept."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)
    """How many tokens the answer may have; one that is cut off fails the step."""
    stall: float | None = Field(default=None, gt=0)
    """Seconds without a token after which a call is given up."""
    retries: int | None = Field(default=None, ge=0, le=100)
    """How often a call is tried again after a transient fault; waits that a server asks for do not count."""
    output: Any = None
    """What the answer has to be: a pydantic model, list[…], an Enum, Literal[…] or a JSON schema as a dict."""
    output_retries: int | None = Field(default=None, ge=0, le=100)
    """How often the model is asked again when its answer does not fit `output`."""
    store: bool | None = None
    """Whether prompt and answer are kept with the call."""

    _shape: Shape | None = PrivateAttr(default=None)

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt_says_something(cls, prompt: Any) -> Any:
        if isinstance(prompt, str) and not prompt.strip():
            raise ValueError("prompt is empty; say what the model is to do")
        return prompt

    @field_validator("api_key", mode="before")
    @classmethod
    def _key_is_a_reference(cls, key: Any) -> Any:
        if key is not None and (problem := reference_problem(key)):
            raise ValueError(problem)
        return key

    @field_validator("provider_url")
    @classmethod
    def _url_is_one(cls, url: str | None) -> str | None:
        if url is not None and (problem := url_problem(url)):
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _output_can_be_asked_for(self) -> Self:
        if self.output is not None:
            self._shape = shape_of(self.output)
        elif self.output_retries is not None:
            raise ValueError("output_retries is set and output is not; say with output= what the answer has to be")
        return self

    async def run(self, ctx: StepContext) -> Any:
        settings = ctx.settings(LLMSettings)
        key = None if self.api_key is None else SecretStr(self.api_key)
        wanted = Wanted(f"step '{self.name}'", self.model, self.provider_url, key, self.temperature, self.max_tokens)
        endpoint = endpoint_of(wanted, settings)
        size = len(self.prompt) + len(self.system or "")
        if size > MAX_PROMPT:
            raise StepFailed(
                f"the prompt has {size:,} characters and {MAX_PROMPT:,} are the limit; shorten what it takes in"
            )
        if not self.prompt.strip():
            raise StepFailed("the prompt is empty once its placeholders are filled in; see to what they bring")
        # Late: the libraries of the providers take seconds to import, which only a step that asks should pay.
        from brain_llm.asking import Question, ask

        named = endpoint.named
        question = Question(
            prompt=self.prompt,
            system=self.system,
            shape=self._shape,
            limit=self.timeout or (named and named.timeout) or settings.timeout,
            limit_is_ours=self.timeout is None,
            stall=self.stall or (named and named.stall) or settings.stall,
            retries=settings.retries if self.retries is None else self.retries,
            output_retries=settings.output_retries if self.output_retries is None else self.output_retries,
            store=settings.store if self.store is None else self.store,
        )
        return await ask(ctx, question, endpoint)
