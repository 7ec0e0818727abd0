"""What cannot be shown to be safe is refused when the step is made, and what can is not (G22)."""

from __future__ import annotations

from typing import Any

import pytest
from brain_shell import ShellStep
from pydantic import ValidationError

REFUSED: list[tuple[str, str]] = [
    ("echo $(({x}+1))", "arithmetic"),
    ("echo \"$(( 1 + {x} ))\"", "arithmetic"),
    ("echo $(( $(echo {x}) ))", "arithmetic"),
    ("((i={x}))", "is arithmetic in bash"),
    ("echo $[{x}]", "arithmetic"),
    ('echo "$[1]" {x}', "arithmetic"),
    ("n={x}; echo $((n+1))", "arithmetic"),
    ("n={x}; m=$n; echo $((${m}+1))", "arithmetic"),
    ("read n; echo {x} $((n))", "arithmetic"),
    ("for i in {x}; do echo $((i)); done", "arithmetic"),
    ("for ((i=0;i<{x};i++)); do :; done", "plain name"),
    ("let n={x}", "'let'"),
    ("eval {x}", "'eval'"),
    ("v={x}; eval \"echo $v\"", "'eval'"),
    ("command eval echo {x}", "'eval'"),
    ("builtin eval echo {x}", "'eval'"),
    ("trap 'echo {x}' EXIT", "'trap'"),
    ("v={x}; trap 'eval $v' EXIT", "'eval'"),
    ("v={x}; trap \"echo $v\" EXIT", "'trap'"),
    ("alias ll={x}", "'alias'"),
    (". {x}", "'.'"),
    ("source ./a.sh {x}", "'source'"),
    ("{x}", "name of a program"),
    ("{x} a", "name of a program"),
    ("A=1 {x}", "name of a program"),
    ("a/{x} b", "name of a program"),
    ("{x}=1 true", "name of a program"),
    ("true | {x}", "name of a program"),
    ("if {x}; then :; fi", "name of a program"),
    ("! {x}", "name of a program"),
    ("$({x})", "name of a program"),
    ("echo `{x}`", "name of a program"),
    ("echo \"$(a `{x}`)\"", "name of a program"),
    ("$(echo {x})", "name of a program"),
    ("v={x}; $v", "name of a program"),
    ("$V {x}", "name comes from a variable"),
    ("env {x}", "name of a program"),
    ("env -i A=1 {x}", "name of a program"),
    ("env {x}=1 id", "name of a program"),
    ("env -S {x}", "cannot be read"),
    ("env -S 'sh -c' {x}", "cannot be read"),
    ("nohup {x}", "name of a program"),
    ("nice -n 5 {x}", "name of a program"),
    ("time -p {x}", "name of a program"),
    ("timeout -k 1 5 {x}", "name of a program"),
    ("exec {x}", "name of a program"),
    ("sudo -u bob {x}", "name of a program"),
    ("sudo -s {x}", "cannot be read"),
    ("ls | xargs {x}", "name of a program"),
    ("echo {x} | xargs sh -c", "code for 'sh'"),
    ("echo {x} | xargs -I% sh -c 'echo %'", "code for 'sh'"),
    ("sh -c 'echo {x}'", "code for 'sh'"),
    ("sh -c \"echo '{x}'\"", "code for 'sh'"),
    ("bash -lc {x}", "code for 'bash'"),
    ("/bin/dash -e -c \"{x}\"", "code for 'dash'"),
    ("bash -o pipefail -c {x}", "code for 'bash'"),
    ("bash {x}", "code for 'bash'"),
    ("v={x}; sh -c \"$v\"", "code for 'sh'"),
    ("sh -c 'eval \"$1\"' _ {x}", "'eval'"),
    ("sh -c 'echo $(($1))' _ {x}", "arithmetic"),
    ("timeout 5 env A=1 sh -c 'echo {x}'", "code for 'sh'"),
    ("docker exec box sh -c 'echo {x}'", "code for 'sh'"),
    ("f() { sh -c \"$1\"; }; f {x}", "code for 'sh'"),
    ("f() { printf %s {x}; }; f | sh", "'sh'"),
    ('f() { printf %s {x}; }; sh -c "$(f)"', "'sh'"),
    ("f() { printf %s {x}; }; v=$(f); $v", "program"),
    ("printf %s {x} | echo \"$(sh)\"", "'sh'"),
    ("printf %s {x} | { v=$(sh); echo $v; }", "'sh'"),
    ("w={x}; timeout $w ls", "several words"),
    ("w={x}; env a=$w ls", "several words"),
    ("a={x} sh -c '$a'", "program"),
    ("printf %s {x} | sh", "standard input"),
    ("printf %s {x} | tee a | bash -s", "standard input"),
    ("printf %s {x} | (cd /; sh)", "standard input"),
    ("sh <<EOF\necho {x}\nEOF", "standard input"),
    ("sh -s <<'EOF'\necho {x}\nEOF", "standard input"),
    ("{ sh; } <<EOF\necho {x}\nEOF", "standard input"),
    ("python3 - <<EOF\nprint('{x}')\nEOF", "standard input"),
    ("python3 <<'EOF'\nprint('{x}')\nEOF", "standard input"),
    ("ssh host ls {x}", "'ssh'"),
    ("ssh {x} ls", "'ssh'"),
    ("ssh host <<EOF\nls {x}\nEOF", "standard input"),
    ("su - bob -c 'ls {x}'", "'su'"),
    ("su -c {x}", "'su'"),
    ("watch ls {x}", "'watch'"),
    ("parallel echo ::: {x}", "'parallel'"),
    ("awk '{print {x}}'", "code for 'awk'"),
    ("awk \"/{x}/\" file", "code for 'awk'"),
    ("gawk -v v={x} '{print v}'", "code for 'gawk'"),
    ("mawk -f {x}", "code for 'mawk'"),
    ("sed s/a/{x}/", "'sed'"),
    ("sed -e 's/{x}//' file", "'sed'"),
    ("sed 's/a/b/' {x}", "'sed'"),
    ("python3 -c 'print({x})'", "code for 'python'"),
    ("python3.11 -I -c \"print('{x}')\"", "code for 'python'"),
    ("/usr/bin/python {x}", "code for 'python'"),
    ("python -m {x}", "code for 'python'"),
    ("perl -e 'print {x}'", "code for 'perl'"),
    ("perl -lne {x}", "code for 'perl'"),
    ("perl -ne 'print' {x}", "may run the name"),
    ("ruby -e 'puts {x}'", "code for 'ruby'"),
    ("node -e 'f({x})'", "code for 'node'"),
    ("node --eval {x}", "code for 'node'"),
    ("php -r 'echo {x};'", "code for 'php'"),
    ("find . -exec sh -c 'echo {x}' \\;", "code for 'sh'"),
    ("find . -exec {x} {} +", "name of a program"),
    ("psql -c \"select '{x}'\"", "'psql'"),
    ("psql <<EOF\nselect '{x}';\nEOF", "standard input"),
    ("sqlite3 a.db \"select '{x}'\"", "'sqlite3'"),
    ("mysql -e 'select {x}'", "'mysql'"),
    ("make X={x}", "'make'"),
    ("[[ {x} == a ]]", "'[['"),
    ("[[ -n $a ]] && echo {x}", "'[['"),
    ("test -v {x}", "operator"),
    ("[ {x} {y} ]", "operator"),
    ("[ {x} = a -a {y} = b ]", "operator"),
    ("read {x}", "'read'"),
    ("printf -v {x} a", "'printf'"),
    ("printf {x} a", "option of 'printf'"),
    ("declare {x}=1", "'declare'"),
    ("declare -i n={x}", "evaluate"),
    ("declare -i n; n={x}", "evaluate"),
    ("local {x}", "'local'"),
    ("export {x}", "'export'"),
    ("export {x}=1", "'export'"),
    ("unset {x}", "'unset'"),
    ("cat <<{x}\na\n{x}", "delimiter"),
    ("for {x} in a; do :; done", "plain name"),
    ("{x}() { :; }", "("),
    ("function f { echo {x}; }", "'function'"),
    ("diff <(echo {x}) a", "<(…)"),
    ("tee >(cat) {x}", ">(…)"),
    ("echo $'a' {x}", "$'"),
    ('echo $"a{x}"', '$"'),
    ("a[{x}]=1", "subscript"),
    ("a=({x})", "("),
    ("echo {a,{x}}", "braces"),
    ("echo {1..{x}}", "braces"),
    ("case a in {x}) :; esac", "pattern"),
    ("echo ${V:-{x}}", "${…}"),
    ('echo "${V#"{x}"}"', "quotes"),
    ("echo ${V:{x}}", "${…}"),
    ("echo ${!V} {x}", "${!…}"),
    ("echo ${V@P} {x}", "may evaluate"),
    ("echo ${V[$i]} {x}", "may evaluate"),
    ("echo 'a {x}", "never closed"),
    ('echo "a {x}', "never closed"),
    ("echo `a {x}", "never closed"),
    ("echo $(a {x}", "missing"),
    ("cat <<EOF\n{x}", "never ends"),
    ("cat <<EOF\n{x}\\\nEOF", "joins"),
    ("echo {x} )", "stands where"),
    ("if true; then echo {x}", "missing"),
    ("cat <<< {x}", "<<<"),
    ("echo {x} &> f", "&>"),
    ("echo {x} |& cat", "|&"),
    ("echo a >&{x}", ">&"),
    ("PATH={x} ls", "PATH"),
    ("PATH=$PATH:{x}; ls", "PATH"),
    ("IFS={x}", "IFS"),
    ("LD_PRELOAD={x} ls", "LD_PRELOAD"),
    ("env LD_PRELOAD={x} ls", "LD_PRELOAD"),
    ("export BASH_ENV={x}", "BASH_ENV"),
    ("ENV={x} sh a.sh", "ENV"),
    ("/bin/s? -c {x}", "name comes from a variable"),
    ("exec 0<{x}; sh", "'exec'"),
    ("exec <<EOF\necho {x}\nEOF\nsh", "'exec'"),
    ("flock lock -c {x}", "option where its command"),
    ("git -c {x} status", "'git -c'"),
    ("tar --to-command={x} -xf a", "'tar --to-command'"),
    ("python3 -m timeit {x}", "-m timeit"),
    ("readonly -a a={x}", "evaluate"),
    ("printf %s {x} | . /dev/stdin", "standard input"),
    ("printf %s {x} | bash /dev/stdin", "standard input"),
    ("python3 /dev/fd/3 3<<EOF\n{x}\nEOF", "standard input"),
    ("true {x}; $_", "name of a program"),
    ("cd {x}; sh -c \"ls $PWD\"", "code for 'sh'"),
    ("find {x} {y} {z}", "spell -exec"),
    ("scp a host:{x}", "'scp'"),
    ("s\\\nh -c {x}", "goes on over"),
    ("echo $BRAIN_VALUE_0 {x}", "BRAIN_VALUE_"),
    ("echo ok\n\necho $(({x}))", "line 3 of the command"),
]  # fmt: skip

