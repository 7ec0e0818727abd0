"""The `brain` command: a table of commands, each loaded when it is used, and what becomes of errors.

`brain --help` imports none of the commands. Plugins are asked for commands only by the help, by completion and by a
name that the table does not hold.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from brain_core import __version__
from brain_core.cli import output
from brain_core.errors import BrainError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("brain_core.cli.run", "Run a workflow file and record the run."),
    "history": ("brain_core.cli.history", "List runs, the newest first."),
    "show": ("brain_core.cli.show", "Show one run: its steps, outputs and errors."),
    "logs": ("brain_core.cli.logs", "Show what a run says, also while it goes on."),
    "cancel": ("brain_core.cli.cancel", "End a run, wherever it runs."),
    "resume-run": ("brain_core.cli.resume_run", "Let a parked run go on."),
    "validate": ("brain_core.cli.validate", "Check workflow files without running them."),
    "new": ("brain_core.cli.new", "Write a starter file."),
    "register": ("brain_core.cli.register", "Make a workflow file run by itself, by a schedule."),
    "list": ("brain_core.cli.list", "List schedules: last run, next instant, what is overdue."),
    "trigger": ("brain_core.cli.trigger", "Start a run of what is registered, now."),
    "pause": ("brain_core.cli.pause", "Keep a schedule from starting runs."),
    "resume": ("brain_core.cli.resume", "Let a paused schedule start runs again."),
    "edit": ("brain_core.cli.edit", "Change a schedule from now on."),
    "unregister": ("brain_core.cli.unregister", "End a schedule; its history stays."),
    "fires": ("brain_core.cli.fires", "List what became of each instant of a schedule."),
    "forecast": ("brain_core.cli.forecast", "Look ahead: what will be due, and what stands out."),
    "audit": ("brain_core.cli.audit", "Look for due instants without an outcome."),
    "watch": ("brain_core.cli.watch", "Check from outside that schedules do what they should."),
    "daemon": ("brain_core.cli.daemon", "Fire what is due and run what is queued, until stopped."),
    "daemon-status": ("brain_core.cli.daemon_status", "Is there a daemon, and how is it?"),
    "status": ("brain_core.cli.status", "Show database, workers and counts; check the history."),
    "deliveries": ("brain_core.cli.deliveries", "List run-finished hooks that are open or failed; retry them."),
    "prune": ("brain_core.cli.prune", "Delete old runs."),
    "plugins": ("brain_core.cli.plugins", "List plugins and what is wrong with them."),
    "config": ("brain_core.cli.config", "Print every setting and where it came from."),
    "db": ("brain_core.cli.db", "Start, stop and reach the embedded PostgreSQL."),
    "migrate": ("brain_core.cli.migrate", "Bring the database schema up to date."),
}
"""Name → (module with `app`, one line of help). The order is that of the help."""

SECTIONS = {"run": "Runs", "register": "Schedules", "daemon": "Upkeep"}
"""Where a new section of the help begins, and what it is called."""

BUILT_IN = {"cron": "Explain cron expressions."}
"""Commands that built-in plugins bring → one line of help: the help knows them without loading any plugin."""

INTERRUPTED = 130


class LazyGroup(TyperGroup):
    """The root command: knows the table, imports a command's module when it is used, asks plugins last."""

    _of_plugins: dict[str, Any] | None = None

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [*COMMANDS, *BUILT_IN, *self.plugin_help(quiet=ctx.resilient_parsing)]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        if cmd_name not in COMMANDS:
            quiet = ctx is not None and ctx.resilient_parsing
            strict = not quiet and _kind_of_owner(cmd_name) is not None
            built_in = cmd_name in BUILT_IN
            found = (
                self._all_of_plugins(quiet, strict) if built_in else self.plugin_commands(quiet=quiet, strict=strict)
            )
            return found.get(cmd_name)
        module, help_line = COMMANDS[cmd_name]
        command = get_command(import_module(module).app)
        command.name = cmd_name
        command.short_help = help_line
        return command

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        command = self.get_command(ctx, args[0])
        if command is None and (kind := _kind_of_owner(args[0])):
            ctx.fail(f"the command '{args[0]}' is of a {kind} that is not active; see: brain plugins list")
        if command is None and not ctx.resilient_parsing:
            guess = nearest(args[0], self.list_commands(ctx))
            ctx.fail(f"no such command '{output.one_line(args[0])}'{guess}")
        return args[0] if command else None, command, args[1:]

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        sections: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, COMMANDS))
        for name, (_, text) in COMMANDS.items():
            if name in SECTIONS:
                section = sections[SECTIONS[name]] = []
            section.append((name.ljust(width), text))
        sections["Schedules"] += [(name.ljust(width), text) for name, text in BUILT_IN.items()]
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        if found := self.plugin_help():
            with formatter.section("Commands of plugins"):
                formatter.write_dl(list(found.items()))

    def invoke(self, ctx: typer.Context) -> None:  # type: ignore[override]
        # What a command returns is nothing to us; a plugin's must not be taken for an exit code.
        super().invoke(ctx)

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[Any]:  # type: ignore[override]
        # Without this the completion of a command's name would import every command.
        from typer._click.shell_completion import CompletionItem

        known = {**{name: text for name, (_, text) in COMMANDS.items()}, **BUILT_IN}
        known |= self.plugin_help(quiet=True)
        names = [CompletionItem(name, help=text) for name, text in known.items() if name.startswith(incomplete)]
        return names or [
            CompletionItem(option, help=getattr(parameter, "help", None))
            for parameter in self.get_params(ctx)
            for option in getattr(parameter, "opts", [])
            if option.startswith("-") and incomplete.startswith("-") and option.startswith(incomplete)
        ]

    def plugin_help(self, *, quiet: bool = False) -> dict[str, str]:
        """Return the commands that plugins bring with a line of help each; none is loaded where all declare theirs."""
        from brain_core.cli.plugin_commands import declared

        if self._of_plugins is None and (known := declared()) is not None:
            return {name: text for name, text in known.items() if name not in COMMANDS and name not in BUILT_IN}
        found = self.plugin_commands(quiet=quiet)
        return {name: command.get_short_help_str(200) for name, command in found.items()}

    def plugin_commands(self, *, quiet: bool = False, strict: bool = False) -> dict[str, Any]:
        """Return the commands that plugins bring, those of built-in ones left out.

        What fails on the way is said on stderr and leaves the rest; `strict`: settings that keep plugins from being
        loaded are an error, since a command of theirs is wanted. Nothing is loaded when no plugin can bring any.
        """
        from brain_core.cli.plugin_commands import any_has

        if self._of_plugins is None and not any_has("brain_commands"):
            return {}
        return {name: found for name, found in self._all_of_plugins(quiet, strict).items() if name not in BUILT_IN}

    def _all_of_plugins(self, quiet: bool, strict: bool) -> dict[str, Any]:
        if self._of_plugins is None:
            self._of_plugins = {}
            for name, command in _ask_plugins(quiet, strict):
                if name not in COMMANDS:
                    self._of_plugins[name] = command
                elif not quiet:
                    output.note(f"brain: note: a plugin brings a command '{name}'; brain has its own, which stays")
        return self._of_plugins


