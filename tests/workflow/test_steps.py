"""Step and Workflow: what their authors may write, and how templates in their fields are filled in."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import brain_core
from brain_core import (
    FunctionStep,
    JsonTemplate,
    Placeholder,
    Scope,
    Step,
    StepContext,
    Template,
    TextTemplate,
    Workflow,
)
from brain_core.workflow import MAX_STEPS, template_fields

SCOPE = Scope(steps={"a": "A", "n": 3, "l": [1]})
Pair = namedtuple("Pair", "x y")


class Say(Step):
    text: Template = ""

    def run(self, ctx: StepContext) -> Any:
        return self.text


class Many(Step):
    one: Template | None = None
    text: TextTemplate = "{n}"
    listed: list[Template] = Field(default_factory=list)
    named: dict[str, TextTemplate] = Field(default_factory=dict)
    either: int | list[dict[str, Template]] = 0
    json_too: JsonTemplate = None
    maybe_json: JsonTemplate | None = None
    plain: str = "{a}"


def fields(step: Step) -> set[str]:
    return {field for field, _ in step.placeholders()}


def test_templates_keep_types_and_texts_become_text() -> None:
    assert Say(name="s", text="{n}").resolved(SCOPE).text == 3
    assert Say(name="s", text="{n}!").resolved(SCOPE).text == "3!"
    assert Many(name="s").resolved(SCOPE).text == "3"
    assert Many(name="s", text="{l}").resolved(SCOPE).text == "[1]"


@pytest.mark.parametrize("value", [3, 2.5, True, None, "text"])
def test_a_template_that_is_no_text_stays(value: Any) -> None:
    step = Say(name="s", text=value)
    assert step.resolved(SCOPE) is step
    assert step.text is value


def test_templates_inside_other_types_are_found() -> None:
    step = Many(
        name="s",
        one="{a}",
        listed=["{n}", "x{n}", 7],
        named={"{a}": "{n}"},
        either=[{"k": "{l}"}],
        maybe_json={"deep": ["{n}"]},
    )
    assert fields(step) == {"one", "text", "listed", "named", "either", "maybe_json"}
    done = step.resolved(SCOPE)
    assert done.one == "A"
    assert done.listed == [3, "x3", 7]
    assert done.named == {"{a}": "3"}
    assert done.either == [{"k": [1]}]
    assert done.maybe_json == {"deep": [3]}
    assert done.plain == "{a}"
    assert step.listed == ["{n}", "x{n}", 7]


def test_an_unknown_placeholder_inside_other_types_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"step 's', listed: \{zzz\} names no earlier step"):
        Workflow(name="w", steps=[Many(name="s", text="", listed=["{zzz}"])])


def test_a_mark_of_ones_own() -> None:
    class Loud:
        def find(self, value: Any) -> Any:
            yield Placeholder((value,))

        def changes(self, value: Any) -> bool:
            return True

        def resolve(self, value: Any, scope: Scope) -> Any:
            return str(scope.lookup(Placeholder((value,)))).upper() + "!"

    from typing import Annotated

    class Mine(Step):
        what: Annotated[str, Loud()]
        more: Annotated[str, Loud()] | None = None

    step = Mine(name="m", what="a", more="n")
    assert [str(p) for _, p in step.placeholders()] == ["{a}", "{n}"]
    assert step.resolved(SCOPE).what == "A!"
    assert step.resolved(SCOPE).more == "3!"
    assert Mine(name="m", what="a").resolved(SCOPE).more is None


def test_function_step_arguments() -> None:
    def call(*args: Any, **named: Any) -> Any:
        return args, named

    def run(args: Any) -> Any:
        return FunctionStep(name="f", function=call, args=args).resolved(SCOPE).run(None)  # type: ignore[arg-type]

    assert run({}) == ((), {})
    assert run({"x": "{n}", "y": {"deep": ["{l}", "{a}{n}"]}}) == ((), {"x": 3, "y": {"deep": [[1], "A3"]}})
    assert run(["{n}", 7, None]) == ((3, 7, None), {})
    # A tuple stays a tuple, whatever stands beside it.
    assert run([Pair("{n}", 1), ("{a}",), "{a}"]) == ((Pair(3, 1), ("A",), "A"), {})
    assert run([Path("/x"), {1: "{{a}}"}]) == ((Path("/x"), {1: "{a}"}), {})


def test_what_a_run_does_to_its_arguments_is_not_seen_by_the_next() -> None:
    step = FunctionStep(name="f", function=lambda seen: seen.append(1) or len(seen), args={"seen": []})
    assert step.resolved(SCOPE).run(None) == 1  # type: ignore[arg-type]
    assert step.resolved(SCOPE).run(None) == 1  # type: ignore[arg-type]


def test_function_step_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValidationError, match="too many positional arguments"):
        FunctionStep(name="f", function=lambda: 1, args=[1])
    with pytest.raises(ValidationError, match="args is a str; write a dict"):
        FunctionStep(name="f", function=print, args="x")
    FunctionStep(name="f", function=print, args=["x"])


def test_defined_at_is_the_line_of_the_author() -> None:
    class Own(Say):
        def __init__(self, word: str, **data: Any) -> None:
            super().__init__(text=word, **data)

    line = sys._getframe().f_lineno
    one, two = Say(name="a"), Own("x", name="b")
    flow = Workflow(name="w", steps=[one, two])
    assert one.defined_at == (__file__, line + 1)
    assert two.defined_at == (__file__, line + 1)
    assert flow.defined_at == (__file__, line + 2)


def test_steps_are_frozen_and_bounded() -> None:
    with pytest.raises(ValidationError):
        Say(name="a").text = "b"  # type: ignore[misc]
    many = [Say(name=f"s{number}") for number in range(MAX_STEPS + 1)]
    assert len(Workflow(name="w", steps=many[:-1]).steps) == MAX_STEPS
    with pytest.raises(ValidationError, match="steps has 1,001 entries; a workflow has at most 1,000"):
        Workflow(name="w", steps=many)


@pytest.mark.parametrize("name", ["a", "_", "A1_", "x" * 100])
def test_good_step_names(name: str) -> None:
    assert Say(name=name).name == name


@pytest.mark.parametrize("name", ["", "1", "a-b", "a.b", "ä", "a\n", "x" * 101, "previous", "item", "env"])
def test_bad_step_names(name: str) -> None:
    with pytest.raises(ValidationError):
        Say(name=name)


@given(text=st.text(st.sampled_from("{}ab.|previous "), max_size=30))
def test_a_workflow_that_exists_resolves_or_says_why(text: str) -> None:
    try:
        flow = Workflow(name="w", steps=[Say(name="a"), Say(name="b", text=text)])
    except ValidationError:
        return
    scope = Scope(steps={"a": "{b}"}, run={"id": "1"})
    with contextlib.suppress(brain_core.BrainError):
        flow.steps[1].resolved(scope)


def test_type_labels() -> None:
    assert Say.type_label() == "Say"
    assert FunctionStep.type_label() == "function"
    assert [name for name, _ in template_fields(Say)] == ["text"]


def test_the_public_door_is_complete_and_cheap() -> None:
    assert set(brain_core.__all__) == {*brain_core._HOMES, "__version__"}
    for name in brain_core.__all__:
        assert getattr(brain_core, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = brain_core.nope
    heavy = "{'pydantic', 'pluggy', 'typer', 'asyncpg', 'json', 'brain_core.workflow'}"
    code = f"import sys; before = set(sys.modules); import brain_core; print({heavy} & (set(sys.modules) - before))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


class Listed(Step):
    texts: list[TextTemplate] = Field(default_factory=list)
    data: JsonTemplate = None

    def run(self, ctx: StepContext) -> None:
        return None


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Say(name="b", text="{a|x}"), r"step 'b', text: \{a\|x\} is no placeholder: only .* take a default"),
        (Say(name="b", text="is { a }?"), r"text: \{ a \} is no placeholder, .* write \{a\}"),
        (Say(name="b", text="{inputs.n:>3}"), r"text: \{inputs.n:>3\} is no placeholder"),
        (Say(name="b", text="{later!r}"), r"text: \{later!r\} is no placeholder"),
        (Listed(name="b", texts=["", "{a!r}"]), r"texts: \{a!r\} is no placeholder"),
        (Listed(name="b", data={"k": [{"l": "{a!r}"}]}), r"data: \{a!r\} is no placeholder"),
    ],
)
def test_a_mistaken_placeholder_is_a_load_error(step: Step, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Workflow(name="w", inputs={"n": 1}, steps=[Say(name="a"), step, Say(name="later")])


def test_text_that_only_looks_alike_stays() -> None:
    Workflow(name="w", steps=[Say(name="a"), Say(name="b", text="{zzz|x} {{ a }} {a: 1} {print $1} {inputs.x!r}")])