MALFORMED = {"never closed", "missing", "never ends", "stands where"}
"""What no shell takes: unsafe=True is no cure."""
BASH_ONLY = {"is arithmetic in bash", "'[['", "<<<", "|&", "<(…)", ">(…)", "(", "'function'"}
"""What needs bash, also with unsafe=True."""

ALLOWED = [
    "echo {x} 'a b' \"$HOME/{x}\"",
    "python3 script.py {x} --name={y}",
    "python3 -u script.py {x}",
    "python3 -c 'import sys; print(sys.argv[1])' {x}",
    "python3 -m mod {x}",
    "sh -c 'printf %s \"$1\"' _ {x}",
    "bash script.sh {x}",
    "bash -euo pipefail -c 'echo \"$1\"' _ {x}",
    "perl -e 'print $ARGV[0]' {x}",
    "node script.js {x}",
    "find {x} -name '*.txt' -exec grep -l a {} +",
    "find . -name {x}",
    "awk '{print $1}' {x}",
    "sed -e 's/a/b/' -- {x}",
    "jq --arg v {x} '.a == $v' file",
    "psql -v name={x} -f query.sql",
    "grep -F -- {x} file | sort | uniq -c | head -n 5",
    "curl -fsS -d {x} https://example.com/{y}",
    "[ {x} = a ] || [ ! -f {y} ] && test -n {x}",
    "case {x} in a|b) echo one ;; (c*) echo {y} ;; *) : ;; esac",
    "while read -r line; do printf '%s\\n' \"$line\" {x}; done < file",
    "for f in {x} *.txt; do echo \"$f\"; done",
    "i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo {x}; done",
    "if ! grep -q {x} file; then exit 1; elif true; then :; else echo {y}; fi",
    "trap 'rm -f \"$tmp\"' EXIT; tmp=$(mktemp); printf %s {x} > \"$tmp\"",
    "set -eu; set -- {x}; shift",
    "A={x} B=\"$A\" env C={y} timeout 5 nice -n 3 sort",
    "cat {x} | xargs -0 rm -f",
    "export NAME={x}; readonly OTHER={y}",
    "printf -- {x}; printf '%s' {x} > {y} 2>&1 < {x}",
    "f() { echo \"$1\"; }; f {x}",
    "sudo -u bob ls {x}; command -v git; git commit -m {x}",
    "echo ${V:-default} ${#V} ${V%/*} \"${V##*/}\" {x}",
    "cat <<EOF | tee {y}\n{x} $(date) `id -u` ${V:-a}\nEOF",
    "echo {x} & wait; (cd /tmp && ls {x})",
    "docker run --rm image tool {x}",
    "tar -C {x} -czf {y} .",
    "kill -0 {x} 2>/dev/null",
]  # fmt: skip

