"""Property: any text, in every quoting of a shell command, arrives byte for byte and runs nothing (G22)."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from brain_shell.binding import CommandMark, bound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brain_core import Scope

SHELLS = ["/bin/dash", "/bin/bash"]
P = "printf '%s\\037'"
"""Prints each argument and a separator; no value below holds the separator."""

# Each context prints what the values are to be found in: `X` stands for the value as it has to arrive. What follows is
# the text of a template and what it has to print.
CONTEXTS: list[tuple[str, str]] = [
    (f"{P} {{x}}", "X"),
    (f"{P} a{{x}}b{{y}}", "aXbY"),
    (f"{P} {{x}}{{y}}", "XY"),
    (f'{P} "{{x}}"', "X"),
    (f'{P} "a {{x}} $((1+1)) {{y}}\'"', "a X 2 Y'"),
    (f"{P} '{{x}}'", "X"),
    (f"{P} 'a\"{{x}}`$({{y}}'", 'a"X`$(Y'),
    (f"{P} \\{{x}}", "X"),
    (f"{P} \\\\{{x}}", "\\X"),
    (f'{P} "\\{{x}}"', "\\X"),
    (f'{P} "\\\\{{x}}"', "\\X"),
    (f"{P} '\\{{x}}'", "\\X"),
    (f"{P} $({P} {{x}}e)", None),  # type: ignore[list-item]
    (f'{P} "$(printf %s {{x}}e)"', "Xe"),
    (f'{P} "$(printf %s "{{x}}"e)"', "Xe"),
    (f'{P} "$(printf %s "$(printf %s \'{{x}}\'e)"e)"', "Xee"),
    (f'{P} "`printf %s {{x}}e`"', "Xe"),
    (f'{P} "`printf %s "{{x}}"e`"', "Xe"),
    (f'{P} "`printf %s \\"{{x}}\\"e`"', "Xe"),
    (f"{P} \"`printf %s '{{x}}'e`\"", "Xe"),
    (f'v=`printf %s {{x}}e`; {P} "$v"', "Xe"),
    (f'v=`printf %s "\\`printf %s {{x}}e\\`"e`; {P} "$v"', "Xee"),
    (f'v=`printf %s "\\`printf %s \\"{{x}}\\"e\\`"e`; {P} "$v"', "Xee"),
    (f'v=`printf %s \\\\{{x}}e`; {P} "$v"', "Xe"),
    (f'v=$(printf %s `printf \'%s\' "{{x}}" >/dev/null` "{{y}}"e); {P} "$v"', "Ye"),
    (f'v={{x}}; {P} "$v"', "X"),
    (f'v=a{{x}}"{{y}}"; {P} "$v"', "aXY"),
    (f'export v={{x}}; {P} "$v"', "X"),
    (f'W={{x}} sh -c \'{P[:6]} "%s" "$W"; printf "\\037"\'', "X"),
    ('env W={x} /bin/sh -c \'printf %s "$W"; printf "\\037"\'', "X"),
    ('sh -c \'printf "%s\\037" "$1"\' _ {x}', "X"),
    (f"for v in {{x}} '{{y}}'; do {P} \"$v\"; done", "X|Y"),
    (f'case {{x}} in "") {P} empty ;; *) {P} "{{x}}" ;; esac', None),  # type: ignore[list-item]
    (f"if [ {{x}} = {{x}} ]; then {P} {{x}}; fi", "X"),
    (f'f() {{ {P} "$1"; }}; f {{x}}', "X"),
    (f"( {P} {{x}} ); {{ {P} {{y}}; }}", "X|Y"),
    (f"true && {P} {{x}} || {P} no", "X"),
    (f"{P} {{x}} # it's {{y}} `$( \" \n{P} {{y}}", "X|Y"),
    (f"{P} $({P} a # {{x}} ) it's\n)", None),  # type: ignore[list-item]
    ("cat <<EOF\n{x}\nEOF\nprintf '\\037'", "X\n"),
    ("cat <<EOF\n\"'{x}' \\{y}\nEOF\nprintf '\\037'", "\"'X' \\Y\n"),
    ("cat <<-EOF\n\t\t{x}\n\tEOF\nprintf '\\037'", "X\n"),
    (
        "cat <<'EOF'\n{x} $HOME `id` $(id) \\ \\\\ \\$ \"q\"\nEOF\nprintf '\\037'",
        'X $HOME `id` $(id) \\ \\\\ \\$ "q"\n',
    ),
    ("cat <<-'EOF'\n\t{x}\\\n\t{y}\n\tEOF\nprintf '\\037'", "X\\\nY\n"),
    ("cat <<\\EOF\n\\{x}\nEOF\nprintf '\\037'", "\\X\n"),
    ("cat <<\"EOF\"\n'{x}' \"{y}\"\nEOF\nprintf '\\037'", "'X' \"Y\"\n"),
    ("cat <<EOF\n$(printf %s {x}e)`printf %s '{y}'e`\nEOF\nprintf '\\037'", "XeYe\n"),
    ('cat <<EOF\n$(printf %s "$(printf %s "{x}"e)")\nEOF\nprintf \'\\037\'', "Xe\n"),
    ("cat <<A - <<'B'\nnot read\nA\n{x}\nB\nprintf '\\037'", "X\n"),
    (f'v=$(cat <<EOF\n{{x}}e\nEOF\n); {P} "$v"', "Xe"),
    (f"v=$(cat <<'EOF'\n$a {{x}}e\nEOF\n); {P} \"$v\"", "$a Xe"),
    (f"v=`cat <<'EOF'\n{{x}}e\nEOF\n`; {P} \"$v\"", "Xe"),
    (f"{P} {{{{x}}}} {{x}}", "{x}|X"),
    (f"i=0; while [ $i -lt 1 ]; do i=$((i+1)); {P} {{x}}; done", "X"),
    ("printf '%s' {x} | cat; printf '\\037'", "X"),
    ("printf '%s\\037' {x} \\\n  \"{y}\"", "X|Y"),
]

NASTY = [
    "$(touch CANARY)", "`touch CANARY`", "; touch CANARY;", "\n touch CANARY\n", "'; touch CANARY; '",
    '"; touch CANARY; "', "$((a[$(touch CANARY)]))", "${x:-$(touch CANARY)}", "\nEOF\ntouch CANARY\n", "EOF", "B",
    "|touch CANARY", "&touch CANARY&", ") touch CANARY (", "a[$(touch CANARY)]", "-v", "-n", "--", "\\", "\\\\",
    "\\\n", "'", '"', "`", "$", "*", "?", "[a-z]", "~", "~root", "{a,b}", "!", "#", " ", "\t", "\n", "\n\n", "\r",
    "{x}", "{{y}}", "\x01", "\x7f", "\x80", "\x81", "\x82\x88", "\u00c1", "é", "\u0141", "日本", "😀", "\U0010ffff",
    "\ufeff", "\u2028", "${IFS}", "%s", "%d\\n", "\\c", "\\x41", "$1", "$BRAIN_VALUE_0", "${BRAIN_VALUE_1}", "in",
    "esac", "done", "}", "=",
]  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1f")
VALUES = st.one_of(
    st.lists(st.sampled_from(NASTY), max_size=6).map("".join),
    st.text(CHARACTERS, max_size=40),
    st.text(st.sampled_from("$`\"'\\(){}[];&|<>*?~#!=\n\t aEOF-"), max_size=20),
)


def _fill(piece: str, x: str, y: str) -> str:
    return "".join({"X": x, "Y": y}.get(c, c) for c in piece)


def run_pairs(shell: str, template: str, pairs: list[tuple[str, str]], folder: Path) -> list[str]:
    """Run a template once for each pair of values, in one process, and return what each printed."""
    mark, lines, environment = CommandMark(), [], {}
    for number, (x, y) in enumerate(pairs):
        command = mark.resolve(template, Scope(steps={"x": x, "y": y}))
        with bound(command, unsafe=False) as (script, values):
            text = script
            for name, value in values.items():
                fresh = name.decode().replace("BRAIN_VALUE_", f"BRAIN_VALUE_{number}_")
                text = text.replace("${" + name.decode() + "}", "${" + fresh + "}")
                environment[fresh.encode()] = value
        lines.append(f"{text}\nprintf '\\036'")
    done = subprocess.run(
        [shell, "-c", "\n".join(lines)],
        env={b"PATH": os.environb[b"PATH"], b"LC_ALL": b"C.UTF-8", **environment},
        cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout.decode().split("\036")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.tuples(VALUES, VALUES), min_size=4, max_size=12), seed=st.integers(0, 2**32))
def test_any_text_arrives_in_every_context(
    shell: str, values: list[tuple[str, str]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = [(x.replace("\x1e", ""), y.replace("\x1e", "")) for x, y in values]
    folder = tmp_path_factory.getbasetemp()
    for template, print_of in random.Random(seed).sample(CONTEXTS, 12):
        printed = run_pairs(shell, template, values, folder)
        for (x, y), got in zip(values, printed, strict=True):
            if print_of is not None:
                assert got == "".join(_fill(piece, x, y) + "\037" for piece in print_of.split("|")), template
    assert not list(folder.glob("CANARY*"))


def nested(chance: random.Random, depth: int, quoted: bool) -> tuple[str, str]:
    """Make a word (quoted: the inside of a "…") and what it has to become; substitutions nest `depth` deep."""
    if depth == 0:
        bare = [
            ("{x}", "X"),
            ("'{x}'", "X"),
            ('"{x}"', "X"),
            ("\\{x}", "X"),
            ("'{x}'\"{y}\"", "XY"),
            ("a{x}\\ b", "aX b"),
        ]
        inside = [("{x}", "X"), ("'{x}'", "'X'"), ("\\{x}", "\\X"), ("{y}\\\\{x}", "Y\\X"), ("\\`{x}", "`X")]
        return chance.choice(inside if quoted else bare)
    if not quoted and chance.random() < 0.2:
        text, value = nested(chance, depth, quoted=True)
        return f'"{text}"', value
    kind = chance.choice(["$(", "`", "heredoc", "quoted heredoc", "dq"])
    if kind == "dq":
        text, value = nested(chance, depth - 1, quoted=True)
        command = f'printf %s "{text}"e # it is {{y}}\n'
        value += "e"
    elif kind == "quoted heredoc":
        command, value = "cat <<'EOF'\n$q '{x}' \"\\{y}` $(\nEOF\nprintf e", "$q 'X' \"\\Y` $(\ne"
    elif kind == "heredoc":
        command, value = "cat <<-EOF\n\t{x}\" $(printf %s '{y}'e)\nEOF\nprintf e", 'X" Ye\ne'
    else:
        text, value = nested(chance, depth - 1, quoted=False)
        command, value = f"printf %s {text}e", value + "e"
    if kind == "`" or (kind == "dq" and chance.random() < 0.5):
        for c in '\\`$"' if quoted else "\\`$":
            command = command.replace(c, "\\" + c)
        wrapped = f"`{command}`"
    else:
        wrapped = f"$({command})" if not command.startswith("(") else f"$( {command})"
    return (wrapped if quoted else f'"{wrapped}"'), value


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    depth=st.integers(1, 4),
)
def test_any_text_arrives_through_nested_substitutions(
    shell: str,
    values: list[tuple[str, str]],
    seed: int,
    depth: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    values = [(x.replace("\x1e", ""), y.replace("\x1e", "")) for x, y in values]
    folder = tmp_path_factory.getbasetemp()
    text, value = nested(random.Random(seed), depth, quoted=True)
    template = f'{P} "{text}"'
    for (x, y), got in zip(values, run_pairs(shell, template, values, folder), strict=True):
        assert got == _fill(value, x, y) + "\037", template
    assert not list(folder.glob("CANARY*"))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("template", "print_of"), CONTEXTS)
def test_nasty_text_arrives_in_this_context(shell: str, template: str, print_of: str | None, tmp_path: Path) -> None:
    pairs = [(value, NASTY[-at]) for at, value in enumerate(NASTY)]
    printed = run_pairs(shell, template, pairs, tmp_path)
    for (x, y), got in zip(pairs, printed, strict=True):
        if print_of is not None:
            assert got == "".join(_fill(piece, x, y) + "\037" for piece in print_of.split("|"))
    assert list(tmp_path.iterdir()) == []
