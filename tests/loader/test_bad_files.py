"""Every way in which a workflow file can be wrong, with the exact line that the user reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from brain_core.errors import WorkflowFileError
from brain_core.loader import load_workflow
from brain_core.loader_source import MAX_FILE_BYTES
from brain_core.workflow import Step

HEAD = """\
from brain_core import FunctionStep, JsonTemplate, Step, Template, TextTemplate, Workflow
class Say(Step):
    text: Template = ""
    times: int = 1
    def run(self, ctx):
        return self.text
"""

BAD = {
    "syntax": ("x =\n", "w.py:1: syntax error: invalid syntax"),
    "syntax-open": ("\n\nx = (\n", "w.py:3: syntax error: '(' was never closed"),
    "raises": ("\n1 / 0\n", "w.py:2: ZeroDivisionError: division by zero"),
    "raises-lines": ("raise ValueError('a\\nb\\x1b[31m')", "w.py:1: ValueError: a b\\x1b[31m"),
    "raises-nothing": ("raise ValueError", "w.py:1: ValueError"),
    "raises-in-function": ("def f():\n    raise KeyError('k')\nf()\n", "w.py:2: KeyError: 'k'"),
    "raises-base": ("class E(BaseException): pass\nraise E('x')", "w.py:2: E: x"),
    "raises-unprintable": (
        "class E(Exception):\n    def __str__(self): raise OSError\nraise E",
        "w.py:3: E",
    ),
    "exit": (
        "import sys\nsys.exit(3)",
        "w.py:2: sys.exit(3) was called while the file was imported; it may only define the workflow",
    ),
    "exit-text": (
        "raise SystemExit('bye')",
        "w.py:1: sys.exit('bye') was called while the file was imported; it may only define the workflow",
    ),
    "recursion": ("def f():\n    f()\nf()\n", "w.py:2: RecursionError: the file calls or nests itself too deeply"),
    "empty": ("", "w.py: the file has no `workflow`; write: workflow = Workflow(name=…, steps=[…])"),
    "misspelled": ("worflow = 1\n", "w.py: the file has no `workflow`; did you mean 'worflow'?"),
    "other-name": (
        HEAD + "\nflow = Workflow(name='w', steps=[Say(name='a')])\n",
        "w.py:8: the file has no `workflow`; its Workflow is named 'flow', name it `workflow`",
    ),
    "wrong-type": (
        "def f():\n    workflow = 1\n\nworkflow = 3\n",
        "w.py:4: `workflow` is an int, not a Workflow; write: workflow = Workflow(name=…, steps=[…])",
    ),
    "a-list": (
        HEAD + "workflow = [Say(name='a')]",
        "w.py:7: `workflow` is a list, not a Workflow; write: workflow = Workflow(name=…, steps=[…])",
    ),
    "a-step": (
        HEAD + "workflow = Say(name='a')",
        "w.py:7: `workflow` is a step, not a Workflow; write: workflow = Workflow(name=…, steps=[…])",
    ),
    "a-class": (
        HEAD + "workflow = Workflow",
        "w.py:7: `workflow` is the class Workflow, not a Workflow; write: workflow = Workflow(…)",
    ),
    "a-function": (
        "def workflow():\n    pass\n",
        "w.py:1: `workflow` is a function, not a Workflow; call it, if it makes one",
    ),
    "no-steps": (
        HEAD + "workflow = Workflow(name='w', steps=[])",
        "w.py:7: steps is empty; a workflow needs at least one step",
    ),
    "steps-missing": (HEAD + "workflow = Workflow(name='w')", "w.py:7: Workflow 'w' needs the field 'steps'"),
    "steps-dict": (HEAD + "workflow = Workflow(name='w', steps={})", "w.py:7: steps is a dict; write a list of steps"),
    "steps-not-steps": (
        HEAD + "workflow = Workflow(name='w', steps=[Say(name='a'), 'x'])",
        "w.py:7: entry 2 of steps is a str, not a step",
    ),
    "steps-class": (
        HEAD + "workflow = Workflow(name='w', steps=[Say])",
        "w.py:7: entry 1 of steps is the class Say, not a step",
    ),
    "twice": (
        HEAD + "workflow = Workflow(name='w', steps=[\n    Say(name='a'),\n    Say(name='a'),\n])",
        "w.py:9: there are two steps named 'a'; each name may stand once",
    ),
    "bad-step-name": (
        HEAD + "\nSay(name='a b')",
        "w.py:8: step name 'a b' is not a name: a letter or _, then letters, digits and _, 100 at most",
    ),
    "reserved": (
        HEAD + "\nSay(name='inputs')",
        "w.py:8: step name 'inputs' is reserved for placeholders; choose another",
    ),
    "bad-name": (
        HEAD + "workflow = Workflow(name='a b', steps=[Say(name='a')])",
        "w.py:7: workflow name 'a b' is not a name: ASCII letters, digits, '_', '-' and '.', 200 at most, "
        "and no '-' or '.' at its start",
    ),
    "unknown-field": (HEAD + "Say(name='a', txt='x')", "w.py:7: Say 'a' has no field 'txt'; did you mean 'text'?"),
    "unknown-field-far": (
        HEAD + "Say(name='a', zzz='x')",
        "w.py:7: Say 'a' has no field 'zzz' (it has: name, timeout, text, times)",
    ),
    "unknown-field-workflow": (
        HEAD + "Workflow(name='w', steps=[Say(name='a')], input={})",
        "w.py:7: Workflow 'w' has no field 'input'; did you mean 'inputs'?",
    ),
    "several": (
        HEAD + "Say(name='a', txt='x', times='y', timeout=-1)",
        "w.py:7: Say 'a' has no field 'txt'; did you mean 'text'? (and 2 more)",
    ),
    "no-name": (HEAD + "Say(text='x')", "w.py:7: Say needs the field 'name'"),
    "positional": (HEAD + "Say('a')", "w.py:7: TypeError: Say takes its fields by name: Say(name=…)"),
    "template-dict": (
        HEAD + "Say(name='a', text={'a': '{x}'})",
        "w.py:7: Say 'a', text: this is a dict, and a Template is text; for lists and dicts there is JsonTemplate",
    ),
    "function-args": (
        HEAD + "def f(a, b): pass\nFunctionStep(name='f', function=f, args={'a': 1})",
        "w.py:8: FunctionStep 'f': args do not fit f(a, b): missing a required argument: 'b'",
    ),
    "frozen": (
        HEAD + "s = Say(name='a')\ns.text = 'x'",
        "w.py:8: Say cannot be changed once it is made; 'text' is set where it is made",
    ),
    "no-run": (
        HEAD + "class No(Step):\n    x: int = 0\nworkflow = Workflow(name='w', steps=[Say(name='a'), No(name='b')])",
        "w.py:9: step 'b': the class No has no run(); a step type defines one",
    ),
    "run-without-ctx": (
        HEAD + "class No(Step):\n    def run(self): pass\nworkflow = Workflow(name='w', steps=[No(name='b')])",
        "w.py:9: step 'b': No.run is called with the context; write: def run(self, ctx)",
    ),
    "run-is-no-method": (
        HEAD + "from typing import ClassVar\nclass No(Step):\n    run: ClassVar[int] = 1\n"
        "workflow = Workflow(name='w', steps=[No(name='b')])",
        "w.py:10: step 'b': run of the class No is not a method; write: def run(self, ctx)",
    ),
    "on-finished-without-run": (
        HEAD + "def told(): pass\nworkflow = Workflow(name='w', steps=[Say(name='a')], on_finished=told)",
        "w.py:8: on_finished is called with the finished run, which told does not take; write: def told(run)",
    ),
    "own-init": (
        HEAD + "class Own(Step):\n    def __init__(self, x):\n        self.x = x\n    def run(self, ctx): pass\nOwn(3)",
        "w.py:9: the class Own has an __init__ of its own; leave it out and declare each argument as a field, "
        "such as text: Template",
    ),
    "own-init-unnamed": (
        HEAD + "class Own(Step):\n    def __init__(self, name):\n        super().__init__(name)\nOwn('a')",
        "w.py:9: the class Own has an __init__ of its own; leave it out and declare each argument as a field, "
        "such as text: Template",
    ),
    "own-init-empty": (
        HEAD + "class Own(Step):\n    def __init__(self): pass\nworkflow = Workflow(name='w', steps=[Own()])",
        "w.py:9: entry 1 of steps: the class Own has an __init__ of its own; leave it out and declare each argument "
        "as a field, such as text: Template",
    ),
    "field-without-a-type": (
        HEAD + "class No(Step):\n    x = 3\n",
        "w.py:7: PydanticUserError: A non-annotated attribute was detected: `x = 3`. All model fields require a type "
        "annotation; if `x` is not meant to be a field, you may be able to resolve this error by annotating it as a "
        "`ClassVar` or updating `model_config['ignored_types']`.",
    ),
    **{
        f"silent-{number}": (
            HEAD + "from typing import Any\nclass Lit(Say):\n    lit: Any = ''\n"
            "workflow = Workflow(name='w', inputs={'who': 'x'}, steps=[\n  Say(name='a'),\n"
            f"  Lit(name='b', lit={value}),\n])",
            f"w.py:12: step 'b', lit: {shown} would stay as it is, lit of Lit takes no placeholders; "
            "in a class of your own declare it as lit: Template",
        )
        for number, (value, shown) in enumerate(
            {
                "'say {a}'": "{a}",
                "['x', {'y': '{inputs.who}'}]": "{inputs.who}",
                "('{zzz} {previous.a.b}',)": "{previous.a.b}",
            }.items()
        )
    },
    "no-module": (
        "import nope",
        "w.py:1: there is no module 'nope'; install what brings it, or put nope.py beside the workflow file",
    ),
    "near-module": ("import helpr", "w.py:1: there is no module 'helpr'; did you mean 'helper'?"),
    "relative": (
        "from .helper import x",
        "w.py:1: a relative import has no package here; a module beside the file is imported by its plain name",
    ),
    "llm-in-core": (
        "from brain_core import LLMStep",
        "w.py:1: brain_core has no LLMStep; write: from brain_llm import LLMStep",
    ),
    "llm-undefined": (
        "x = LLMStep",
        "w.py:1: the name 'LLMStep' is not defined; write: from brain_llm import LLMStep",
    ),
    "core-misspelled": (
        "from brain_core import Workfow",
        "w.py:1: the module brain_core has no 'Workfow'; did you mean 'Workflow'?",
    ),
    "not-imported": (
        "Workflow()",
        "w.py:1: the name 'Workflow' is not defined; write: from brain_core import Workflow",
    ),
    "undefined": ("printt = 1\nprinttt", "w.py:2: the name 'printtt' is not defined; did you mean 'printt'?"),
    "shadowed": (
        "from secrets import mine",
        "w.py:1: the module 'secrets' that is imported is not secrets.py beside the file; rename that file",
    ),
    "in-helper": (
        "\nimport helper\nhelper.fail()",
        "w.py:3: ZeroDivisionError: division by zero (in helper.py:3)",
    ),
    "helper-syntax": ("\nimport broken", "w.py:2: syntax error in broken.py:1: '(' was never closed"),
    "helper-module": (
        "import imports_nope",
        "w.py:1: there is no module 'nope'; install what brings it, or put nope.py beside the workflow file "
        "(in imports_nope.py:2)",
    ),
    "helper-step": (
        HEAD + "import steps\nworkflow = Workflow(name='w', steps=[steps.step])",
        "w.py:8: step 'a', text: {b} names no earlier step; for the text itself write {{b}} (made in steps.py:8)",
    ),
}

BAD_PLACEHOLDERS = {
    "{fetsh}": "names no earlier step; did you mean 'fetch'?; for the text itself write {{fetsh}}",
    "{zzz}": "names no earlier step; for the text itself write {{zzz}}",
    "{who}": "names no earlier step; did you mean 'inputs.who'?; for the text itself write {{who}}",
    "{later}": "names a step that has not run yet at that point; only earlier steps have an output",
    "{say}": "is this step itself; only earlier steps have an output, and {previous.say} the last run's",
    "{inputs.whom}": "names no input of this workflow; did you mean 'who'?",
    "{inputs.zzz}": "names no input of this workflow (declared: who)",
    "{previous}": "needs the name of a step, such as {previous.fetch}",
    "{previous.fetsh}": "names no step of this workflow; did you mean 'fetch'?",
    "{previous.fetsh|x}": "names no step of this workflow; did you mean 'fetch'?",
    "{run.idd}": "is unknown; did you mean 'id'? (there are: id, workflow, started_at)",
    "{secret.key}": "is reserved and has no meaning yet; for the text itself write {{secret.key}}",
    "{env.HOME}": "is reserved and has no meaning yet; for the text itself write {{env.HOME}}",
    "{item}": "is reserved and has no meaning yet; for the text itself write {{item}}",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("x = 1\ndef fail():\n    1 / 0\n")
    (tmp_path / "broken.py").write_text("def f(\n")
    (tmp_path / "imports_nope.py").write_text("\nimport nope\n")
    (tmp_path / "secrets.py").write_text("mine = 1\n")
    (tmp_path / "steps.py").write_text(HEAD + "\nstep = Say(name='a', text='{b}')\n")
    return tmp_path


def message(file: str | Path) -> str:
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow(file)
    return str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_bad_file(case: str, folder: Path) -> None:
    text, expected = BAD[case]
    (folder / "w.py").write_text(text)
    modules, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    assert message("w.py") == expected
    assert sys.path == path
    assert sys.meta_path == finders
    left = {name for name in set(sys.modules) - modules if name.startswith("brain_workflow_")}
    assert not left
    assert not {"helper", "broken", "imports_nope", "steps"} & set(sys.modules)


@pytest.mark.parametrize("placeholder", BAD_PLACEHOLDERS)
def test_bad_placeholder(placeholder: str, folder: Path) -> None:
    (folder / "w.py").write_text(
        HEAD
        + "workflow = Workflow(name='w', inputs={'who': 'x'}, steps=[\n  Say(name='fetch'),\n"
        + f"  Say(name='say', text='so: {placeholder}'),\n  Say(name='later'),\n])\n"
    )
    assert message("w.py") == f"w.py:9: step 'say', text: {placeholder} {BAD_PLACEHOLDERS[placeholder]}"


def test_path_is_shown_as_written(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "w.py").write_text("1/0")
    assert message("sub/../sub/w.py").startswith("sub/../sub/w.py:1: ")
    assert message(Path("sub/w.py")).startswith("sub/w.py:1: ")


def test_missing_and_odd_files(folder: Path) -> None:
    (folder / "backup.py").write_text("")
    (folder / "note.txt").write_text("")
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "a.py").write_text("")
    os.mkfifo(folder / "pipe.py")
    (folder / "loop.py").symlink_to("loop.py")
    assert message("bakup.py") == "bakup.py: there is no such file; did you mean 'backup.py'?"
    assert message("backup") == "backup: there is no such file; did you mean 'backup.py'?"
    assert message("zzzzzz.py") == "zzzzzz.py: there is no such file"
    assert message("no/w.py") == "no/w.py: there is no such file, nor the folder 'no'"
    assert message("backup.py/w.py") == "backup.py/w.py: there is no such file, nor the folder 'backup.py'"
    assert message("other") == "other: this is a folder; name a workflow file in it, such as other/a.py"
    assert message("empty") == "empty: this is a folder; name a workflow file; there is none in it"
    assert message("note.txt") == "note.txt: the name does not end in .py; a workflow is a Python file"
    assert message("pipe.py") == "pipe.py: this is not a regular file; a workflow is a .py file"
    assert message("") == "'': the name of the workflow file is empty; give the path of a .py file"
    assert message("a\0.py") == "a\\x00.py: a file name cannot hold a NUL character"
    assert message("a\nb\udcff.py") == "a b\\udcff.py: there is no such file"
    assert message("loop.py").startswith("loop.py: the file cannot be read: ")
    assert message("x" * 300 + ".py").endswith(".py: the file cannot be read: File name too long")


def test_a_path_that_the_history_cannot_hold(folder: Path) -> None:
    good = HEAD + "workflow = Workflow(name='w', steps=[Say(name='a')])"
    named = folder / os.fsdecode(b"caf\xe9.py")
    named.write_text(good)
    where = f"({folder}/caf\\udce9.py)"
    assert message(named) == f"{folder}/caf\\udce9.py: the name of the file is not UTF-8 {where}; rename it"
    lies = folder / os.fsdecode(b"d\xe9")
    lies.mkdir()
    (lies / "w.py").write_text(good)
    (folder / "link.py").symlink_to(lies / "w.py")
    assert message("link.py") == f"link.py: the folder of the file is not UTF-8 ({folder}/d\\udce9/w.py); rename it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(folder: Path) -> None:
    (folder / "w.py").write_text("")
    (folder / "w.py").chmod(0)
    assert message("w.py") == "w.py: the file cannot be read: Permission denied"


def test_bytes_that_are_no_program(folder: Path) -> None:
    file = folder / "w.py"
    file.write_bytes(b"x = 1\ny = '\xff'\n")
    assert message("w.py") == "w.py:2: the file is not UTF-8 (byte 0xff); save it as UTF-8"
    file.write_bytes(b"x = 1\n\n\0")
    assert message("w.py") == "w.py:3: the file holds a NUL byte, so it is not Python text"
    file.write_bytes(b"-" * 300_000 + b"1")
    assert message("w.py").startswith("w.py: the file nests too deeply") or "syntax error" in message("w.py")


def test_size_limit_one_byte_over(folder: Path) -> None:
    file = folder / "w.py"
    good = (HEAD + "workflow = Workflow(name='w', steps=[Say(name='a')])\n#").encode()
    file.write_bytes(good.ljust(MAX_FILE_BYTES, b"x"))
    assert load_workflow("w.py").workflow.name == "w"
    file.write_bytes(good.ljust(MAX_FILE_BYTES + 1, b"x"))
    assert message("w.py") == "w.py: the file has 4,194,305 bytes; a workflow file has 4,194,304 at most"


def test_check_refuses_a_step_with_its_line(folder: Path) -> None:
    def check(step: Step) -> str | None:
        return f"step '{step.name}': its plugin is quarantined" if step.name == "b" else None

    (folder / "w.py").write_text(
        HEAD + "workflow = Workflow(name='w', steps=[\n  Say(name='a'),\n  Say(\n    name='b'),\n])"
    )
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow("w.py", check=check)
    assert str(caught.value) == "w.py:9: step 'b': its plugin is quarantined"
    assert (caught.value.file, caught.value.line) == ("w.py", 9)


def test_keyboard_interrupt_passes_and_leaves_nothing(folder: Path) -> None:
    (folder / "w.py").write_text("import helper\nraise KeyboardInterrupt")
    path = list(sys.path)
    with pytest.raises(KeyboardInterrupt):
        load_workflow("w.py")
    assert sys.path == path
    assert "helper" not in sys.modules