def _kind_of_owner(name: str) -> str | None:
    """Return what kind of plugin declares a command, None when none does."""
    from brain_core.cli.plugin_commands import declared

    if name in BUILT_IN:
        return "built-in plugin"
    return "plugin" if name in (declared() or ()) else None


def _ask_plugins(quiet: bool, strict: bool) -> list[tuple[str, Any]]:
    from brain_core.cli.plugin_commands import collect

    found, problems = collect(strict=strict)
    if not quiet:
        for problem in problems:
            output.note(f"brain: note: {output.one_line(problem)}")
    return found


def _print_version(wanted: bool) -> None:
    if wanted:
        output.emit(f"brain-core {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    name="brain",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Run workflow files and keep their history in PostgreSQL."""


def main(arguments: list[str] | None = None) -> int:
    """Run `brain` with the given arguments (those of the process unless given) and return its exit code.

    An expected error becomes one line on stderr; anything else is a bug and keeps its traceback.
    """
    output.prepare()
    try:
        code = _dispatch(arguments)
        output.finish()
    except BrainError as error:
        code = _complain(error)
    finally:
        output.release()
    return code


def _complain(error: BrainError) -> int:
    output.note(f"{output.style('brain: error:', 'red', output.stderr())} {output.one_line(str(error))}")
    return error.exit_code


def _dispatch(arguments: list[str] | None) -> int:
    try:
        # Not standalone: the answers to errors are ours. What comes back is a command's result or an exit code.
        result = get_command(app).main(args=arguments, prog_name="brain", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        output.last_word("brain: interrupted")
        return INTERRUPTED
    except SystemExit as stop:
        # Typer ends so when the reader of its help or its completion went away.
        return 0 if isinstance(stop.__context__, BrokenPipeError) else _code_of(stop)


def _usage(error: typer.TyperException) -> int:
    text = _with_value(error).strip()
    if text.startswith("Usage:"):  # a group without a command: the help is the answer
        output.note(text)
        return error.exit_code
    text = output.one_line(" ".join(text.split())).rstrip(".")
    if "unexpected extra argument" in text:
        # Mostly a value that the shell took apart, such as an unquoted cron expression.
        text = f"{output.shorten(text, 120)}; put quotes around a value that holds spaces or '*'"
    context = getattr(error, "ctx", None)
    hint = f"{' See' if text.endswith('?') else '; see'} '{context.command_path} --help'" if context is not None else ""
    output.note(f"{output.style('brain: error:', 'red', output.stderr())} {text[:1].lower()}{text[1:]}{hint}")
    return error.exit_code


def _with_value(error: typer.TyperException) -> str:
    """Return what Typer says; where pydantic has judged a value, that and what it has to be, in plain words."""
    text = error.format_message().replace(": Value error, ", ": ", 1)
    details = getattr(error.__cause__, "errors", None)
    if details is None or ": Input should" not in text:
        return text
    from brain_core.validation import wanted

    first = details()[0]
    option = text.partition(": Input should")[0]
    return f"{option}: {output.shorten(repr(first['input']), 80)} {wanted(first).removeprefix('it ')}"


def _code_of(stop: SystemExit) -> int:
    return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1


if __name__ == "__main__":
    sys.exit(main())
