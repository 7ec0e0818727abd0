"""Reads the words of a shell command and rewrites each placeholder for the quoting that it stands in. Pure.

A value never enters the text: the placeholder becomes the expansion of a variable, written so that the shell takes its
value byte for byte. What POSIX leaves open, or what dash and bash read differently, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from brain_shell.contexts import HOLE, WAYS, Heredoc, Malformed, Refusal, Script, Word

BLANK = " \t"
WORD_END = " \t\n;&|<>()"
MAX_DEPTH = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER = re.compile(r"#?([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-])(?:\[(?:[0-9]+|[@*])\])?")
_OPERATOR = re.compile(r":?[-=+?]|%%?|##?|//?|\^\^?|,,?")
_SUBSTRING = re.compile(r":[0-9]+(?::[0-9]+)?(?=\})")
_DEEPER = "write the value into a shell variable first (v={x}) and use that, or use stdin="


class Lexer:
    """A position in a text, and the edits that the text needs.

    `variables` names the shell variable of each placeholder, `shown` is how it is written; `first` is the number of
    the first placeholder in this text.
    """

    def __init__(
        self, text: str, variables: Sequence[str], shown: Sequence[str], first: int = 0, line: int = 1, depth: int = 0
    ) -> None:
        self.t = text
        self.i = 0
        self.n = len(text)
        self.variables = variables
        self.shown = shown
        self.first = first
        self.line0 = line
        self.depth = depth
        self.edits: list[tuple[int, int, str]] = []
        self.pending: list[Heredoc] = []
        self.inert: set[int] = set()
        self.in_heredoc = False
        if depth > MAX_DEPTH:
            raise Refusal(line, f"substitutions are nested more than {MAX_DEPTH} deep", "write a script file")

    def commands(self, closers: frozenset[str], *, paren: bool) -> Script:
        """Read commands up to a closing word or parenthesis, which is left unread."""
        raise NotImplementedError

    # positions

    def line(self, at: int | None = None) -> int:
        return self.line0 + self.t.count("\n", 0, self.i if at is None else at)

    def at(self, text: str) -> bool:
        return self.t.startswith(text, self.i)

    def peek(self, ahead: int = 0) -> str:
        at = self.i + ahead
        return self.t[at] if at < self.n else ""

    def number(self, at: int) -> int:
        return self.first + self.t.count(HOLE, 0, at)

    def refuse(self, what: str, how: str = WAYS, kind: type[Refusal] = Refusal) -> Refusal:
        return kind(self.line(), what, how)

    def name_of(self, at: int) -> str:
        return self.shown[self.number(at)]

    def nested(self, text: str, start: int) -> Lexer:
        inner = type(self)(text, self.variables, self.shown, self.number(start), self.line(start), self.depth + 1)
        inner.inert = self.inert
        inner.in_heredoc = self.in_heredoc
        return inner

    def render(self) -> str:
        """Return the text with its edits made."""
        out: list[str] = []
        at = 0
        for start, end, text in sorted(self.edits):
            out += (self.t[at:start], text)
            at = end
        out.append(self.t[at:])
        return "".join(out)

    # placeholders

    def hole(self, word: Word, before: str, after: str, *, drop: int = 0) -> None:
        """Rewrite the placeholder here; `drop` characters before it are replaced too."""
        number = self.number(self.i)
        self.edits.append((self.i - drop, self.i + 1, before + "${" + self.variables[number] + "}" + after))
        word.holes.append(number)
        word.expansion()
        self.i += 1

    # words

    def word(self) -> Word:
        """Read one word; the position is at its first character."""
        start = self.i
        word = Word(self.line())
        while self.i < self.n and (c := self.t[self.i]) not in WORD_END:
            if c == HOLE:
                self.hole(word, '"', '"')
            elif c == "\\":
                self._backslash(word)
            elif c == "'":
                word.quoted = True
                self._single(word)
            elif c == '"':
                word.quoted = True
                word.prefix_open = False
                self.double(word)
            elif c == "$":
                self.dollar(word, "bare")
            elif c == "`":
                word.splits = True
                self.backtick(word, "bare")
            else:
                word.braces |= c in "{}"
                word.globs |= c in "*?["
                word.literal(c, bare=True)
                self.i += 1
        if word.holes and word.braces:
            raise Refusal(
                word.line, f"{self.shown[word.holes[0]]} stands in a word with braces of its own", "quote them"
            )
        if self.pending and "\n" in self.t[start : self.i]:
            raise Refusal(word.line, "a word of several lines follows << on its line", "end the line before it")
        return word

    def _backslash(self, word: Word) -> None:
        following = self.peek(1)
        if not following:
            raise self.refuse("it ends in a backslash", "remove it", Malformed)
        if following == HOLE:
            self.i += 1
            self.hole(word, '"', '"', drop=1)
        elif following == "\n":
            if self.peek(2) and self.peek(2) not in " \t\n":
                raise self.refuse("a word goes on over a backslash and a line end", "keep it on one line")
            self.i += 2
        else:
            word.literal(following)
            word.quoted = True
            self.i += 2

    def _single(self, word: Word) -> None:
        end = self.t.find("'", self.i + 1)
        if end < 0:
            raise self.refuse("a ' is never closed", "close it", Malformed)
        self.i += 1
        word.literal("")
        while self.i < end:
            if self.t[self.i] == HOLE:
                self.hole(word, "'\"", "\"'")
            else:
                word.literal(self.t[self.i])
                self.i += 1
        self.i = end + 1

    def double(self, word: Word) -> None:
        """Read from one double quote to the next."""
        opened = self.line()
        self.i += 1
        word.literal("")
        while not self.at('"'):
            if self.i >= self.n:
                raise Malformed(opened, 'a " is never closed', "close it")
            self._inside(word, "dq", '$`"\\')
        self.i += 1

    def here(self, word: Word) -> None:
        """Read this whole text as the body of a here-document without quotes."""
        self.in_heredoc = True
        while self.i < self.n:
            self._inside(word, "here", "$`\\")

    def _inside(self, word: Word, mode: str, escapable: str) -> None:
        c = self.t[self.i]
        if c == HOLE:
            self.hole(word, "", "")
        elif c == "\\":
            following = self.peek(1)
            if following == HOLE:
                word.literal("\\")
                self.i += 1
                self.hole(word, "\\\\", "", drop=1)
                return
            if following == "\n":
                self.i += 2
                return
            word.literal(following if following and following in escapable else c + following)
            self.i += 2
        elif c == "$":
            self.dollar(word, mode)
        elif c == "`":
            self.backtick(word, mode)
        else:
            word.literal(c)
            self.i += 1

    # expansions

    def dollar(self, word: Word, mode: str) -> None:
        """Read what begins with $; `mode` is bare, dq or here."""
        c = self.peek(1)
        if c == "(" and self.peek(2) == "(":
            self._arithmetic(word)
        elif c == "(":
            word.splits |= mode == "bare"
            self._substitution(word)
        elif c == "{":
            word.splits |= mode == "bare"
            self._parameter(word, mode)
        elif c == "[":
            raise self.refuse("$[ is arithmetic in bash", "write '$[' in single quotes where it is text")
        elif c and c in "'\"" and mode == "bare":
            raise self.refuse(f"dash and bash read ${c} differently", "write '…' or \"$(printf …)\"")
        elif c in ("\\", HOLE) and (c == HOLE or self.peek(2) == "\n"):
            raise self.refuse("a $ stands alone before this", "write '$' in single quotes where it is text")
        elif match := _NAME.match(self.t, self.i + 1):
            self._variable(word, match.group(), mode)
        elif c and c in "0123456789@*#?-$!":
            self._variable(word, c, mode)
        else:
            word.literal("$")
            self.i += 1

    def _variable(self, word: Word, name: str, mode: str) -> None:
        word.variables.add(name)
        word.splits |= mode == "bare"
        word.expansion()
        self.i += 1 + len(name)

    def _substitution(self, word: Word) -> None:
        start, outer, self.pending = self.i, self.pending, []
        opened = self.line()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.refuse(f"substitutions are nested more than {MAX_DEPTH} deep", "write a script file")
        self.i += 2
        holes = self.number(start)
        script = self.commands(frozenset(), paren=True)
        if self.pending:
            raise self.refuse("a here-document begins in $(…) and its body stands outside", "close $(…) after the body")
        if outer and "\n" in self.t[start : self.i]:
            raise Refusal(opened, "a $(…) of several lines follows << on its line", "end the line before it")
        self.i += 1
        self.depth -= 1
        self.pending = outer
        word.scripts.append(script)
        word.holes += [n for n in range(holes, self.number(self.i)) if n not in self.inert]
        word.expansion()

    def backtick(self, word: Word, mode: str) -> None:
        """Read `…`; one that holds placeholders is written as $(…), which needs no escaping of its own."""
        start, inner = self.i, ""
        self.i += 1
        while not self.at("`"):
            c, following = self.peek(), self.peek(1)
            if not c:
                raise Malformed(self.line(start), "a ` is never closed", "close it")
            if c != "\\":
                inner += c
                self.i += 1
                continue
            if following == '"' and mode == "here":
                raise self.refuse('dash and bash read \\" in `…` of a here-document differently', "write $(…)")
            keeps = not following or following not in ('\\$`"' if mode == "dq" else "\\$`")
            inner += (c if keeps else "") + following
            self.i += 2
        if self.pending and "\n" in inner:
            raise Refusal(self.line(start), "a `…` of several lines follows << on its line", "end the line before it")
        reader = self.nested(inner, start)
        word.scripts.append(reader.commands(frozenset(), paren=False))
        self.i += 1
        numbers = range(self.number(start), self.number(self.i))
        word.holes += [number for number in numbers if number not in self.inert]
        if numbers:
            self.edits.append((start, self.i, "$( " + reader.render() + "\n)"))
        word.expansion()

    def _arithmetic(self, word: Word) -> None:
        inner, depth, start = Word(self.line()), 0, self.i
        self.i += 3
        while True:
            c = self.peek()
            if not c:
                raise Malformed(self.line(start), "a $(( is never closed", "close it with ))")
            if c == HOLE:
                raise self._in_arithmetic(self.i)
            if c == ")" and not depth:
                break
            if c in "'\"\\":
                raise self.refuse(f"{c} stands in $((…))", "leave it out there")
            depth += (c == "(") - (c == ")")
            if c == "$":
                self.dollar(inner, "dq")
            elif c == "`":
                self.backtick(inner, "dq")
            elif match := _NAME.match(self.t, self.i):
                inner.variables.add(match.group())
                self.i = match.end()
            else:
                self.i += 1
        if self.peek(1) != ")":
            raise Refusal(self.line(start), "$(( begins something that is not arithmetic", "write $( ( with a blank")
        if inner.holes:
            raise self._in_arithmetic(self.t.index(HOLE, start))
        self.i += 2
        inner.arithmetic |= inner.variables
        word.absorb(inner)
        word.expansion()

    def _in_arithmetic(self, at: int) -> Refusal:
        return Refusal(self.line(at), f"{self.name_of(at)} stands in arithmetic, which the shell evaluates as code")

    def _parameter(self, word: Word, mode: str) -> None:
        start, outer = self.i, Word(self.line())
        match = _PARAMETER.match(self.t, self.i + 2)
        if self.t.startswith("!", self.i + 2) and not self.t.startswith("}", self.i + 3):
            raise self.refuse("${!…} reads a variable whose name is a value", "name the variable")
        if match is None:
            raise self.refuse("this ${…} cannot be read with certainty", _DEEPER)
        outer.variables.add(match[1])
        self.i = match.end()
        if substring := _SUBSTRING.match(self.t, self.i):
            self.i = substring.end()
        elif not self.at("}"):
            operator = _OPERATOR.match(self.t, self.i)
            if operator is None:
                hole = self.peek() == HOLE or (self.peek() == ":" and self.peek(1) == HOLE)
                what = (
                    f"{self.name_of(self.t.index(HOLE, self.i))} stands in ${{…}}" if hole else "this ${…} may evaluate"
                )
                raise self.refuse(what, _DEEPER)
            if operator.group().endswith("="):
                outer.assigns.append(match[1])
            self.i = operator.end()
            self._operand(outer, mode, start)
        if outer.holes:
            raise Refusal(self.line(start), f"{self.shown[outer.holes[0]]} stands in ${{…}}", _DEEPER)
        self.i += 1
        word.absorb(outer)
        word.expansion()

    def _operand(self, word: Word, mode: str, start: int) -> None:
        while not self.at("}"):
            c = self.peek()
            if not c:
                raise Malformed(self.line(start), "a ${ is never closed", "close it with }")
            if c == HOLE or (c == "\\" and self.peek(1) == HOLE):
                raise self.refuse(f"{self.name_of(self.i)} stands in ${{…}}", _DEEPER)
            if c in "'\"" and mode != "bare":
                raise self.refuse("quotes in a ${…} that is quoted itself are read differently by shells", _DEEPER)
            if c == "'":
                self._single(word)
            elif c == '"':
                self.double(word)
            elif c == "$":
                self.dollar(word, mode)
            elif c == "`":
                self.backtick(word, mode)
            else:
                self.i += 2 if c == "\\" else 1
