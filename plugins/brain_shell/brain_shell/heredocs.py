"""Reads here-documents and rewrites the placeholders in their bodies. Pure."""

from __future__ import annotations

import re

from brain_shell.contexts import HOLE, Heredoc, Malformed, Refusal, Word
from brain_shell.lexer import BLANK, Lexer

_DELIMITER = re.compile(r"""(?:(\\?)([A-Za-z0-9_.+!%@:,/-]+)|'([^'\n\0]+)'|"([^"\n\0$`\\]+)")(?=[ \t\n;&|<>()]|\Z)""")
_PLAIN = re.compile(r"[A-Za-z0-9_.+%@:,/-]+")
_JOINED = re.compile(r"(?<!\\)((?:\\\\)*)\\\n")


def open_heredoc(reader: Lexer, *, strip: bool) -> Heredoc:
    """Read the delimiter after `<<`; the body follows at the next line end."""
    if reader.in_heredoc:
        raise reader.refuse("a here-document stands inside a here-document", "write a script file")
    while reader.peek() and reader.peek() in BLANK:
        reader.i += 1
    match = _DELIMITER.match(reader.t, reader.i)
    if match is None:
        raise reader.refuse("the delimiter of a here-document has to be one plain word", "write <<EOF or <<'EOF'")
    delimiter = match[2] or match[3] or match[4]
    quoted = match[2] is None or bool(match[1])
    heredoc = Heredoc(delimiter, quoted, strip, match.start(), match.end(), reader.line(), Word(reader.line()))
    reader.i = match.end()
    reader.pending.append(heredoc)
    return heredoc


def read_bodies(reader: Lexer) -> None:
    """Read the bodies of all open here-documents; the position is at the start of the first one's first line."""
    pending, reader.pending = reader.pending, []
    for heredoc in pending:
        start = reader.i
        end = _find_end(reader, heredoc)
        _body(reader, heredoc, start, end)


def _find_end(reader: Lexer, heredoc: Heredoc) -> int:
    start = at = reader.i
    while at <= reader.n:
        stop = reader.t.find("\n", at)
        stop = reader.n if stop < 0 else stop
        line = reader.t[at:stop]
        if (line.lstrip("\t") if heredoc.strip else line) == heredoc.delimiter:
            reader.i = min(stop + 1, reader.n)
            _check_joined(reader, heredoc, reader.t[start:at])
            return at
        at = stop + 1
    what = f"the here-document <<{heredoc.delimiter} never ends"
    raise Malformed(heredoc.line, what, f"end it with a line {heredoc.delimiter}")


def _check_joined(reader: Lexer, heredoc: Heredoc, body: str) -> None:
    """Refuse a body whose end depends on how a shell joins lines that end in a backslash."""
    if heredoc.quoted:
        return
    joined = _JOINED.sub(r"\1", body)
    lines = [line.lstrip("\t") if heredoc.strip else line for line in joined.split("\n")]
    if heredoc.delimiter in lines or (joined and not joined.endswith("\n")):
        raise Refusal(heredoc.line, "a backslash joins a line with the end of the here-document", "remove it")


def _body(reader: Lexer, heredoc: Heredoc, start: int, end: int) -> None:
    text = reader.t[start:end]
    if not heredoc.quoted:
        inner = reader.nested(text, start)
        inner.here(heredoc.body)
        reader.edits += [(start + a, start + b, new) for a, b, new in inner.edits]
        return
    heredoc.body.literal(text)
    if HOLE not in text:
        return
    if not _PLAIN.fullmatch(heredoc.delimiter):
        raise Refusal(heredoc.line, "the quoted delimiter of a here-document holds more than a name", "write <<'EOF'")
    out = ""
    for offset, c in enumerate(text):
        if c == HOLE:
            number = reader.number(start + offset)
            heredoc.body.holes.append(number)
            heredoc.body.expansion()
            out += "${" + reader.variables[number] + "}"
        else:
            out += "\\" + c if c in "$`\\" else c
    reader.edits.append((heredoc.start, heredoc.end, heredoc.delimiter))
    reader.edits.append((start, end, out))
