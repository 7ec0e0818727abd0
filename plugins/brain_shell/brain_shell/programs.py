"""What is known about programs: which of their arguments are code, and which run another program. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from brain_shell.contexts import Refusal, Word
from brain_shell.interpreters import DEVICES, LANGUAGES, SHELLS, check_language, check_shell
from brain_shell.wrappers import WRAPPERS, check_find, check_wrapper

if TYPE_CHECKING:
    from brain_shell.refusals import Checker

Words: TypeAlias = Sequence[Word]
Rule: TypeAlias = Callable[["Checker", str, Words, bool], None]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERSION = re.compile(r"[0-9.]*[0-9]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER_NAME = re.compile(r"[-+][A-Za-z]*[inaA][A-Za-z]*")

REMOTE = frozenset({"scp", "sftp", "ssh", "mosh", "rsh", "remsh", "slogin", "sshpass"})
JOINS = frozenset({"watch", "parallel", "sem", "rush", "at", "batch", "crontab", "script", "su", "runuser", "entr"})
OTHER = _names(
    "sqlite sqlite3 duckdb dc m4 ed ex vi vim nvim view emacs expect tclsh wish gdb lldb make gmake tmux "
    "screen deno octave gnuplot jshell ghci irb iex erl pwsh powershell osascript cmd xonsh scala groovy "
    "kotlin ghc swift"
)
"""Programs that take nearly anything for code, arguments and standard input alike."""
NEVER = {
    "eval": "runs its arguments as code",
    "alias": "changes what later words mean",
    "let": "evaluates its arguments as arithmetic",
    "coproc": "is bash's alone",
}
STATEFUL = _names(
    "read unset enable hash bind complete compgen compopt mapfile readarray fc getopts wait jobs . source"
)
"""Builtins that take an argument for a name, an option with code, or a file to run."""
DECLARE = frozenset({"export", "readonly", "local", "declare", "typeset"})
DATABASES = {
    "psql": ("vhpUdL", ("--set=", "--variable=", "--host=", "--port=", "--username=", "--dbname=")),
    "mysql": ("huPD", ("--host=", "--user=", "--port=", "--database=")),
    "mariadb": ("huPD", ("--host=", "--user=", "--port=", "--database=")),
}
CODE_OPTIONS = {
    "git": ("-c", "--config-env", "--exec-path", "--upload-pack", "--receive-pack", "--exec"),
    "tar": (
        "-I",
        "-F",
        "--use-compress-program",
        "--to-command",
        "--checkpoint-action",
        "--info-script",
        "--rsh-command",
    ),
    "rsync": ("-e", "--rsh", "--rsync-path"),
    "sort": ("--compress-program",),
    "zip": ("-TT", "--unzip-command"),
    "man": ("-P", "-H", "--pager", "--html"),
}
"""Options of other programs whose value is a command."""
_UNARY = _names("-n -z -e -f -d -r -w -x -s -L -h -b -c -p -S -g -u -k -O -G")
_BINARY = _names("= == != < > -eq -ne -lt -le -gt -ge -nt -ot -ef")


def base_name(word: Word) -> str | None:
    """Return the program's name without folder and version; None when only the run can know it."""
    text = word.static
    if word.globs and text not in ("[", "[["):
        return None
    if text is None:
        if "/" not in word.tail:
            return None
        text = word.tail
    name = text.rsplit("/", 1)[-1]
    return _VERSION.sub("", name) if _VERSION.search(name) and _VERSION.sub("", name) in LANGUAGES else name


