"""Walks a command that was read and refuses what would turn a value into code. Pure.

A word is *tainted* when a placeholder stands in it, or a variable that may hold a value: one assigned from a tainted
word, read by `read`, or a positional parameter. Tainted words may be arguments, not programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from brain_shell.contexts import Group, Node, Redirect, Refusal, Script, Simple, Word
from brain_shell.environment import DANGEROUS
from brain_shell.grammar import ASSIGNMENT
from brain_shell.programs import check_program

_SET_BY_SHELL = frozenset(
    {"_", "REPLY", "OPTARG", "MAPFILE", "BASH_COMMAND", "BASH_ARGV", "BASH_EXECUTION_STRING", "COPROC"}
)
_POSITIONAL = re.compile(r"[0-9]+|[@*]")


class Checker:
    """What is known about the whole command while its parts are checked."""

    def __init__(self, shown: Sequence[str], tainted: Iterable[str] = (), *, positional: bool = True) -> None:
        self.shown = shown
        self.names = set(tainted)
        self.positional = positional
        self._assigned: list[tuple[str, list[Word] | None]] = []
        self._functions: set[str] = set()

    def check(self, script: Script, *, stdin: bool) -> None:
        """Refuse what is unsafe; `stdin` says that a value may arrive on standard input."""
        self._collect(script)
        before = -1
        while before != len(self.names):
            before = len(self.names)
            for name, words in self._assigned:
                if words is None or any(self.tainted(word) for word in words):
                    self.names.add(name)
        self._script(script, stdin)

    def tainted(self, word: Word) -> bool:
        """Whether a value may stand in this word."""
        return (
            bool(word.holes)
            or any(self._named(name) for name in word.variables)
            or any(self._calls(script) for script in word.scripts)
        )

    def _calls(self, script: Script) -> bool:
        """Whether a function of the command is called in it: what a function prints may be a value."""
        return any(
            node.words[0].static in self._functions if isinstance(node, Simple) and node.words else self._inside(node)
            for pipeline in script
            for node in pipeline
        )

    def _inside(self, node: Node) -> bool:
        return isinstance(node, Group) and any(self._calls(body) for body in node.bodies)

    def _named(self, name: str) -> bool:
        return (
            name in self.names or name in _SET_BY_SHELL or (self.positional and _POSITIONAL.fullmatch(name) is not None)
        )

    def what(self, word: Word) -> str:
        """Return how to speak of a tainted word: the placeholder, or the variable that may hold a value."""
        if word.holes:
            return self.shown[word.holes[0]]
        return (
            "$" + next((name for name in sorted(word.variables) if self._named(name)), "…") + " (it may hold a value)"
        )

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
                    self._functions.add(node.name)
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

    # what is done with it

    def _script(self, script: Script, stdin: bool) -> None:
        for pipeline in script:
            before = False
            for node in pipeline:
                self._node(node, stdin or before)
                before = before or self._touches(node)

    def _touches(self, node: Node) -> bool:
        """Whether a value may come out of this command's standard output."""
        words = [redirect.word for redirect in node.redirects]
        words += [*node.assigns, *node.words] if isinstance(node, Simple) else node.words or []
        if any(word is not None and self.tainted(word) for word in words):
            return True
        if isinstance(node, Simple):
            return bool(node.words) and node.words[0].static in self._functions
        return any(self._touches(inner) for body in node.bodies for pipeline in body for inner in pipeline)

    def _node(self, node: Node, stdin: bool) -> None:
        inherited = stdin
        for redirect in node.redirects:
            stdin = self._redirect(redirect, stdin)
        if isinstance(node, Simple) and stdin and not inherited and [word.static for word in node.words] == ["exec"]:
            raise Refusal(node.line, "'exec' makes a value the standard input of all that follows", "write { …; } < …")
        if isinstance(node, Group):
            self._group(node, stdin)
            return
        for word in node.assigns:
            self.assignment(word)
            self._word(word, stdin)
        for word in node.words:
            self._word(word, stdin)
        if node.words:
            check_program(self, node.words, stdin)

    def _redirect(self, redirect: Redirect, stdin: bool) -> bool:
        if redirect.heredoc is not None:
            self._word(redirect.heredoc.body)
            return stdin or self.tainted(redirect.heredoc.body)
        if redirect.target is not None:
            self._word(redirect.target)
            return stdin or (redirect.operator in ("<", "<>") and self.tainted(redirect.target))
        return stdin

    def _group(self, group: Group, stdin: bool) -> None:
        for word in group.words or ():
            self._word(word, stdin)
        if group.kind == "for":
            values = group.words is None or any(self.tainted(word) for word in group.words)
            if values and DANGEROUS.fullmatch(group.name):
                raise Refusal(group.line, f"a value is assigned to {group.name}", "choose another name")
        for body in group.bodies:
            # a function is called from anywhere, with any standard input
            self._script(body, stdin or group.kind == "function")

    def assignment(self, word: Word) -> None:
        """Refuse a value in a variable that makes programs run something."""
        match = ASSIGNMENT.match(word.prefix)
        if match and self.tainted(word) and DANGEROUS.fullmatch(match[1]):
            what = f"{self.what(word)} is assigned to {match[1]}, which decides what programs run"
            raise Refusal(word.line, what, "choose another name")

    def _word(self, word: Word, stdin: bool = False) -> None:
        for name in sorted(word.arithmetic):
            if self._named(name):
                what = f"${name} may hold a value and stands in arithmetic, which bash evaluates as code"
                raise Refusal(word.line, what, "compute it in a program that takes it as an argument")
        for script in word.scripts:
            # A substitution reads the standard input of the command that it stands in.
            self._script(script, stdin)

    def nested(self, code: str, line: int, tainted: bool) -> None:
        """Check constant code that another shell runs, with the variables of this one."""
        from brain_shell.grammar import read

        parser, script = read(code, (), (), line)
        del parser
        Checker((), self.names, positional=True).check(script, stdin=tainted)
