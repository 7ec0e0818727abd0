"""Walks a command that was read and refuses what would turn a value into code. Pure.

What a command runs in turn (`env … sh -c '…'`) comes back from the judge of its program and is walked here as well, so
that no rule has to know this walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from brain_shell.contexts import Group, Node, Redirect, Refusal, Script, Simple, Word
from brain_shell.environment import decides_what_runs
from brain_shell.grammar import read
from brain_shell.lexer import MAX_DEPTH
from brain_shell.programs import judge
from brain_shell.taint import Code, Command, Taint


def check(script: Script, shown: Sequence[str], tainted: Iterable[str], *, stdin: bool) -> None:
    """Refuse what is unsafe.

    `shown` says how each placeholder is written, `tainted` names variables that hold values from the start; `stdin`
    says that a value may arrive on standard input.
    """
    taint = Taint(shown, tainted)
    taint.learn(script)
    _Walk(taint).script(script, stdin)


class _Walk:
    def __init__(self, taint: Taint) -> None:
        self.taint = taint

    def script(self, script: Script, stdin: bool) -> None:
        for pipeline in script:
            before = False
            for node in pipeline:
                self._node(node, stdin or before)
                before = before or self._touches(node)

    def _touches(self, node: Node) -> bool:
        """Whether a value may come out of this command's standard output."""
        words = [redirect.word for redirect in node.redirects]
        words += [*node.assigns, *node.words] if isinstance(node, Simple) else node.words or []
        if any(word is not None and self.taint.tainted(word) for word in words):
            return True
        if isinstance(node, Simple):
            return bool(node.words) and node.words[0].static in self.taint.functions
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
            self.taint.assignment(word)
            self._word(word, stdin)
        for word in node.words:
            self._word(word, stdin)
        if node.words:
            self._command(Command(node.words, stdin, alone=False))

    def _command(self, command: Command, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            what = f"programs that run programs are nested more than {MAX_DEPTH} deep"
            raise Refusal(command.words[0].line, what, "write a script file")
        for inside in judge(self.taint, command):
            if isinstance(inside, Command):
                # What stands behind a command found among arguments is looked at there already, once.
                self._command(inside._replace(alone=inside.alone or command.alone), depth + 1)
            else:
                self._code(inside)

    def _code(self, code: Code) -> None:
        """Check constant code that another shell runs, with the variables of this one."""
        check(read(code.text, (), (), code.line)[1], (), self.taint.names, stdin=code.stdin)

    def _redirect(self, redirect: Redirect, stdin: bool) -> bool:
        if redirect.heredoc is not None:
            self._word(redirect.heredoc.body)
            return stdin or self.taint.tainted(redirect.heredoc.body)
        if redirect.target is not None:
            self._word(redirect.target)
            return stdin or (redirect.operator in ("<", "<>") and self.taint.tainted(redirect.target))
        return stdin

    def _group(self, group: Group, stdin: bool) -> None:
        for word in group.words or ():
            self._word(word, stdin)
        if group.kind == "for":
            values = group.words is None or any(self.taint.tainted(word) for word in group.words)
            if values and decides_what_runs(group.name):
                raise Refusal(group.line, f"a value is assigned to {group.name}", "choose another name")
        for body in group.bodies:
            # a function is called from anywhere, with any standard input
            self.script(body, stdin or group.kind == "function")

    def _word(self, word: Word, stdin: bool = False) -> None:
        for name in sorted(word.arithmetic):
            if self.taint.named(name):
                what = f"${name} may hold a value and stands in arithmetic, which bash evaluates as code"
                raise Refusal(word.line, what, "compute it in a program that takes it as an argument")
        for script in word.scripts:
            # A substitution reads the standard input of the command that it stands in.
            self.script(script, stdin)