def check_program(checker: Checker, words: Words, stdin: bool) -> None:
    """Refuse a simple command whose program would run a value as code; `stdin`: a value may come on standard input."""
    first, rest = words[0], words[1:]
    if checker.tainted(first):
        raise Refusal(first.line, f"{checker.what(first)} stands where the name of a program is expected", "name it")
    name = base_name(first)
    if name in NEVER:
        raise Refusal(first.line, f"'{name}' {NEVER[name]}, so no placeholder may stand in its command")
    if name in DECLARE:
        _declare(checker, name or "", rest)
    if name == "trap":
        _trap(checker, rest)
        return
    tainted = next((word for word in rest if checker.tainted(word)), None)
    if name is None:
        if tainted is not None or stdin:
            what = "a value is given to a program whose name comes from a variable"
            raise Refusal(first.line, what, "write the name of the program")
        return
    if name in WRAPPERS:
        check_wrapper(checker, name, words, stdin, check_program)
    elif name in SHELLS:
        check_shell(checker, name, rest, stdin, first.line)
    elif name in LANGUAGES:
        check_language(checker, name, rest, stdin, first.line)
    elif tainted is not None or stdin:
        _known(checker, name, rest, stdin, tainted or first)


def _known(checker: Checker, name: str, rest: Words, stdin: bool, word: Word) -> None:
    takes_code = name in OTHER or name in DATABASES or name in JOINS or (name in REMOTE and len(rest) < 2)
    if takes_code and stdin and not checker.tainted(word):
        raise Refusal(word.line, f"a value comes to '{name}' on standard input, which it runs as code")
    if name in REMOTE or name in JOINS or name in OTHER:
        if checker.tainted(word):
            where = "is given to" if name not in REMOTE else "would be shell text on the other side of"
            raise Refusal(word.line, f"{checker.what(word)} {where} '{name}', which runs its arguments as code")
    elif name in STATEFUL:
        if name in (".", "source") and stdin and rest and rest[0].head.startswith(DEVICES):
            raise Refusal(word.line, f"a value comes to '{name}' on standard input, which it runs as code")
        if checker.tainted(word):
            raise Refusal(word.line, f"{checker.what(word)} is given to '{name}', which takes it for a name or code")
    elif name in DATABASES:
        _database(checker, name, rest, stdin)
    elif name in ("test", "["):
        if checker.tainted(word):
            _test(checker, name, rest)
    elif name in ("printf", "set"):
        _first_is_no_option(checker, name, rest)
    elif name == "find":
        check_find(checker, rest, stdin, check_program)
    elif name in ("sed", "gsed"):
        _sed(checker, name, rest)
    elif name == "jq":
        _jq(checker, rest)
    else:
        _option_with_code(checker, name, rest)
        _hidden(checker, rest, stdin)


def _option_with_code(checker: Checker, name: str, rest: Words) -> None:
    options = CODE_OPTIONS.get(name, ())
    for at, word in enumerate(rest):
        if not checker.tainted(word):
            continue
        before = rest[at - 1].static if at else None
        option = next((o for o in options if before == o or word.head.startswith(o)), None)
        if option is not None:
            what = f"{checker.what(word)} is given to '{name} {option}', which runs it as code"
            raise Refusal(word.line, what)


def _hidden(checker: Checker, rest: Words, stdin: bool) -> None:
    """Check a known interpreter among the arguments of an unknown program (`docker exec box sh -c …`)."""
    for at, word in enumerate(rest):
        name = base_name(word) if word.static else None
        if name is None or (at + 1 == len(rest) and not (stdin and name in SHELLS)):
            continue
        if at + 1 == len(rest):
            raise Refusal(word.line, f"a value comes to '{name}' on standard input, which it runs as code")
        option = rest[at + 1].head.startswith("-")
        if (option and (name in SHELLS or name in LANGUAGES)) or name in ("eval",):
            check_program(checker, rest[at:], stdin)


def _declare(checker: Checker, name: str, rest: Words) -> None:
    for word in rest:
        text = word.static
        if text is not None and _NUMBER_NAME.fullmatch(text) and name != "export":
            raise Refusal(word.line, f"'{name} {text}' makes bash evaluate what is assigned", "use a plain variable")
        if not checker.tainted(word):
            continue
        identifier, equals, _ = word.prefix.partition("=")
        if not equals or not _IDENTIFIER.fullmatch(identifier.removesuffix("+")):
            raise Refusal(word.line, f"{checker.what(word)} stands in the name that '{name}' sets", "name it")
        checker.assignment(word)


