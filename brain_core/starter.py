"""The file that `brain new workflow NAME` writes: one that runs as it is, to be changed."""

from __future__ import annotations

from pathlib import Path

from brain_core.errors import UsageError
from brain_core.loader_source import one_line

_TEXT = '''"""A workflow: a list of steps that run one after the other.

    brain run FILE
    brain run FILE --input who=you
    brain history

Each run and each step is recorded: `brain show RUN-ID` tells what came out.
"""

from brain_core import Step, StepContext, Template, Workflow
from brain_shell import ShellStep


class Shout(Step):
    """A step type of your own: its fields are the step's arguments, what `run` returns is its output."""

    text: Template  # placeholders are filled in before run() is called

    def run(self, ctx: StepContext) -> str:
        return f"{self.text}!".upper()


workflow = Workflow(
    name="NAME",
    inputs={"who": "world"},  # a default; a type (`int`) makes an input that has to be given
    steps=[
        ShellStep(name="greet", command="echo hello {inputs.who}"),
        Shout(name="shout", text="{greet}"),
        ShellStep(name="count", command="printf %s {shout} | wc -c"),
    ],
)
'''


def starter_file(name: str) -> str:
    """Return the text of a new workflow file; UsageError when a workflow cannot have this name."""
    from brain_core.workflow import name_problem

    if problem := name_problem(name):
        raise UsageError(one_line(problem))
    return _TEXT.replace("FILE", f"{name}.py").replace("NAME", name)


def write_starter(name: str, folder: Path) -> Path:
    """Write NAME.py into a folder and return its path; UsageError when the file is there already.

    `name` may be written with its `.py`.
    """
    name = name.removesuffix(".py")
    text = starter_file(name)
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{one_line(str(path))} exists already; choose another name or remove it first") from None
    except OSError as error:
        raise UsageError(f"{one_line(str(path))} cannot be written: {error.strerror}") from None
    return path
