"""Reads a shell command as commands: pipelines, lists, compound commands, functions. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from brain_shell.contexts import (
    HOLE,
    BashOnly,
    Group,
    Malformed,
    Node,
    Pipeline,
    Redirect,
    Refusal,
    Script,
    Simple,
)
from brain_shell.heredocs import open_heredoc, read_bodies
from brain_shell.lexer import BLANK, Lexer

_KEYWORD = re.compile(r"(\[\[|[a-z]+|[{}!])(?=[ \t\n;&|<>()]|\Z)")
_REDIRECT = re.compile(r"[0-9]*(<<<|<<-|<<|<>|<&|>&|>>|>\||<|>)")
_FUNCTION = re.compile(r"\([ \t]*\)")
_FOR_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?=[ \t\n;])")
_SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_OPENERS = frozenset({"{", "!", "if", "while", "until", "for", "case"})
_CLOSERS = frozenset({"}", "then", "elif", "else", "fi", "do", "done", "esac", "in"})
_BASH = {
    "[[": "write [ … ] or case",
    "select": "write while and read",
    "function": "write name() { … }",
    "coproc": "write a script file",
}
NONE: frozenset[str] = frozenset()
MAX_NESTING = 100


class Parser(Lexer):
    """Adds the commands to the words."""

    nesting = 0

    def commands(self, closers: frozenset[str], *, paren: bool) -> Script:
        script: Script = []
        while True:
            self.skip(lines=True)
            if self.i >= self.n:
                if closers or paren:
                    missing = ")" if paren else sorted(closers)[0]
                    raise self.refuse(f"it ends where '{missing}' is missing", f"write the '{missing}'", Malformed)
                if self.pending:
                    raise Malformed(self.pending[0].line, "a here-document never ends", "end it with its delimiter")
                return script
            if paren and self.at(")"):
                return script
            if self.at(";;") and ";;" in closers:
                return script
            keyword = self.keyword()
            if keyword in closers:
                return script
            if keyword in _CLOSERS or self.peek() in ")&;|":
                raise self.refuse(
                    f"'{keyword or self.peek()}' stands where a command is expected", "remove it", Malformed
                )
            script.append(self._pipeline())
            self._separator()

    def _separator(self) -> None:
        self.skip(lines=False)
        if self.i >= self.n or self.at(";;") or self.peek() in "\n)":
            return
        if self.at("&>"):
            raise self.refuse("&> means two things in dash and bash", "write >file 2>&1")
        for operator in ("&&", "||", ";", "&"):
            if self.at(operator):
                self.i += len(operator)
                return
        raise self.refuse(
            f"'{self.peek()}' stands where the command should end", "end it with ; or a line end", Malformed
        )

    def _pipeline(self) -> Pipeline:
        stages = [self._command()]
        while True:
            self.skip(lines=False)
            if self.at("|&"):
                raise self.refuse("|& is bash's alone", "write 2>&1 |", BashOnly)
            if not self.at("|") or self.at("||"):
                return stages
            self.i += 1
            self.skip(lines=True)
            stages.append(self._command())

    def skip(self, *, lines: bool) -> None:
        """Skip blanks, comments and, with `lines`, line ends; the bodies of here-documents follow a line end."""
        while self.i < self.n:
            c = self.t[self.i]
            if c in BLANK:
                self.i += 1
            elif c == "\\" and self.peek(1) == "\n":
                before = self.t[self.i - 1] if self.i else " "
                if before in "&|;<>()" and self.peek(2) and self.peek(2) in "&|;<>()":
                    raise self.refuse("an operator goes on over a backslash and a line end", "keep it on one line")
                self.i += 2
            elif c == "#":
                self._comment()
            elif c == "\n" and lines:
                self.i += 1
                if self.pending:
                    read_bodies(self)
            else:
                return

    def _comment(self) -> None:
        end = self.t.find("\n", self.i)
        end = self.n if end < 0 else end
        while (at := self.t.find(HOLE, self.i, end)) >= 0:
            number = self.number(at)
            self.inert.add(number)
            self.edits.append((at, at + 1, self.shown[number].replace("\n", " ")))
            self.i = at + 1
        self.i = end

    def keyword(self) -> str:
        """Return the word here when it has the form of a reserved word, without reading it."""
        match = _KEYWORD.match(self.t, self.i)
        return match[1] if match else ""

    def _expect(self, *words: str) -> str:
        found = self.keyword()
        if found not in words:
            raise self.refuse(f"'{words[0]}' is missing", f"write '{words[0]}'", Malformed)
        self.i += len(found)
        return found

    def _command(self) -> Node:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.refuse(f"commands are nested more than {MAX_NESTING} deep", "write a script file")
        node = self._one_command()
        self.nesting -= 1
        return node

    def _one_command(self) -> Node:
        self.skip(lines=False)
        line, keyword = self.line(), self.keyword()
        if self.at("(("):
            raise self.refuse("((…)) is arithmetic in bash", "write [ … ], or ( ( for two subshells", BashOnly)
        if self.at("("):
            self.i += 1
            body = self.commands(NONE, paren=True)
            self.i += 1
            return self._redirected(Group("(", line, [body]))
        if keyword in _BASH:
            raise self.refuse(
                f"'{keyword}' is bash's alone and may evaluate what it is given", _BASH[keyword], BashOnly
            )
        if keyword in _CLOSERS:
            raise self.refuse(f"'{keyword}' stands where a command is expected", "remove it", Malformed)
        if keyword not in _OPENERS:
            return self._simple()
        self.i += len(keyword)
        if keyword == "!":
            return self._command()
        return self._redirected(self._compound(keyword, line))

    def _compound(self, keyword: str, line: int) -> Group:
        group = Group(keyword, line)
        if keyword == "{":
            self._clause(group, "}")
        elif keyword == "if":
            self._clause(group, "then")
            while self._clause(group, "fi", "elif", "else") != "fi":
                if self.t.startswith("elif", self.i - 4):
                    self._clause(group, "then")
        elif keyword in ("while", "until"):
            self._clause(group, "do")
            self._clause(group, "done")
        elif keyword == "for":
            self._for(group)
        else:
            self._case(group)
        return group

    def _clause(self, group: Group, *closers: str) -> str:
        group.bodies.append(self.commands(frozenset(closers), paren=False))
        return self._expect(*closers)

    def _for(self, group: Group) -> None:
        self.skip(lines=False)
        match = _FOR_NAME.match(self.t, self.i)
        if match is None:
            raise self.refuse("the variable of a for has to be a plain name", "write for name in …; do … done")
        group.name = match[1]
        self.i = match.end()
        self.skip(lines=True)
        if self.keyword() == "in":
            self.i += 2
            group.words = []
            self.skip(lines=False)
            while self.i < self.n and self.peek() not in "\n;":
                if self.peek() in "&|<>()":
                    raise self.refuse(f"'{self.peek()}' stands among the words of a for", "quote it", Malformed)
                group.words.append(self.word())
                self.skip(lines=False)
        if self.at(";"):
            self.i += 1
        self.skip(lines=True)
        self._expect("do")
        self._clause(group, "done")

    def _case(self, group: Group) -> None:
        self.skip(lines=False)
        group.words = [self.word()]
        self.skip(lines=True)
        self._expect("in")
        while True:
            self.skip(lines=True)
            if self.keyword() == "esac":
                self.i += 4
                return
            self._pattern()
            group.bodies.append(self.commands(frozenset({"esac", ";;"}), paren=False))
            if self.at(";;&"):
                raise self.refuse(";;& is bash's alone", "write ;;", BashOnly)
            if self.at(";;"):
                self.i += 2

    def _pattern(self) -> None:
        if self.at("("):
            self.i += 1
        while True:
            self.skip(lines=False)
            start = self.i
            pattern = self.word() if self.peek() not in "()" else None
            if pattern is None or self.i == start:
                raise self.refuse("this pattern of a case cannot be read with certainty", "write a plain pattern")
            if pattern.holes:
                shown = self.shown[pattern.holes[0]]
                raise Refusal(pattern.line, f"{shown} stands in a pattern of a case", "compare with [ … = … ]")
            self.skip(lines=False)
            if self.at(")"):
                self.i += 1
                return
            if not self.at("|"):
                raise self.refuse("this pattern of a case cannot be read with certainty", "write a plain pattern")
            self.i += 1

    def _redirected(self, group: Group) -> Group:
        while True:
            self.skip(lines=False)
            if not _REDIRECT.match(self.t, self.i):
                return group
            group.redirects.append(self._redirect())

    def _simple(self) -> Node:
        command = Simple(self.line())
        while True:
            self.skip(lines=False)
            c = self.peek()
            if not c or c in "\n;&|)":
                return command
            if c == "(":
                return self._function(command)
            if _REDIRECT.match(self.t, self.i):
                command.redirects.append(self._redirect())
                continue
            word = self.word()
            if not command.words and (_SUBSCRIPT.match(word.prefix)):
                raise Refusal(word.line, "bash evaluates the subscript of an array", "use plain variables")
            if not command.words and ASSIGNMENT.match(word.prefix):
                command.assigns.append(word)
            else:
                command.words.append(word)

    def _function(self, command: Simple) -> Node:
        match = _FUNCTION.match(self.t, self.i)
        named = len(command.words) == 1 and not command.assigns and not command.redirects
        if match is None or not named or command.words[0].static is None or command.words[0].quoted:
            raise self.refuse("a ( stands inside a command (an array or a pattern of bash?)", "quote it", BashOnly)
        self.i = match.end()
        self.skip(lines=True)
        if self.keyword() not in _OPENERS and not self.at("("):
            raise self.refuse("the body of a function is not a { … }", "write name() { … }")
        return Group("function", command.line, [[[self._command()]]], name=command.words[0].static)

    def _redirect(self) -> Redirect:
        match = _REDIRECT.match(self.t, self.i)
        assert match is not None  # noqa: S101 - the caller has seen it
        operator = match[1]
        if operator in ("<", ">") and self.t.startswith("(", match.end()):
            raise self.refuse(f"{operator}(…) is bash's alone", "write a pipe or a temporary file", BashOnly)
        self.i = match.end()
        if operator == "<<<":
            raise self.refuse("<<< is bash's alone", "write stdin= or printf '%s\\n' … |", BashOnly)
        if operator in ("<<", "<<-"):
            return Redirect(operator, None, open_heredoc(self, strip=operator == "<<-"))
        self.skip(lines=False)
        start = self.i
        target = self.word()
        if self.i == start:
            raise self.refuse(f"{operator} has no file after it", "name the file", Malformed)
        if target.holes and operator in ("<&", ">&"):
            raise self.refuse(f"{self.shown[target.holes[0]]} stands after {operator}", "write a number there")
        return Redirect(operator, target)


def read(text: str, variables: Sequence[str], shown: Sequence[str], line: int = 1) -> tuple[Parser, Script]:
    """Read a whole command; the parser knows its edits."""
    parser = Parser(text, variables, shown, line=line)
    return parser, parser.commands(NONE, paren=False)
