"""Builtins of the shell that take an argument for a name, an operator or code. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from brain_shell.catalogue import BINARY, UNARY
from brain_shell.contexts import Refusal
from brain_shell.taint import Code, Taint, Words

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER_NAME = re.compile(r"[-+][A-Za-z]*[inaA][A-Za-z]*")


def check_declare(taint: Taint, name: str, rest: Words) -> None:
    """Refuse a value in the name that `export` and its kin set, or one that sets more names than are written."""
    for word in rest:
        text = word.static
        if text is not None and _NUMBER_NAME.fullmatch(text) and name != "export":
            raise Refusal(word.line, f"'{name} {text}' makes bash evaluate what is assigned", "use a plain variable")
        if not taint.tainted(word):
            continue
        identifier, equals, _ = word.prefix.partition("=")
        if not equals or not _IDENTIFIER.fullmatch(identifier.removesuffix("+")):
            raise Refusal(word.line, f"{taint.what(word)} stands in the name that '{name}' sets", "name it")
        if taint.may_split(word):
            # Older dash and ash, and every shell behind `command`, split here: `export a=$v` may then set PATH too.
            what = f"{taint.what(word)} may become several words, and '{name}' sets each of them"
            raise Refusal(word.line, what, f'write {name} {identifier}="…"')
        taint.assignment(word)


def check_trap(taint: Taint, rest: Words) -> Iterator[Code]:
    """Find the constant code of a trap."""
    for word in rest:
        if taint.tainted(word):
            raise Refusal(word.line, f"{taint.what(word)} is given to 'trap', which runs it as code")
    code = next((word for word in rest if word.static not in ("--",)), None)
    if code is not None and code.static is None:
        raise Refusal(code.line, "'trap' is given text with expansions", "write the code in single quotes")
    if code is not None and code.static:
        yield Code(code.static, code.line, stdin=False)


def check_test(taint: Taint, name: str, rest: Words) -> None:
    """Allow the forms whose meaning no operand can change; with more words bash may take a value for `-v`."""
    words = list(rest)
    line = words[0].line if words else 1
    if name == "[" and words and words[-1].static == "]":
        words.pop()
    if words and words[0].static == "!":
        words = words[1:]
    texts = [word.static for word in words]
    fits = (
        len(words) == 1 or (len(words) == 2 and texts[0] in UNARY) or (len(words) == 3 and texts[1] in BINARY)
    ) and not any(word.splits or taint.may_split(word) for word in words)
    if not fits:
        what = f"'{name}' with a value in this form may take it for an operator"
        raise Refusal(line, what, "write one comparison, [ A = B ], quote its variables, and join with && and ||")


def check_first_is_no_option(taint: Taint, name: str, rest: Words) -> None:
    """Refuse a value where `printf` and `set` look for options."""
    first = rest[0] if rest else None
    if first is None or first.static == "--":
        return
    options = first.head.startswith("-") and first.head not in ("--",)
    unknown = taint.tainted(first) and (not first.head or options)
    if unknown:
        raise Refusal(first.line, f"{taint.what(first)} may be an option of '{name}'", f"write {name} -- …")
    if name == "printf" and (options or first.splits):
        raise Refusal(first.line, "an option of 'printf' may name a variable", "write printf '%s' …")
