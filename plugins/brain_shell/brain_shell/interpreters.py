"""Shells and languages: a value may be their argument, and never their code, their script or what they read it from."""

from __future__ import annotations

from collections.abc import Iterator

from brain_shell.catalogue import (
    INTERACTIVE,
    LANGUAGES,
    MODULES_READING_CODE,
    MODULES_WITH_CODE,
    SCRIPT_OPTIONS,
    Language,
)
from brain_shell.contexts import Refusal, Word
from brain_shell.taint import Code, Taint, Words, is_stdin, names_stdin


def _code(taint: Taint, name: str, word: Word) -> Refusal:
    return Refusal(word.line, f"{taint.what(word)} stands in code for '{name}'")


def from_stdin(name: str, line: int) -> Refusal:
    """Return the refusal of a program that reads code where a value arrives."""
    what = f"a value comes to '{name}' on standard input, which it runs as code"
    return Refusal(line, what, "write the code in a file and give it the value as an argument or in env=")


def check_shell(taint: Taint, name: str, rest: Words, stdin: bool, line: int) -> Iterator[Code]:
    """Refuse a value in the code of `sh -c`, as the script, and on the standard input of a shell without one.

    Yields the code of `-c` where a value may reach it: by standard input, a parameter or a variable.
    """
    at, has_code = 0, False
    reads_stdin = False
    while at < len(rest):
        word = rest[at]
        if taint.tainted(word) and (not word.head or word.head[0] in "-+"):
            raise _code(taint, name, word)
        if word.head[:1] not in ("-", "+") or word.static is None:
            break
        text = word.static
        at += 1
        if text in ("--", "-"):
            break
        if text in ("--rcfile", "--init-file") or (not text.startswith("--") and text[-1] in "oO"):
            if at < len(rest) and taint.tainted(rest[at]):
                raise _code(taint, name, rest[at])
            if at < len(rest) and stdin and names_stdin(rest[at]):
                raise from_stdin(name, line)
            at += 1
        if not text.startswith("--"):
            has_code |= "c" in text[1:]
            reads_stdin |= "s" in text[1:]
    # A value may come by a variable too: the code inside is another shell's, with this one's environment.
    dirty = stdin or bool(taint.names) or any(taint.tainted(word) for word in rest)
    if at < len(rest) and not (reads_stdin and not has_code):
        word = rest[at]
        if taint.tainted(word):
            raise _code(taint, name, word)
        if stdin and not has_code and names_stdin(word):
            raise from_stdin(name, line)
        if has_code and dirty:
            if word.static is None:
                raise Refusal(word.line, f"the code of '{name} -c' is not constant", "write it in single quotes")
            yield Code(word.static, word.line, stdin)
    elif stdin:
        raise from_stdin(name, line)


def check_language(taint: Taint, name: str, rest: Words, stdin: bool, line: int) -> None:
    """Refuse a value in code given by an option, as the script, and on standard input where no script is named."""
    language = LANGUAGES[name]
    at, has_code, doubtful, magic = 0, False, 0, False
    while at < len(rest):
        word = rest[at]
        text = word.static
        if word.head[:1] != "-" or text == "-":
            break
        at += 1
        if taint.tainted(word):
            raise _code(taint, name, word)
        if text is None or text == "--":
            break
        kind = _option(language, text)
        magic |= name in ("perl", "ruby") and not text.startswith("--") and bool(set(text[1:]) & set("np"))
        if name in ("python", "pypy") and text.startswith("-m"):
            _module(taint, name, text, rest[at:], stdin, line)
            at += text == "-m"
            has_code = True
            break
        if stdin and not text.startswith("--") and INTERACTIVE.get(name, " ") in text[1:] and kind == "flag":
            raise from_stdin(name, line)
        has_code |= kind == "code" or (language.program and text in ("-f", "--file"))
        takes = kind in ("code", "value") and not (text.startswith("--") and "=" in text)
        if takes and (text.startswith("--") or _open_ended(language, text)) and at < len(rest):
            if taint.tainted(rest[at]):
                raise _code(taint, name, rest[at])
            if stdin and kind == "value" and not language.program and names_stdin(rest[at]):
                raise from_stdin(name, line)
            at += 1
            if kind == "code" and name in ("python", "pypy"):
                break
        doubtful += kind == "unknown"
    _operands(taint, name, rest[at:], 0 if has_code else 1 + doubtful)
    operands = rest[at:]
    if magic and any(taint.tainted(word) for word in operands):
        word = next(word for word in operands if taint.tainted(word))
        raise Refusal(word.line, f"'{name} -n' and -p may run the name of a file that {taint.what(word)} brings")
    if stdin and not has_code and not language.program and (not operands or names_stdin(operands[0])):
        raise from_stdin(name, line)
    if stdin and reads_script_from_stdin(name, rest):
        raise from_stdin(name, line)


def _module(taint: Taint, name: str, text: str, rest: Words, stdin: bool, line: int) -> None:
    if text == "-m" and rest and taint.tainted(rest[0]):
        raise _code(taint, name, rest[0])
    module = text[2:] or (rest[0].static if rest else None)
    if module in MODULES_WITH_CODE and any(taint.tainted(word) for word in rest):
        raise Refusal(line, f"a value is given to '{name} -m {module}', which runs it as code")
    if stdin and module in MODULES_READING_CODE:
        raise from_stdin(f"{name} -m {module}", line)


def _operands(taint: Taint, name: str, operands: Words, constant: int) -> None:
    """The first `constant` operands may be the program, so no value may stand in them."""
    for word in operands[:constant]:
        if taint.tainted(word):
            raise _code(taint, name, word)


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


def reads_script_from_stdin(name: str, rest: Words) -> bool:
    """Whether an option names standard input as the file of the program's code, as in `sed -f -`."""
    if name not in SCRIPT_OPTIONS:
        return False
    if name == "tar" and any(word.static in ("--verbatim-files-from", "--null") for word in rest):
        return False
    letters, *long = SCRIPT_OPTIONS[name]
    for at, word in enumerate(rest):
        text = word.static if word.static is not None else word.head
        if text == "--":
            return False
        following = rest[at + 1 :]
        if text.startswith("--"):
            option, equals, value = text.partition("=")
            known = len(option) > 3 and any(one.startswith(option) for one in long)
            if known and (is_stdin(value) or (not equals and following and names_stdin(following[0]))):
                return True
        elif text.startswith("-") or (name == "tar" and at == 0):
            cluster = text.removeprefix("-")
            place = next((place for place, letter in enumerate(cluster) if letter in letters), None)
            if place is None:
                continue
            behind = cluster[place + 1 :]
            # Letters behind it may be its value, or (tar) more options that take the words behind in turn.
            taken = following[: len(cluster) if name == "tar" else 1 if not behind else 0]
            if is_stdin(behind) or any(names_stdin(one) for one in taken):
                return True
    return False
