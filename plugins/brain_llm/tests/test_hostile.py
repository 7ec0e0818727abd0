"""What a model answers stays data (G22): in every quoting of a shell command, in arguments and in prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.placeholders.hostile import HOSTILE

from .scripted import answers, says

FLOW = '''
from pydantic import BaseModel
from brain_core import FunctionStep, Workflow
from brain_llm import LLMStep
from brain_shell import ShellStep

class Said(BaseModel):
    text: str

def same(text):
    return text

HERE = """cat <<EOF
{said}
EOF"""
QUOTED = """cat <<'EOF'
{said}
EOF"""

workflow = Workflow(name="hostile", inputs={"secret": "s3cret-value"}, steps=[
    LLMStep(name="said", prompt="Say something."),
    LLMStep(name="typed", prompt="Say something as JSON.", output=Said),
    ShellStep(name="bare", command="printf %s {said}"),
    ShellStep(name="double", command='printf %s "{said}"'),
    ShellStep(name="single", command="printf %s '{said}'"),
    ShellStep(name="inner", command='printf %s "$(printf %s {said})"'),
    ShellStep(name="here", command=HERE),
    ShellStep(name="quoted", command=QUOTED),
    ShellStep(name="through", command="cat", stdin="{said}"),
    ShellStep(name="variable", command='printf %s "$V"', env={"V": "{said}"}),
    ShellStep(name="field", command="printf %s {typed.text}"),
    ShellStep(name="chosen", command="case {said} in yes) touch hit;; *) echo other;; esac"),
    FunctionStep(name="python", function=same, args={"text": "{said}"}),
    LLMStep(name="again", prompt="You said: {said}"),
])
'''


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_is_never_code(server, configured, here, files: Path, tmp_path: Path, text: str) -> None:
    (files / "hostile.py").write_text(FLOW)
    server.will(says(text), answers({"text": text}), says("done"))
    code, out, err = here("run", "--json", "hostile.py")
    assert code == 0, err
    outputs = {step["name"]: step["output"] for step in json.loads(out)["steps"]}
    # A NUL is made visible when it is stored, and nothing else is changed.
    said = outputs["said"]
    assert said == text.replace(
        "\x00", said[text.find("\x00") :][: len(said) - len(text) + 1] if "\x00" in text else ""
    )
    for name in ("bare", "double", "single", "inner", "through", "variable", "python"):
        assert outputs[name] == said, name
    assert outputs["typed"] == {"text": said}
    assert outputs["field"] == said
    assert outputs["chosen"] == "other"
    # In a here-document the value ends before the document does.
    assert outputs["here"] == outputs["quoted"] == said
    assert server.requests[-1].texts == [f"You said: {said}"]
    assert "s3cret-value" not in json.dumps(outputs)
    assert not list(tmp_path.rglob("hit*"))


def test_what_people_are_shown_holds_nothing_that_a_terminal_obeys(server, configured, here, files: Path) -> None:
    (files / "asks.py").write_text(
        "from brain_core import Workflow\nfrom brain_llm import LLMStep\n"
        "workflow = Workflow(name='asks', steps=[LLMStep(name='ask', prompt='Say something.')])\n"
    )
    server.will(says("safe \x1b]0;title\x07", "\x1b[2J and \x9b31m on"))
    code, out, err = here("run", "-v", "asks.py")
    assert code == 0, err
    run = json.loads(here("history", "--json")[1])[0]["id"]
    assert not {"\x1b", "\x07", "\x9b"} & set(out + err + here("show", run)[1])


@pytest.mark.parametrize(
    "command", ['sh -c "{said}"', "eval {said}", "{said}", "python3 -c {said}", "echo {said} | sh", "ssh host {said}"]
)
def test_a_command_made_of_an_answer_is_refused_when_the_file_is_loaded(here, files: Path, command: str) -> None:
    (files / "acts.py").write_text(
        "from brain_core import Workflow\nfrom brain_llm import LLMStep\nfrom brain_shell import ShellStep\n"
        "workflow = Workflow(name='acts', steps=[LLMStep(name='said', prompt='Say a command.'),"
        f" ShellStep(name='act', command={command!r})])\n"
    )
    code, out, err = here("validate", "acts.py")
    assert code == 1
    assert "ShellStep 'act': line 1 of the command" in out + err
