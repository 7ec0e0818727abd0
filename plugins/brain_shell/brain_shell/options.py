"""Programs with options that run commands (tar, rsync, git, …): a value may not be, nor bring, such an option. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from brain_shell.catalogue import EXPLICIT, GIT, GIT_GLOBAL, GIT_RUNS, OPTIONS, Options
from brain_shell.contexts import Refusal, Word
from brain_shell.taint import Command, Taint, Words

_COMMAND, _VALUE = "command", "value"


def check_options(taint: Taint, name: str, rest: Words) -> None:
    """Refuse a value that is, or may be, an option of this program whose value is a command."""
    if name in EXPLICIT:
        _walk(taint, name, EXPLICIT[name], rest, bare=True)
    elif name in OPTIONS:
        _walk(taint, name, OPTIONS[name], rest)


def _walk(taint: Taint, name: str, options: Options, rest: Words, *, bare: bool = False) -> None:
    """Follow the options up to `--`; `bare` says that a value may stand where only it could be an option."""
    pending = _bundle(options, rest[0]) if name == "tar" and rest else []
    for word in rest[1:] if pending else rest:
        tainted = taint.tainted(word)
        if taint.may_split(word) and not bare:
            raise Refusal(word.line, f"{taint.what(word)} may become several options of '{name}'", "quote it")
        if pending:
            option, kind = pending.pop(0)
            if tainted and kind == _COMMAND:
                raise _runs(taint, name, option, word)
        elif word.static == "--" and options.ends:
            return
        elif not tainted:
            pending = _opens(options, word)
        elif word.head.startswith("-"):
            _glued(taint, name, options, word, bare)
        elif not word.head and not bare:
            what = f"{taint.what(word)} may be an option of '{name}', which has options that run commands"
            how = f"write '{name} … -- VALUE', '--option=VALUE' or './VALUE'"
            raise Refusal(
                word.line, what, how if options.ends else "-- does not help there; write git fetch -- and merge"
            )


def _runs(taint: Taint, name: str, option: str, word: Word) -> Refusal:
    return Refusal(word.line, f"{taint.what(word)} is given to '{name} {option}', which runs it as code", "name it")


def _abbreviates(long: tuple[str, ...], option: str) -> str | None:
    return next((one for one in long if len(option) > 2 and one.startswith(option)), None)


def _bundle(options: Options, word: Word) -> list[tuple[str, str]]:
    """Return what the first word of `tar czf` without a dash takes: a word behind for each letter with a value."""
    letters = word.static or ""
    if not letters.isalpha():
        return []
    kinds = [(letter, _kind(options, letter)) for letter in letters]
    # `x` alone takes nothing, and stays an ordinary word.
    return [(f"-{letter}", kind) for letter, kind in kinds if kind]


def _kind(options: Options, letter: str) -> str:
    return _COMMAND if letter in options.runs else _VALUE if letter in options.valued else ""


def _opens(options: Options, word: Word) -> list[tuple[str, str]]:
    """Return the option of a constant word whose value is the next word."""
    text = word.static if word.static is not None else ""
    if text.startswith("--"):
        if runs := _abbreviates(options.runs_long, text):
            return [(runs, _COMMAND)]
        return [(text, _VALUE)] if text in options.valued_long else []
    if not text.startswith("-"):
        return []
    for at, letter in enumerate(text[1:], 1):
        if kind := _kind(options, letter):
            return [(f"-{letter}", kind)] if at == len(text) - 1 else []
    return []


def _glued(taint: Taint, name: str, options: Options, word: Word, bare: bool) -> None:
    """Refuse a value that goes on an option: `--to-command={x}`, `-I{x}`, `-cz{x}`."""
    if word.head.startswith("--"):
        option, equals, _ = word.head.partition("=")
        if runs := _abbreviates(options.runs_long, option):
            raise _runs(taint, name, runs, word)
        if equals or bare:
            return
    else:
        for letter in word.head[1:]:
            kind = _kind(options, letter)
            if kind == _COMMAND:
                raise _runs(taint, name, f"-{letter}", word)
            if kind == _VALUE:
                return
        if bare:
            return
    what = f"{taint.what(word)} may bring options of '{name}' that run commands"
    raise Refusal(word.line, what, "give the value a word of its own, or write --option=VALUE")


def check_git(taint: Taint, rest: Words, stdin: bool) -> Iterator[Command]:
    """Refuse a value in what git runs: by its global options, its subcommand and that one's options."""
    at = 0
    while at < len(rest) and (rest[at].head.startswith("-") or taint.tainted(rest[at])):
        takes = rest[at].static in ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env")
        _walk(taint, "git", GIT_GLOBAL, rest[at : at + 1 + takes])
        at += 1 + takes
    if at >= len(rest):
        return
    subcommand, behind = rest[at].static, rest[at + 1 :]
    value = next((word for word in behind if taint.tainted(word)), None)
    texts = [word.static for word in behind]
    starts = subcommand == "bisect" and "run" in texts
    if value is not None and (
        subcommand in GIT_RUNS
        or starts
        or (subcommand == "submodule" and "foreach" in texts)
        or (subcommand == "remote" and "update" in texts)
        or (subcommand == "config" and not any((text or "").startswith(("user.", "author.")) for text in texts))
    ):
        what = f"{taint.what(value)} is given to 'git {subcommand}', which runs commands"
        raise Refusal(value.line, what, "give it to a script in env=")
    if starts:
        yield Command(behind[texts.index("run") + 1 :], stdin, alone=False)
    if subcommand in GIT:
        _walk(taint, f"git {subcommand}", GIT[subcommand], behind)
