"""What looks like a placeholder in a shell command: said when the file is loaded, unless it is the shell's own."""

from __future__ import annotations

from typing import Any

import pytest
from brain_shell import ShellStep
from brain_shell.binding import split
from pydantic import ValidationError

from brain_core import Workflow


def load(command: str, **more: Any) -> Workflow:
    steps = [ShellStep(name="z", command="echo 1"), ShellStep(name="s", command=command, **more)]
    return Workflow(name="w", inputs={"who": "ann"}, steps=steps)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("echo {z|none}", "command: {z|none} is no placeholder: only {previous.…} and {trigger.…} take a default"),
        ("echo '{inputs.who|none}'", "{inputs.who|none} is no placeholder"),
        ("cat <<'EOF'\n{z|none}\nEOF", "{z|none} is no placeholder"),
        ("echo {z!r}", "{z!r} is no placeholder"),
        ("echo { z }", "{ z } is no placeholder"),
        ("echo '{z:>10}'", "{z:>10} is no placeholder"),
        ("echo {previous.z|0} { previous.z }", "{ previous.z } is no placeholder"),
    ],
)
def test_a_mistaken_placeholder_is_refused(command: str, part: str) -> None:
    for unsafe in (False, True):
        with pytest.raises(ValidationError) as caught:
            load(command, unsafe=unsafe)
        assert part in str(caught.value)


def test_in_the_environment_too() -> None:
    with pytest.raises(ValidationError, match=r"env: \{z\|x\} is no placeholder"):
        load("echo", env={"V": "{z|x}"})
    with pytest.raises(ValidationError, match=r"stdin: \{z!r\} is no placeholder"):
        load("cat", stdin="{z!r}")


@pytest.mark.parametrize(
    "command",
    [
        "{ z | cat; }",
        "{ z|cat; }",
        "{ z; }",
        "echo ${z} ${z:-none} ${z:=a.b}",
        "awk '{print $1}' {z}",
        "echo {previous.z|0} '{{z}}' '{{previous.z|0}}' '{{ z }}' {other|x}",
    ],
)
def test_what_is_the_shells_stays(command: str) -> None:
    load(command)


def test_the_escape_of_a_placeholder_with_a_default() -> None:
    assert "".join(map(str, split("echo '{{previous.x|0}}' '{{trigger.b.0|a b}}' '{{x}}'"))) == (
        "echo '{previous.x|0}' '{trigger.b.0|a b}' '{x}'"
    )
    assert split("echo '{{previous.x|0}}'") == ("echo '", "{previous.x|0}", "'")
    assert split("echo ${{x}}") == ("echo ${{x}}",)
    assert list(ShellStep(name="s", command="echo '{{previous.x|0}}'").placeholders()) == []
