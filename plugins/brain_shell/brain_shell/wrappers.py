"""Programs that run another program: where in their arguments that one begins. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from brain_shell.contexts import Refusal, Word
from brain_shell.grammar import ASSIGNMENT

if TYPE_CHECKING:
    from brain_shell.refusals import Checker

Check: TypeAlias = Callable[["Checker", Sequence[Word], bool], None]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """`flags` are options without a value, `valued` those with one, `skip` how many operands come first."""

    flags: str = ""
    valued: str = ""
    skip: int = 0
    assigns: bool = False
    long: frozenset[str] = frozenset()


WRAPPERS = {
    "env": Wrapper("i0v", "uC", assigns=True, long=frozenset({"--ignore-environment", "--null"})),
    "command": Wrapper("p"),
    "builtin": Wrapper(),
    "exec": Wrapper("cl", "a"),
    "nohup": Wrapper(),
    "nice": Wrapper("0123456789", "n"),
    "time": Wrapper("pv", "fo"),
    "timeout": Wrapper("v", "ks", skip=1, long=frozenset({"--foreground", "--preserve-status", "--verbose"})),
    "gtimeout": Wrapper("v", "ks", skip=1, long=frozenset({"--foreground", "--preserve-status"})),
    "xargs": Wrapper("0rtxp", "nPLsIEda", long=frozenset({"--null", "--no-run-if-empty"})),
    "sudo": Wrapper("EHnSkbPA", "ugUChpr", assigns=True),
    "doas": Wrapper("nL", "uC"),
    "setsid": Wrapper("fwc"),
    "ionice": Wrapper("t", "cnp"),
    "stdbuf": Wrapper("", "ioe"),
    "chroot": Wrapper(skip=1),
    "flock": Wrapper("xsnuoF", "wE", skip=1),
    "busybox": Wrapper(),
    "taskset": Wrapper("a", skip=1),
    "unbuffer": Wrapper("p"),
    "caffeinate": Wrapper("dimsu"),
}
_KEYWORDS = frozenset({"if", "while", "until", "for", "case", "{", "!", "[[", "time", "function", "select"})


def check_wrapper(checker: Checker, name: str, words: Sequence[Word], stdin: bool, check: Check) -> None:
    """Find the command inside and check it as one of its own."""
    rest = words[1:]
    dirty = stdin or any(checker.tainted(word) for word in rest)
    at = _options(checker, name, rest, dirty)
    if at is None:
        return
    wrapper = WRAPPERS[name]
    for word in rest[: at + wrapper.skip + 1]:
        if word.splits and not word.holes and checker.tainted(word):
            raise Refusal(
                word.line, f"{checker.what(word)} may become several words before '{name}'s command", "quote it"
            )
    while wrapper.assigns and at < len(rest) and ASSIGNMENT.match(rest[at].prefix):
        checker.assignment(rest[at])
        at += 1
    for word in rest[at : at + wrapper.skip]:
        if checker.tainted(word) and name not in ("timeout", "gtimeout"):
            raise Refusal(word.line, f"{checker.what(word)} stands before the command that '{name}' runs", "name it")
    inner = list(rest[at + wrapper.skip :])
    if inner and inner[0].static in _KEYWORDS:
        raise Refusal(inner[0].line, f"'{name}' stands before '{inner[0].static}'", "write it without")
    if name == "xargs" and inner:
        extra = Word(words[0].line, parts=[None], variables={"@"})
        replaces = any((word.static or "").startswith(("-I", "-i", "--replace", "-J")) for word in rest[:at])
        inner = [inner[0], *((extra for _ in inner[1:]) if replaces else inner[1:]), extra]
        stdin = False
    if inner and inner[0].head.startswith("-") and dirty:
        raise Refusal(inner[0].line, f"'{name}' has an option where its command is expected", "write the command there")
    if inner:
        check(checker, inner, stdin)


def _options(checker: Checker, name: str, rest: Sequence[Word], dirty: bool) -> int | None:
    """Return where the operands begin; None when nothing is run (`command -v`)."""
    wrapper, at = WRAPPERS[name], 0
    while at < len(rest):
        word = rest[at]
        if checker.tainted(word) and not word.head:
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
        if consumed is None or (consumed and at < len(rest) and checker.tainted(rest[at])):
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
        return 0 if text in wrapper.long else None
    for at, letter in enumerate(text[1:], 1):
        if letter in wrapper.valued:
            return 1 if at == len(text) - 1 else 0
        if letter not in wrapper.flags:
            return None
    return 0


def check_find(checker: Checker, rest: Sequence[Word], stdin: bool, check: Check) -> None:
    """Check the commands of -exec and its kin; three values in a row could spell one."""
    free = [
        word
        for at, word in enumerate(rest)
        if checker.tainted(word) and not word.head and not (at and rest[at - 1].head.startswith("-"))
    ]
    if len(free) > 2 or any(word.splits for word in free):
        raise Refusal(free[0].line, f"{checker.what(free[0])} and more could spell -exec for 'find'", "write ./{x}")
    at = 0
    while at < len(rest):
        if rest[at].static in ("-exec", "-execdir", "-ok", "-okdir"):
            inner = []
            at += 1
            while at < len(rest) and rest[at].static not in (";", "+"):
                inner.append(rest[at])
                at += 1
            if inner:
                check(checker, inner, stdin)
        at += 1
