"""Which words of a command may hold a value. Pure.

A word is *tainted* when a placeholder stands in it, or a variable that may hold a value: one assigned from a tainted
word, read by `read`, or a positional parameter. Tainted words may be arguments, not programs.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from brain_shell.contexts import Group, Node, Refusal, Script, Simple, Word
from brain_shell.environment import decides_what_runs
from brain_shell.grammar import ASSIGNMENT

Words: TypeAlias = Sequence[Word]

_SET_BY_SHELL = frozenset(
    {"_", "REPLY", "OPTARG", "MAPFILE", "BASH_COMMAND", "BASH_ARGV", "BASH_EXECUTION_STRING", "COPROC"}
)
_POSITIONAL = re.compile(r"[0-9]+|[@*]")
_STDIN = re.compile(r"(?:.*/)?(?:dev/stdin|dev/fd/[0-9]+|proc/[^/]+/(?:task/[^/]+/)?fd/[0-9]+)|.*/stdin|fd/[0-9]+")


class Command(NamedTuple):
    """A command inside another one's arguments; `alone`: the words behind it have been looked at already."""

    words: Words
    stdin: bool
    alone: bool = True


class Code(NamedTuple):
    """Constant text that a command hands to another shell; `stdin`: a value may come to it on standard input."""

    text: str
    line: int
    stdin: bool


Inside: TypeAlias = Command | Code
"""What a command runs in turn, and what has to be checked next."""


class Taint:
    """What is known about the variables of a whole command; `names` are those that may hold a value."""

    def __init__(self, shown: Sequence[str], tainted: Iterable[str] = (), *, positional: bool = True) -> None:
        self.shown = shown
        self.names = set(tainted)
        self.positional = positional
        self.functions: set[str] = set()
        self._assigned: list[tuple[str, list[Word] | None]] = []

    def learn(self, script: Script) -> None:
        """Find every variable of the script that a value may reach."""
        self._collect(script)
        before = -1
        while before != len(self.names):
            before = len(self.names)
            for name, words in self._assigned:
                if words is None or any(self.tainted(word) for word in words):
                    self.names.add(name)

    def tainted(self, word: Word) -> bool:
        """Whether a value may stand in this word."""
        return (
            bool(word.holes)
            or any(self.named(name) for name in word.variables)
            or any(self._calls(script) for script in word.scripts)
        )

    def may_split(self, word: Word) -> bool:
        """Whether a value may make several words of this one."""
        if not self.tainted(word):
            return False
        return "@" in word.variables or (
            word.splits and (bool(word.scripts) or any(self.named(name) for name in word.variables))
        )

    def named(self, name: str) -> bool:
        """Whether a variable may hold a value."""
        return (
            name in self.names or name in _SET_BY_SHELL or (self.positional and _POSITIONAL.fullmatch(name) is not None)
        )

    def what(self, word: Word) -> str:
        """Return how to speak of a tainted word: the placeholder, or the variable that may hold a value."""
        if word.holes:
            return self.shown[word.holes[0]]
        name = next((name for name in sorted(word.variables) if self.named(name)), "…")
        return f"${name} (it may hold a value)"

    def assignment(self, word: Word) -> None:
        """Refuse a value in a variable that makes programs run something."""
        match = ASSIGNMENT.match(word.prefix)
        if match and self.tainted(word) and decides_what_runs(match[1]):
            what = f"{self.what(word)} is assigned to {match[1]}, which decides what programs run"
            raise Refusal(word.line, what, "choose another name")

    def _calls(self, script: Script) -> bool:
        """Whether a function of the command is called in it: what a function prints may be a value."""
        return any(
            node.words[0].static in self.functions if isinstance(node, Simple) and node.words else self._inside(node)
            for pipeline in script
            for node in pipeline
        )

    def _inside(self, node: Node) -> bool:
        return isinstance(node, Group) and any(self._calls(body) for body in node.bodies)

    # who assigns what

    def _collect(self, script: Script) -> None:
        for pipeline in script:
            for node in pipeline:
                for redirect in node.redirects:
                    self._collect_word(redirect.word)
                if isinstance(node, Simple):
                    self._collect_simple(node)
                    continue
                for word in node.words or ():
                    self._collect_word(word)
                if node.kind == "function" and node.name:
                    self.functions.add(node.name)
                if node.kind == "for":
                    self._assigned.append((node.name, node.words))
                for body in node.bodies:
                    self._collect(body)

    def _collect_word(self, word: Word | None) -> None:
        if word is not None:
            self._assigned += [(name, [word]) for name in word.assigns]
            for script in word.scripts:
                self._collect(script)

    def _collect_simple(self, node: Simple) -> None:
        for word in (*node.assigns, *node.words):
            self._collect_word(word)
            if match := ASSIGNMENT.match(word.prefix):
                self._assigned.append((match[1], [word]))
        names = [word.static for word in node.words]
        for reader in ("read", "getopts", "mapfile", "readarray"):
            if reader in names:
                self._assigned += [(name, None) for name in names if name]
        if names and names[0] in ("cd", "pushd", "builtin", "command"):
            self._assigned += [("PWD", node.words), ("OLDPWD", node.words), ("DIRSTACK", node.words)]
        if "printf" in names and "-v" in names:
            self._assigned += [(name, node.words) for name in names if name]


def is_stdin(text: str) -> bool:
    """Whether the name of a file means standard input (or another descriptor), however its path is written."""
    return text == "-" or _STDIN.fullmatch(posixpath.normpath(text)) is not None if text else False


def names_stdin(word: Word) -> bool:
    """Whether a word may name standard input as a file; of one that is expanded the known ends are looked at."""
    if word.static is not None:
        return is_stdin(word.static)
    return word.head.startswith(("/dev/", "/proc/")) or is_stdin(word.tail)