def _trap(checker: Checker, rest: Words) -> None:
    for word in rest:
        if checker.tainted(word):
            raise Refusal(word.line, f"{checker.what(word)} is given to 'trap', which runs it as code")
    code = next((word for word in rest if word.static not in ("--",)), None)
    if code is not None and code.static is None:
        raise Refusal(code.line, "'trap' is given text with expansions", "write the code in single quotes")
    if code is not None and code.static:
        checker.nested(code.static, code.line, False)


def _test(checker: Checker, name: str, rest: Words) -> None:
    """Allow the forms whose meaning no operand can change; with more words bash may take a value for `-v`."""
    words = list(rest)
    line = words[0].line if words else 1
    if name == "[" and words and words[-1].static == "]":
        words.pop()
    if words and words[0].static == "!":
        words = words[1:]
    texts = [word.static for word in words]
    fits = (
        len(words) == 1 or (len(words) == 2 and texts[0] in _UNARY) or (len(words) == 3 and texts[1] in _BINARY)
    ) and not any(word.splits for word in words)
    if not fits:
        what = f"'{name}' with a value in this form may take it for an operator"
        raise Refusal(line, what, "write one comparison, [ A = B ], quote its variables, and join with && and ||")


def _first_is_no_option(checker: Checker, name: str, rest: Words) -> None:
    first = rest[0] if rest else None
    if first is None or first.static == "--":
        return
    options = first.head.startswith("-") and first.head not in ("--",)
    unknown = checker.tainted(first) and (not first.head or options)
    if unknown:
        raise Refusal(first.line, f"{checker.what(first)} may be an option of '{name}'", f"write {name} -- …")
    if name == "printf" and (options or first.splits):
        raise Refusal(first.line, "an option of 'printf' may name a variable", "write printf '%s' …")


def _sed(checker: Checker, name: str, rest: Words) -> None:
    """Allow files after a constant program: after `--`, or with text before the value that is no `-`."""
    ended = False
    for word in rest:
        ended = ended or word.static == "--"
        if checker.tainted(word) and not (ended and _has_program(rest, word)):
            path = word.head[:1] not in ("", "-") and "/" in word.head and _has_program(rest, word)
            if not path:
                what = f"{checker.what(word)} is given to '{name}', which takes it for its program or an option"
                raise Refusal(word.line, what, f"write the file as '{name} -e … -- FILE', or use stdin=")


def _has_program(rest: Words, word: Word) -> bool:
    texts = [other.static for other in rest[: list(rest).index(word)]]
    return any(text in ("-e", "-f", "--expression", "--file") for text in texts[:-1])


def _jq(checker: Checker, rest: Words) -> None:
    for at, word in enumerate(rest):
        named = at >= 2 and rest[at - 2].static in ("--arg", "--argjson")
        if checker.tainted(word) and not named:
            what = f"{checker.what(word)} is given to 'jq', which may take it for its program"
            raise Refusal(word.line, what, "write --arg NAME VALUE, or < FILE")


def _database(checker: Checker, name: str, rest: Words, stdin: bool) -> None:
    letters, long = DATABASES[name]
    for at, word in enumerate(rest):
        if not checker.tainted(word):
            continue
        before = rest[at - 1].static if at else None
        after_option = before is not None and len(before) == 2 and before[0] == "-" and before[1] in letters
        if not after_option and not word.head.startswith(long):
            what = f"{checker.what(word)} is given to '{name}', which takes it for SQL or an option"
            raise Refusal(word.line, what, "write psql -v NAME=VALUE and :'NAME' in a file, or env=")
    if stdin:
        raise Refusal(
            rest[0].line if rest else 1, f"a value comes to '{name}' on standard input, which it runs as code"
        )
