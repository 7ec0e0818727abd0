"""ShellStep: a shell command as a step."""

from __future__ import annotations

import re
import signal
from collections import deque
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from brain_core import Step, StepContext, StepFailed, TextTemplate
from brain_shell import environment, process
from brain_shell.binding import (
    MAX_COMMAND,
    VARIABLE,
    CommandMark,
    EnvironmentMark,
    analyse,
    bound,
    placeholders_of,
    split,
    to_bytes,
)
from brain_shell.settings import ShellSettings

_SHELLS = frozenset({"sh", "dash", "bash", "ash", "busybox"})
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN = frozenset(environment.described("", "", "", 0, ""))
MAX_VARIABLE = 131_000
"""Bytes of one environment variable; the kernel takes 131,071 with its name."""
_SHOWN_LINES = 3
_SHOWN_CHARS = 500

MAX_FAILED_OUTPUT = 65_536
"""How many characters of a failed command's standard output are kept: its end."""


class ShellStep(Step):
    """Runs a command in a shell; its standard output, without one trailing newline, is the step's output.

    A value of a placeholder never becomes text of the shell: it travels beside the command and arrives byte for byte in
    every quoting. A command in which that cannot be shown is refused when the file is loaded, with the way to write it;
    `unsafe=True` inserts the values as plain text instead, and whoever controls them controls the machine.
    """

    type_name: ClassVar[str] = "shell"

    command: Annotated[str, CommandMark()]
    stdin: TextTemplate | None = None
    """Text for standard input; without it the command reads an empty one."""
    env: Annotated[dict[str, str], EnvironmentMark()] = Field(default_factory=dict)
    """Further environment variables."""
    cwd: TextTemplate | None = None
    """Where the command runs: the workflow file's folder, or below it, or an absolute path."""
    shell: str = "/bin/sh"
    success_codes: tuple[int, ...] = (0,)
    """Exit codes that are no failure."""
    max_output: int = Field(default=1_048_576, gt=0)
    """Bytes of standard output that are kept; the rest is counted in the detail `output_cut_bytes`."""
    unsafe: bool = False

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if "\0" in self.command or not self.command.strip():
            raise ValueError("command is empty" if "\0" not in self.command else "command holds a NUL character")
        if len(self.command.encode("utf-8", "surrogatepass")) > MAX_COMMAND:
            raise ValueError(f"command is over {MAX_COMMAND:,} bytes; put it into a script file and run that")
        for name in self.env:
            if not _VARIABLE_NAME.fullmatch(name):
                raise ValueError(
                    f"env: '{name[:100]}' is not the name of a variable: a letter or _, then letters, digits, _"
                )
            if name in _OWN or name.startswith((VARIABLE, environment.PRIVATE)):
                raise ValueError(f"env: {name} belongs to brain itself; choose another name")
        if not self.unsafe:
            self._check()
        return self

    def _check(self) -> None:
        tainted = frozenset(name for name, text in self.env.items() if any(EnvironmentMark().find({name: text})))
        for name in sorted(tainted):
            if environment.decides_what_runs(name):
                raise ValueError(
                    f"env: a placeholder stands in {name}, which decides what programs run; choose another name "
                    "(unsafe=True allows it)"
                )
        holes = any(not isinstance(piece, str) for piece in split(self.command))
        stdin = self.stdin is not None and any(EnvironmentMark().find({"": self.stdin}))
        if not (holes or tainted or stdin):
            return
        if Path(self.shell).name not in _SHELLS:
            if not placeholders_of(self.command):
                return
            raise ValueError(
                f"placeholders in a command are safe in sh, dash, bash, ash and busybox, and shell is '{self.shell}'; "
                "give the values in env= or in stdin= (unsafe=True would insert them as plain text)"
            )
        # A value in env= or stdin= alone can become code too: `sh` reads one, `eval "$V"` the other.
        analyse(self.command, tainted, stdin)

    async def run(self, ctx: StepContext) -> str:
        last: deque[str] = deque(maxlen=50)

        def errors(text: str) -> None:
            last.append(text[-_SHOWN_CHARS * 2 :])
            ctx.log(text)

        cwd = ctx.folder if self.cwd is None else ctx.folder / self.cwd
        if not cwd.is_dir():
            raise StepFailed(f"cwd '{cwd}' is not a folder; make it in an earlier step or correct cwd=")
        stdin = None if self.stdin is None else to_bytes(self.stdin, "stdin", nul=True)
        with bound(self.command, unsafe=self.unsafe) as (script, values):
            env = {**self._environment(ctx), **values}
            try:
                outcome = await process.run(
                    self._argv(script),
                    env=env,
                    cwd=cwd,
                    stdin=stdin,
                    limit=self.max_output,
                    stdout=process.Stream(ctx.live),
                    stderr=process.Stream(errors),
                )
            except OSError as error:
                raise StepFailed(self._not_started(error)) from None
        ctx.details["exit_code"] = outcome.code
        kept = _whole(outcome)
        if outcome.total > len(kept):
            ctx.details["output_cut_bytes"] = outcome.total - len(kept)
        text = process.visible(kept.decode("utf-8", "backslashreplace"))
        if outcome.code not in self.success_codes:
            # Many programs say on standard output what is wrong; a failed step has no output, so it is kept beside it.
            if text:
                ctx.details["stdout"] = text[-MAX_FAILED_OUTPUT:]
            raise StepFailed(_failure(outcome.code, "".join(last) or text[-MAX_FAILED_OUTPUT:]))
        return text if outcome.total > len(kept) else text.removesuffix("\n")

    def _environment(self, ctx: StepContext) -> dict[bytes, bytes]:
        env = environment.inherited(ctx.settings(ShellSettings).pass_env)
        own = environment.described(ctx.run_id, ctx.workflow, ctx.step, ctx.attempt, ctx.idempotency_key)
        for name, value in {**self.env, **own}.items():
            data = to_bytes(value, f"the environment variable {name}")
            if len(data) + len(name) > MAX_VARIABLE:
                raise StepFailed(
                    f"the environment variable {name} has {len(data):,} bytes and the system takes {MAX_VARIABLE:,}; "
                    "use stdin= for it"
                )
            env[name.encode()] = data
        return env

    def _argv(self, script: str) -> list[bytes]:
        # A script that begins with - or + would be taken for an option.
        script = " " + script if script[:1] in ("-", "+") else script
        applet = ["sh"] if Path(self.shell).name == "busybox" else []
        return [to_bytes(word, "the command") for word in (self.shell, *applet, "-c", script)]

    def _not_started(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            return f"shell '{self.shell}' cannot be started: {error.strerror}; install it or correct shell="
        return f"the command cannot be started: {error.strerror}; large values go into stdin="


def _whole(outcome: process.Outcome) -> bytes:
    """Return what was kept, without a character that the limit cut in half."""
    data = outcome.output
    if outcome.total == len(data):
        return data
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if size > back else data
        if byte < 0x80:
            return data
    return data


def _failure(code: int, errors: str) -> str:
    if code < 0:
        what = f"ended by {_signal_name(-code)}"
    elif 128 < code <= 128 + signal.NSIG and _signal_name(code - 128).startswith("SIG"):
        what = f"exit code {code} ({_signal_name(code - 128)})"
    else:
        what = f"exit code {code}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    shown = " | ".join(lines[-_SHOWN_LINES:])
    if len(shown) > _SHOWN_CHARS:
        shown = "…" + shown[-_SHOWN_CHARS:]
    return f"{what}: {shown}" if shown else what


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
