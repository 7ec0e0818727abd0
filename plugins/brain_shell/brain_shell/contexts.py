"""What the reader finds in a shell command: words, commands, here-documents; and the refusal. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

HOLE = "\0"
"""Stands for a placeholder in the text that is read; no shell command can hold this character itself."""

WAYS = "give it as an argument of a program, in env= or in stdin="


class Refusal(ValueError):
    """A command that cannot be shown to be safe with its placeholders: what, in which line, and the way to write it."""

    way_round: ClassVar[str] = " (unsafe=True would insert it as plain text; for the braces themselves write {{name}})"
    """What `unsafe=True` would do, and nothing where it is no cure."""

    def __init__(self, line: int, what: str, how: str = WAYS, *, placeholders: bool = True) -> None:
        # Without a placeholder in the command, a value in env= or stdin= is the matter.
        way = self.way_round if placeholders or not self.way_round else " (unsafe=True leaves the command unchecked)"
        super().__init__(f"line {line} of the command: {what}; {how}{way}")
        self.line, self.what, self.how = line, what, how

    def without_placeholders(self) -> Refusal:
        """Return the same refusal for a command that holds no placeholder itself."""
        return type(self)(self.line, self.what, self.how, placeholders=False)


class Malformed(Refusal):
    """Text that no shell takes for a command, with or without values."""

    way_round = ""


class BashOnly(Refusal):
    """What only bash reads: with another shell the command would fail even if nothing were checked."""

    way_round = " (shell='/bin/bash' with unsafe=True would run it, and insert values as plain text)"


@dataclass(slots=True, eq=False)
class Word:
    """One word of a command; `parts` holds its literal text without quotes, None for each expansion.

    `holes` and `variables` are all that stand anywhere in it, substitutions included; `arithmetic` are the names that
    the shell would evaluate as numbers; `assigns` those that `${name:=…}` sets. `prefix` is the text before the first
    quote or expansion, `splits` says that an expansion stands outside quotes, `braces` and `globs` that
    a brace or the sign of a file pattern does.
    """

    line: int
    parts: list[str | None] = field(default_factory=list)
    holes: list[int] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)
    arithmetic: set[str] = field(default_factory=set)
    assigns: list[str] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    prefix: str = ""
    prefix_open: bool = True
    splits: bool = False
    braces: bool = False
    quoted: bool = False
    globs: bool = False

    def literal(self, text: str, *, bare: bool = False) -> None:
        if self.parts and isinstance(self.parts[-1], str):
            self.parts[-1] += text
        else:
            self.parts.append(text)
        if bare and self.prefix_open:
            self.prefix += text
        if not bare:
            self.prefix_open = False

    def expansion(self) -> None:
        self.parts.append(None)
        self.prefix_open = False

    def absorb(self, other: Word) -> None:
        """Take over what a nested piece refers to."""
        self.holes += other.holes
        self.variables |= other.variables
        self.arithmetic |= other.arithmetic
        self.assigns += other.assigns
        self.scripts += other.scripts

    @property
    def static(self) -> str | None:
        """The word's text where nothing in it is expanded."""
        return None if None in self.parts else "".join(part for part in self.parts if part is not None)

    @property
    def head(self) -> str:
        """The text before the first expansion."""
        return self.parts[0] or "" if self.parts else ""

    @property
    def tail(self) -> str:
        """The text after the last expansion."""
        return self.parts[-1] or "" if self.parts else ""


@dataclass(slots=True, eq=False)
class Heredoc:
    """A here-document: its delimiter, where the delimiter stands, and the body as one word once it is read."""

    delimiter: str
    quoted: bool
    strip: bool
    start: int
    end: int
    line: int
    body: Word


@dataclass(slots=True, eq=False)
class Redirect:
    """`> file` and its kin; `target` is None for a here-document."""

    operator: str
    target: Word | None
    heredoc: Heredoc | None = None

    @property
    def word(self) -> Word | None:
        """The file's name, or the body of the here-document."""
        return self.heredoc.body if self.heredoc is not None else self.target


@dataclass(slots=True, eq=False)
class Simple:
    """A simple command: assignments, words, redirections."""

    line: int
    assigns: list[Word] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Group:
    """A compound command; `name` is the variable of a `for`, `words` its words or the subject of a `case`."""

    kind: str
    line: int
    bodies: list[Script] = field(default_factory=list)
    name: str = ""
    words: list[Word] | None = None
    redirects: list[Redirect] = field(default_factory=list)


Node: TypeAlias = Simple | Group
Pipeline: TypeAlias = list[Node]
Script: TypeAlias = list[Pipeline]