UNTOUCHED = [
    'eval "$a"; echo $((1+1)); [[ -n $a ]]',
    "echo ${x} ${x:-1} $'a' {} {a,b} {print $1} {{.Names}}",
    "awk '{print $1}' | sh",
    "it's not even a command",
]


def message_of(command: str, **more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        ShellStep(name="s", command=command, **more)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(("command", "part"), REFUSED)
def test_refused_with_what_where_and_how(command: str, part: str) -> None:
    message = message_of(command)
    assert part in message
    assert "\n" not in message
    assert " of the command: " in message
    assert "; " in message
    assert ("unsafe=True" in message) is (part not in MALFORMED)
    assert ("/bin/bash" in message) is (part in BASH_ONLY)


@pytest.mark.parametrize(("command", "part"), REFUSED)
def test_unsafe_is_the_way_round(command: str, part: str) -> None:
    assert ShellStep(name="s", command=command, unsafe=True).command == command


@pytest.mark.parametrize("command", ALLOWED)
def test_allowed(command: str) -> None:
    step = ShellStep(name="s", command=command)
    assert {placeholder.root for _, placeholder in step.placeholders()} <= {"x", "y"}
    assert any(step.placeholders())


@pytest.mark.parametrize("command", UNTOUCHED)
def test_without_placeholders_anything_goes(command: str) -> None:
    assert list(ShellStep(name="s", command=command).placeholders()) == []


def test_a_comment_needs_no_value() -> None:
    step = ShellStep(name="s", command="echo {x} # not {y}\n# {z} `$(")
    assert [str(placeholder) for _, placeholder in step.placeholders()] == ["{x}"]


def test_other_shells_and_dangerous_variables_are_refused() -> None:
    assert "shell is '/usr/bin/fish'" in message_of("echo {x}", shell="/usr/bin/fish")
    assert ShellStep(name="s", command="echo a", shell="/usr/bin/fish").shell == "/usr/bin/fish"
    assert "LD_PRELOAD" in message_of("echo a", env={"LD_PRELOAD": "{x}"})
    assert "belongs to brain" in message_of("echo a", env={"THE_BRAIN_DATABASE_URL": "x"})
    assert "is not the name" in message_of("echo a", env={"a-b": "x"})
    assert "arithmetic" in message_of("echo {y} $((N+1))", env={"N": "{x}"})
    assert "standard input" in message_of("echo {y}; sh", stdin="{x}")
    assert "standard input" in message_of("sh", stdin="{x}")
    assert "standard input" in message_of("python3 -", stdin="{x}")
    assert "eval" in message_of('eval "$V"', env={"V": "{x}"})
    assert "arithmetic" in message_of("echo $((V))", env={"V": "{x}"})


def test_unsafe_is_offered_only_where_it_is_a_cure() -> None:
    assert "(unsafe=True would insert it as plain text; for the braces" in message_of("eval {x}")
    for more in ({"stdin": "{x}"}, {"env": {"V": "{x}"}}):
        message = message_of("sh -c 'eval \"$V\"; sh'", **more)
        assert message.endswith("(unsafe=True leaves the command unchecked)")
        assert "plain text" not in message
    assert message_of("echo 'a", stdin="{x}").endswith("; close it")
    assert "in stdin=" not in message_of("printf %s {x} | sh")


@pytest.mark.parametrize(("command", "part"), [("", "empty"), ("a\0b", "NUL"), ("#" * 100_001, "script file")])
def test_impossible_commands(command: str, part: str) -> None:
    assert part in message_of(command)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("( " * 5000 + "echo {x}" + " )" * 5000, "nested more than 100 deep"),
        ("{ " * 5000 + "echo {x}", "nested more than 100 deep"),
        ("! " * 5000 + "echo {x}", "nested more than 100 deep"),
        ('"$(' * 5000 + "{x}", "nested more than 20 deep"),
        ("env " * 5000 + "ls {x}", "nested more than 20 deep"),
        ("tool " + "env A=1 tool " * 500 + "{x}", "more than 100 names of interpreters"),
        ("tool " + "bash -x " * 500 + "; echo {x}", "more than 100 names of interpreters"),
    ],
    ids=["subshells", "groups", "negations", "substitutions", "wrappers", "hidden wrappers", "hidden shells"],
)
def test_depth_is_bounded(command: str, part: str) -> None:
    assert part in message_of(command)


def test_ordinary_depth_is_read() -> None:
    for command in ("( " * 90 + "echo {x}" + " )" * 90, "env " * 15 + "ls {x}", "tool " + "bash a.sh " * 90 + "{x}"):
        assert any(ShellStep(name="s", command=command).placeholders())
