"""Programs that run another program: where in their arguments that one begins. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from brain_shell.catalogue import (
    CONTAINERS,
    KEYWORDS,
    LANGUAGES,
    RUNNERS,
    SSH_VALUED,
    SUSPECTS,
    WRAPPERS,
    Wrapper,
)
from brain_shell.contexts import Refusal, Word
from brain_shell.grammar import ASSIGNMENT
from brain_shell.interpreters import from_stdin
from brain_shell.taint import Code, Command, Taint, Words

_EXEC_VALUED = frozenset({"-e", "-u", "-w", "-n", "-c", "--env", "--user", "--workdir", "--env-file"})
MAX_HIDDEN = 100
"""Names of interpreters that are judged among the arguments of one command; each costs a look at all that follow."""
_VERSION = re.compile(r"[0-9.]*[0-9]")


def base_name(word: Word) -> str | None:
    """Return the program's name without folder and version; None when only the run can know it."""
    text = word.static
    if word.globs and text not in ("[", "[["):
        return None
    if text is None:
        if "/" not in word.tail:
            return None
        text = word.tail
    name = text.rsplit("/", 1)[-1]
    return _VERSION.sub("", name) if _VERSION.search(name) and _VERSION.sub("", name) in LANGUAGES else name


def check_wrapper(taint: Taint, name: str, words: Words, stdin: bool) -> Iterator[Command]:
    """Find the command inside."""
    wrapper, rest = WRAPPERS[name], words[1:]
    dirty = stdin or any(taint.tainted(word) for word in rest)
    at = _options(taint, name, rest, dirty)
    if at is None:
        return
    for word in rest[: at + wrapper.skip + 1]:
        if taint.may_split(word):
            raise Refusal(
                word.line, f"{taint.what(word)} may become several words before '{name}'s command", "quote it"
            )
    while wrapper.assigns and at < len(rest) and ASSIGNMENT.match(rest[at].prefix):
        if taint.may_split(rest[at]):
            raise Refusal(
                rest[at].line, f"{taint.what(rest[at])} may become several words before '{name}'s command", "quote it"
            )
        taint.assignment(rest[at])
        at += 1
    for word in rest[at : at + wrapper.skip]:
        if taint.tainted(word) and name not in ("timeout", "gtimeout"):
            raise Refusal(word.line, f"{taint.what(word)} stands before the command that '{name}' runs", "name it")
    inner = list(rest[at + wrapper.skip :])
    if inner and inner[0].static in KEYWORDS:
        raise Refusal(inner[0].line, f"'{name}' stands before '{inner[0].static}'", "write it without")
    if name == "xargs" and inner:
        inner = _with_stdin(words[0].line, inner, rest[:at], stdin)
        stdin = False
    if inner and inner[0].head.startswith("-") and dirty:
        raise Refusal(inner[0].line, f"'{name}' has an option where its command is expected", "write the command there")
    if inner:
        yield Command(inner, stdin, alone=False)
    elif stdin and wrapper.starts_shell:
        raise Refusal(words[0].line, f"'{name}' without a command starts a shell, which runs the value on its input")


def _with_stdin(line: int, inner: list[Word], options: Words, tainted: bool) -> list[Word]:
    """Return the command of xargs with what it adds: any number of words from its standard input."""
    extra = Word(line, parts=[None], variables={"@"} if tainted else set())
    replaces = any((word.static or "").startswith(("-I", "-i", "--replace", "-J")) for word in options)
    return [inner[0], *((extra for _ in inner[1:]) if replaces else inner[1:]), extra]


def _options(taint: Taint, name: str, rest: Words, dirty: bool) -> int | None:
    """Return where the operands begin; None when nothing is run (`command -v`)."""
    wrapper, at = WRAPPERS[name], 0
    while at < len(rest):
        word = rest[at]
        if taint.tainted(word) and not word.head:
            return at
        if not word.head.startswith("-") or word.head == "-":
            return at
        text = word.static
        at += 1
        if text == "--":
            return at
        if name == "command" and text in ("-v", "-V"):
            return None
        consumed = _cluster(wrapper, text)
        if consumed is None or (consumed and at < len(rest) and taint.tainted(rest[at])):
            if not dirty:
                return None
            what = f"the option {text or word.head} of '{name}' cannot be read with certainty"
            raise Refusal(word.line, what, "leave it out, or write the command without the wrapper")
        at += consumed
    return at


