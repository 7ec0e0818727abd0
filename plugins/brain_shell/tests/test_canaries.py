"""Hostile values in real programs: what is refused would have run them, and what is accepted does not (G22)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from brain_shell import ShellStep
from brain_shell.binding import CommandMark, bound
from pydantic import ValidationError

from brain_core import Scope

RUN = "touch CANARY"
WOULD_RUN = [
    ("printf %s {x} | sed -f - file", f"1e {RUN}"),
    ("printf %s {x} | sed -f /dev/stdin file", f"1e {RUN}"),
    ("printf %s {x} | awk -f - file", f'BEGIN{{system("{RUN}")}}'),
    ("printf '%s' {x} | make -f -", f"all:\n\t{RUN}\n"),
    ("printf %s {x} | sh ./../../../../../../../../dev/stdin", RUN),
    ("printf %s {x} | sh /proc/self/fd/0", RUN),
    ("printf %s {x} | setpriv --no-new-privs sh", RUN),
    ("printf %s {x} | xargs find", f"-exec {RUN} {{}} +"),
    ("printf %s {x} | xargs tar cf a.tar file", f"'--use-compress-program={RUN}'"),
    ("split --filter={x} file", RUN),
    ("split {x} < file", f"--filter={RUN}"),
    ("tar -cI {x} -f a.tar file", RUN),
    ("tar cf a.tar file {x}", f"--use-compress-program={RUN}"),
    ("tar cf a.tar file --use={x}", RUN),
    ("tar xf good.tar --to-comm={x}", RUN),
    ("tar xf good.tar {x}", f"--to-command={RUN}"),
    ("git grep --no-index -O{x} a", f"{RUN} #"),
    ("git grep --no-index {x} a", f"--open-files-in-pager={RUN} #"),
    ("cd a; git fetch origin {x}", f"--upload-pack={RUN};"),
    ("cd a; git pull -- origin {x}", f"--upload-pack={RUN};"),
    ("cd a; git remote -v update -- {x}", f"--upload-pack={RUN};"),
    ("cd a; git ls-remote {x} origin", f"--upload-pack={RUN};"),
    ("cd a; git archive --remote=../o.git HEAD {x}", f"--exec={RUN};"),
    ("cd a; git rebase -x {x} --root", RUN),
    ("cd a; git bisect start HEAD HEAD~; git bisect run sh -c {x}", RUN),
    ("git clone {x} ./o.git b", f"--upload-pack={RUN};"),
    ("git -c {x} aa", f"alias.aa=!{RUN}"),
    ("env a=$(echo {x}) ls", f"1 {RUN}"),
    ("w={x}; timeout 5 env a=$w true", f"1 {RUN}"),
    ("find .$(echo {x})", f" -exec {RUN} ;"),
    ("LD_PRELOAD= HOME={x} git -C repo aa", "home"),
    ("MAKEFILES={x} make -s b", "evil.mk"),
]
HARMLESS = [
    "printf %s {x} | sed s/a/b/",
    "sed -e s/a/b/ -- {x}",
    "sed -e s/a/b/ ./{x}",
    "printf %s {x} | awk '{print $1}' -",
    "awk '{print $1}' {x}",
    "sh -c 'printf %s \"$1\"' _ {x}",
    "printf %s {x} | sh -c 'cat'",
    "printf %s {x} | setpriv --no-new-privs cat",
    "printf %s {x} | xargs -0 ls --",
    "printf %s {x} | xargs -0 tar cf a.tar --",
    "printf %s {x} | xargs -0 grep -e",
    "split -b 1 -- {x}",
    "split -b {x} file",
    "tar cf a.tar -- file {x}",
    "tar cf a.tar --exclude={x} file",
    "tar -cf {x} file",
    "tar cfC a.tar {x} file",
    "tar xf good.tar ./{x}",
    "git grep --no-index -e {x}",
    "git grep --no-index a -- {x}",
    "git log --author={x}",
    "cd a; git fetch -- origin {x}; git fetch -- {x}; git ls-remote -- origin {x}; git push -- origin {x}",
    "cd a; git clone -- {x} b; git clone -b {x} ../o.git b; git archive --remote=../o.git HEAD -- {x}",
    "cd a; git rebase --onto={x} HEAD~; git checkout -b {x}; git remote add b {x}; git fetch b",
    "git commit -m {x}",
    "git config user.name {x}",
    "env a={x} true",
    'w={x}; timeout 5 env a="$w" true',
    "find . -name {x}",
    "find {x} -name a",
    "test -f {x}; [ {x} = {x} ]",
    'export a={x} b="$(echo {x})"',
    "grep -- {x} file; sort -- {x}; printf %s {x} > ./{x}",
]
VALUES = sorted({value for _, value in WOULD_RUN} | {f"`{RUN}`", f"$({RUN})", f"; {RUN}", f"|{RUN}", f"-e{RUN}"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("a\n")
    subprocess.run(["tar", "cf", "good.tar", "file"], cwd=tmp_path, check=True)
    (tmp_path / "evil.mk").write_text(f"x:=$(shell {RUN})\n")
    _repository(tmp_path)
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "home").mkdir()
    (tmp_path / "repo" / "home" / ".gitconfig").write_text(f"[alias]\naa = !{RUN}\n")
    return tmp_path


def _repository(folder: Path) -> None:
    script = """git init -q --bare o.git; git init -q a; cd a; git config user.email a@b; git config user.name a
    for m in 1 2 3; do git commit -q --allow-empty -m $m; done
    git remote add origin ../o.git; git push -q origin HEAD"""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    subprocess.run(["/bin/sh", "-ec", script], cwd=folder, env=env, capture_output=True, check=True)


def run(script: str, folder: Path, variables: dict[str, str]) -> bool:
    """Run a script and return whether a value ran."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), **variables}
    subprocess.run(
        ["/bin/sh", "-c", script], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=180,
        check=False,
    )  # fmt: skip
    return any(path.name == "CANARY" for path in folder.rglob("CANARY"))


def program_of(command: str) -> str:
    return next((name for name in ("make", "git", "setpriv") if name in command.split()), "sh")


@pytest.mark.parametrize(("command", "value"), WOULD_RUN)
def test_what_is_refused_would_have_run_the_value(command: str, value: str, folder: Path) -> None:
    with pytest.raises(ValidationError, match="of the command: "):
        ShellStep(name="s", command=command)
    if shutil.which(program_of(command)) is None:
        pytest.skip(f"no {program_of(command)} here")
    if "repo" in command:
        value = str(folder / "repo" / value)
    assert run(command.replace("{x}", '"$X"'), folder, {"X": value})


@pytest.mark.parametrize("command", HARMLESS)
def test_what_is_accepted_runs_no_value(command: str, folder: Path) -> None:
    ShellStep(name="s", command=command)
    for value in VALUES:
        resolved = CommandMark().resolve(command, Scope(steps={"x": value}))
        with bound(resolved, unsafe=False) as (script, values):
            variables = {name.decode(): text.decode() for name, text in values.items()}
            assert not run(script, folder, variables), value
