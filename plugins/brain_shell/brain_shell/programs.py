"""Judges one simple command by the rules for its program, and finds what it runs in turn. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from brain_shell.catalogue import (
    DATABASES,
    DECLARE,
    JOINS,
    LANGUAGES,
    NEVER,
    OTHER,
    PLAIN,
    READS_COMMANDS,
    REMOTE,
    SHELLS,
    STATEFUL,
    WRAPPERS,
)
from brain_shell.contexts import Refusal, Word
from brain_shell.interpreters import check_language, check_shell, from_stdin, reads_script_from_stdin
from brain_shell.options import check_git, check_options
from brain_shell.shell_builtins import check_declare, check_first_is_no_option, check_test, check_trap
from brain_shell.taint import Command, Inside, Taint, Words, names_stdin
from brain_shell.wrappers import base_name, check_find, check_ssh, check_wrapper, hidden_commands


def judge(taint: Taint, command: Command) -> Iterator[Inside]:
    """Refuse a command whose program would run a value as code; yield the commands and the code inside it."""
    words, stdin = command.words, command.stdin
    first, rest = words[0], words[1:]
    if taint.tainted(first):
        raise Refusal(first.line, f"{taint.what(first)} stands where the name of a program is expected", "name it")
    name = base_name(first)
    if name in NEVER:
        raise Refusal(first.line, f"'{name}' {NEVER[name]}, so no placeholder may stand in its command")
    if name in DECLARE:
        check_declare(taint, name or "", rest)
    value = next((word for word in rest if taint.tainted(word)), None)
    if name is None:
        if value is not None or stdin:
            what = "a value is given to a program whose name comes from a variable"
            raise Refusal(first.line, what, "write the name of the program")
    elif name == "trap":
        yield from check_trap(taint, rest)
    elif name in WRAPPERS:
        yield from check_wrapper(taint, name, words, stdin)
    elif name in SHELLS:
        yield from check_shell(taint, name, rest, stdin, first.line)
    elif name in LANGUAGES:
        check_language(taint, name, rest, stdin, first.line)
    else:
        if value is not None or stdin:
            yield from _known(taint, name, rest, stdin, value or first)
        if not command.alone and name not in PLAIN and name not in STATEFUL:
            yield from hidden_commands(taint, name, rest, stdin)


def _known(taint: Taint, name: str, rest: Words, stdin: bool, word: Word) -> Iterator[Inside]:
    takes_code = name in OTHER or name in DATABASES or name in JOINS or name in READS_COMMANDS
    if stdin and (reads_script_from_stdin(name, rest) or (takes_code and not taint.tainted(word))):
        if name == "tar":
            what = "a value comes to 'tar -T' on standard input, where a line may be an option"
            raise Refusal(word.line, what, "write --verbatim-files-from before -T")
        raise from_stdin(name, word.line)
    if name in REMOTE or name in JOINS or name in OTHER:
        if taint.tainted(word):
            where = "is given to" if name not in REMOTE else "would be shell text on the other side of"
            raise Refusal(word.line, f"{taint.what(word)} {where} '{name}', which runs its arguments as code")
        if stdin and name in REMOTE:
            yield from check_ssh(taint, name, rest, word.line)
    elif name in STATEFUL:
        if name in (".", "source") and stdin and rest and names_stdin(rest[0]):
            raise from_stdin(name, word.line)
        if taint.tainted(word):
            raise Refusal(word.line, f"{taint.what(word)} is given to '{name}', which takes it for a name or code")
    elif name in DATABASES:
        _database(taint, name, rest, stdin)
    elif name in ("test", "["):
        if taint.tainted(word):
            check_test(taint, name, rest)
    elif name in ("printf", "set"):
        check_first_is_no_option(taint, name, rest)
    elif name == "find":
        yield from check_find(taint, rest, stdin)
    elif name in ("sed", "gsed"):
        _sed(taint, name, rest)
    elif name == "jq":
        _jq(taint, rest)
    elif name == "git":
        yield from check_git(taint, rest, stdin)
    else:
        check_options(taint, name, rest)


def _sed(taint: Taint, name: str, rest: Words) -> None:
    """Allow files after a constant program: after `--`, or with text before the value that is no `-`."""
    ended = False
    for word in rest:
        ended = ended or word.static == "--"
        if taint.tainted(word) and not (ended and _has_program(rest, word)):
            path = word.head[:1] not in ("", "-") and "/" in word.head and _has_program(rest, word)
            if not path or taint.may_split(word):
                what = f"{taint.what(word)} is given to '{name}', which takes it for its program or an option"
                raise Refusal(word.line, what, f"write the file as '{name} -e … -- FILE', or use stdin=")


def _has_program(rest: Words, word: Word) -> bool:
    texts = [other.static for other in rest[: list(rest).index(word)]]
    return any(text in ("-e", "-f", "--expression", "--file") for text in texts[:-1])


def _jq(taint: Taint, rest: Words) -> None:
    for at, word in enumerate(rest):
        named = at >= 2 and rest[at - 2].static in ("--arg", "--argjson")
        if taint.tainted(word) and not named:
            what = f"{taint.what(word)} is given to 'jq', which may take it for its program"
            raise Refusal(word.line, what, "write --arg NAME VALUE, or < FILE")


def _database(taint: Taint, name: str, rest: Words, stdin: bool) -> None:
    letters, long = DATABASES[name]
    for at, word in enumerate(rest):
        if not taint.tainted(word):
            continue
        before = rest[at - 1].static if at else None
        after_option = before is not None and len(before) == 2 and before[0] == "-" and before[1] in letters
        if not after_option and not word.head.startswith(long):
            what = f"{taint.what(word)} is given to '{name}', which takes it for SQL or an option"
            raise Refusal(word.line, what, "write psql -v NAME=VALUE and :'NAME' in a file, or env=")
    if stdin:
        raise from_stdin(name, rest[0].line if rest else 1)
