"""Interpreters: which of their arguments are code, and when standard input is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brain_shell.contexts import Refusal, Word

if TYPE_CHECKING:
    from brain_shell.refusals import Checker


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DEVICES = ("/dev/", "/proc/")
"""Where the name of a script may stand for standard input."""
MODULES_WITH_CODE = frozenset({"timeit", "pdb", "IPython", "trace", "profile", "cProfile"})
SHELLS = _names("sh bash dash ash ksh mksh zsh rbash lksh yash fish csh tcsh")


@dataclass(frozen=True, slots=True)
class Language:
    """`code` are the option letters that take code, `valued` those with another value, `flags` those with none."""

    code: str
    valued: str = ""
    flags: str = ""
    long: frozenset[str] = frozenset()
    program: bool = False
    """The first operand is the program's text unless an option brings it (awk)."""


_PYTHON = Language("c", "WX", "bBdEhiIOPqsSuvVx")
_EVAL = frozenset({"--eval", "--print", "-eval"})
_AWK = Language("e", "F", "bcCghIklnNOrsStV", program=True)
LANGUAGES = {
    "python": _PYTHON,
    "pypy": _PYTHON,
    "perl": Language("eE", "IMmCDFx", "acfhlnpsStTuUvVwWX0iT"),
    "ruby": Language("e", "ICEFrx", "acdhlnpsSvwWUy0i"),
    "node": Language("ep", "rC", "civ", _EVAL),
    "nodejs": Language("ep", "rC", "civ", _EVAL),
    "bun": Language("ep", "r", "", _EVAL),
    "php": Language("rRBEF", "cdfgtzST", "aChHilmnqsvw"),
    "lua": Language("e", "l", "ivEW"),
    "luajit": Language("e", "lj", "ivE"),
    "Rscript": Language("e", "", "", frozenset({"--eval"})),
    "R": Language("e", "f", ""),
    "julia": Language("eE", "LJHp", "iqhv", frozenset({"--eval", "--print"})),
    "elixir": Language("e", "rSpz", "", frozenset({"--eval"})),
    "awk": _AWK,
    "gawk": _AWK,
    "mawk": _AWK,
    "nawk": _AWK,
    "original-awk": _AWK,
}


def _code(checker: Checker, name: str, word: Word) -> Refusal:
    return Refusal(word.line, f"{checker.what(word)} stands in code for '{name}'")


def check_shell(checker: Checker, name: str, rest: Sequence[Word], stdin: bool, line: int) -> None:
    """Refuse a value in the code of `sh -c`, as the script, and on the standard input of a shell without one."""
    at, has_code = 0, False
    from_stdin = False
    while at < len(rest):
        word = rest[at]
        if checker.tainted(word) and (not word.head or word.head[0] in "-+"):
            raise _code(checker, name, word)
        if word.head[:1] not in ("-", "+") or word.static is None:
            break
        text = word.static
        at += 1
        if text in ("--", "-"):
            break
        if text in ("--rcfile", "--init-file") or (not text.startswith("--") and text[-1] in "oO"):
            if at < len(rest) and checker.tainted(rest[at]):
                raise _code(checker, name, rest[at])
            at += 1
        if not text.startswith("--"):
            has_code |= "c" in text[1:]
            from_stdin |= "s" in text[1:]
    # A value may come by a variable too: the code inside is another shell's, with this one's environment.
    dirty = stdin or bool(checker.names) or any(checker.tainted(word) for word in rest)
    if at < len(rest) and not (from_stdin and not has_code):
        word = rest[at]
        if checker.tainted(word):
            raise _code(checker, name, word)
        if stdin and not has_code and word.head.startswith(DEVICES):
            raise Refusal(line, f"a value comes to '{name}' on standard input, which it runs as code")
        if has_code and dirty:
            if word.static is None:
                raise Refusal(word.line, f"the code of '{name} -c' is not constant", "write it in single quotes")
            checker.nested(word.static, word.line, stdin)
    elif stdin:
        raise Refusal(line, f"a value comes to '{name}' on standard input, which it runs as code")


def check_language(checker: Checker, name: str, rest: Sequence[Word], stdin: bool, line: int) -> None:
    """Refuse a value in code given by an option, as the script, and on standard input where no script is named."""
    language = LANGUAGES[name]
    at, has_code, doubtful, magic = 0, False, 0, False
    while at < len(rest):
        word = rest[at]
        text = word.static
        if word.head[:1] != "-" or text == "-":
            break
        at += 1
        if checker.tainted(word):
            raise _code(checker, name, word)
        if text is None or text == "--":
            break
        kind = _option(language, text)
        magic |= name in ("perl", "ruby") and not text.startswith("--") and bool(set(text[1:]) & set("np"))
        if name in ("python", "pypy") and text.startswith("-m"):
            if text == "-m" and at < len(rest) and checker.tainted(rest[at]):
                raise _code(checker, name, rest[at])
            module = text[2:] or (rest[at].static if at < len(rest) else None)
            if module in MODULES_WITH_CODE and any(checker.tainted(other) for other in rest[at:]):
                raise Refusal(word.line, f"a value is given to '{name} -m {module}', which runs it as code")
            at += text == "-m"
            has_code = True
            break
        has_code |= kind == "code" or (language.program and text in ("-f", "--file"))
        takes = kind in ("code", "value") and not (text.startswith("--") and "=" in text)
        if takes and (text.startswith("--") or _open_ended(language, text)) and at < len(rest):
            if checker.tainted(rest[at]):
                raise _code(checker, name, rest[at])
            at += 1
            if kind == "code" and name in ("python", "pypy"):
                break
        doubtful += kind == "unknown"
    _operands(checker, name, rest[at:], 0 if has_code else 1 + doubtful)
    operands = rest[at:]
    if magic and any(checker.tainted(word) for word in operands):
        word = next(word for word in operands if checker.tainted(word))
        raise Refusal(word.line, f"'{name} -n' and -p may run the name of a file that {checker.what(word)} brings")
    if (
        stdin
        and not has_code
        and not language.program
        and (not operands or operands[0].static == "-" or operands[0].head.startswith(DEVICES))
    ):
        raise Refusal(line, f"a value comes to '{name}' on standard input, which it runs as code")


def _operands(checker: Checker, name: str, operands: Sequence[Word], constant: int) -> None:
    """The first `constant` operands may be the program, so no value may stand in them."""
    for word in operands[:constant]:
        if checker.tainted(word):
            raise _code(checker, name, word)


def _option(language: Language, text: str) -> str:
    if text.startswith("--") or text in language.long:
        return "code" if text.partition("=")[0] in language.long else "unknown"
    for letter in text[1:]:
        if letter in language.code:
            return "code"
        if letter in language.valued or (language.program and letter in "vfilE"):
            return "value"
        if letter not in language.flags:
            return "unknown"
    return "flag"


def _open_ended(language: Language, text: str) -> bool:
    """Whether the option's value is the next word, not the rest of this one."""
    if text in language.long:
        return True
    for at, letter in enumerate(text[1:], 1):
        if letter in language.code or letter in language.valued or (language.program and letter in "vfilE"):
            return at == len(text) - 1
    return False