def _cluster(wrapper: Wrapper, text: str | None) -> int | None:
    """Return how many further words an option takes, or None when it is not known."""
    if text is None:
        return None
    if text.startswith("--"):
        # `--user=me` is one word; env's --split-string=… is a command.
        return 0 if text in wrapper.long or ("=" in text and wrapper is not WRAPPERS["env"]) else None
    for at, letter in enumerate(text[1:], 1):
        if letter in wrapper.valued:
            return 1 if at == len(text) - 1 else 0
        if letter not in wrapper.flags:
            return None
    return 0


def check_find(taint: Taint, rest: Words, stdin: bool) -> Iterator[Command]:
    """Find the commands of -exec and its kin; three values in a row could spell one."""
    free = [
        word
        for at, word in enumerate(rest)
        if taint.tainted(word) and not word.head and not (at and rest[at - 1].head.startswith("-"))
    ]
    split = next((word for word in rest if taint.may_split(word)), None)
    if len(free) > 2 or split is not None:
        word = split or free[0]
        raise Refusal(word.line, f"{taint.what(word)} and more could spell -exec for 'find'", 'write "./{x}"')
    at = 0
    while at < len(rest):
        if rest[at].static in ("-exec", "-execdir", "-ok", "-okdir"):
            inner = []
            at += 1
            while at < len(rest) and rest[at].static not in (";", "+"):
                inner.append(rest[at])
                at += 1
            if inner:
                yield Command(inner, stdin, alone=False)
        at += 1


def check_ssh(taint: Taint, name: str, rest: Words, line: int) -> Iterator[Code]:
    """Find the command that runs on the other side, where a value comes on standard input."""
    at = 0
    while at < len(rest) and rest[at].head.startswith("-"):
        text = rest[at].static or rest[at].head
        at += 1
        if text == "--":
            break
        letter = next((place for place, one in enumerate(text[1:], 1) if one in SSH_VALUED), None)
        at += letter is not None and letter == len(text) - 1
    remote = rest[at + 1 :]
    if not remote or any(word.static is None for word in remote):
        raise from_stdin(name, line)
    yield Code(" ".join(word.static or "" for word in remote), remote[0].line, stdin=True)


def hidden_commands(taint: Taint, name: str, rest: Words, stdin: bool) -> Iterator[Command]:
    """Find known programs among the arguments of an unknown one (`docker exec box sh -c …`)."""
    if name in CONTAINERS:
        _container(taint, name, rest)
    if name in RUNNERS:
        _runner(taint, name, rest)
    found = 0
    for at, word in enumerate(rest):
        inner = base_name(word) if word.static else None
        if inner in SUSPECTS and (at + 1 < len(rest) or stdin):
            found += 1
            if found > MAX_HIDDEN:
                what = f"more than {MAX_HIDDEN} names of interpreters stand among the arguments of '{name}'"
                raise Refusal(word.line, what, "write a script file")
            yield Command(rest[at:], stdin)


def _container(taint: Taint, name: str, rest: Words) -> None:
    """Refuse a value as the program of `docker exec BOX …` and `kubectl exec POD -- …`."""
    texts = [word.static for word in rest]
    if "exec" not in texts:
        return
    at = texts.index("exec") + 1
    while at < len(rest) and rest[at].head.startswith("-") and texts[at] != "--":
        at += 2 if texts[at] in _EXEC_VALUED else 1
    program = texts.index("--", at) + 1 if "--" in texts[at:] else at + 1
    for word in rest[at : program + 1]:
        if taint.may_split(word) or (taint.tainted(word) and word is rest[min(program, len(rest) - 1)]):
            raise Refusal(word.line, f"{taint.what(word)} stands where '{name} exec' expects a program", "name it")


def _runner(taint: Taint, name: str, rest: Words) -> None:
    """Refuse a value as the program of `uv run …`, also where an option before it may take the word between."""
    at = next((at for at, word in enumerate(rest) if word.static in ("run", "exec", "dlx", "x")), None)
    if at is None:
        return
    for number, word in enumerate(rest[at + 1 :], at + 1):
        if taint.tainted(word) and (not word.head or taint.may_split(word)):
            raise Refusal(word.line, f"{taint.what(word)} may stand where '{name}' expects a program", "name it")
        before = rest[number - 1]
        certain = number == at + 1 or before.static == "--" or not before.head.startswith("-")
        if certain and not word.head.startswith("-"):
            return
