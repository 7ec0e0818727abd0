"""`brain db`: start, stop and reach the embedded PostgreSQL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.cli import output
from brain_core.errors import DatabaseUnreachable, UsageError

if TYPE_CHECKING:
    from brain_core.embedded import EmbeddedServer

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print its status as JSON.")]


@app.callback()
def db() -> None:
    """Start, stop and reach the embedded PostgreSQL."""


@app.command()
def start(as_json: AsJson = False) -> None:
    """Start the embedded PostgreSQL. Every command that needs it does so by itself."""
    server = _own_server("start")
    server.ensure()
    _show(_status_of(server), as_json)


@app.command()
def stop(as_json: AsJson = False) -> None:
    """Stop the embedded PostgreSQL, also when other processes use it: they start it again when they need it."""
    server = _own_server("stop")
    users = server.status().users
    stopped = server.stop()
    if stopped and users:
        output.note(f"brain: note: {users} other {'process was' if users == 1 else 'processes were'} using it")
    if as_json:
        output.print_json(_status_of(server))
    else:
        output.emit("stopped" if stopped else "it was not running")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether the embedded PostgreSQL runs, and where; nothing is started."""
    from brain_core.config import split_password

    configured, server, _ = _database()
    if configured is not None:
        _show({"embedded": False, "running": None, "url": split_password(configured)[0]}, as_json)
    else:
        _show(_status_of(server), as_json)


@app.command()
def url() -> None:
    """Print a URL that any PostgreSQL client takes, without a password; the embedded PostgreSQL is started."""
    from brain_core.config import split_password

    configured, server, _ = _database()
    output.emit(server.ensure() if configured is None else split_password(configured)[0])


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; what follows is handed to psql, such as -c 'SELECT 1'."""
    from brain_core.config import split_password

    configured, server, _ = _database()
    if configured is None:
        # psql takes the place of this process and keeps its lock: the server stays up while it runs.
        target = server.ensure()
        server.hand_on()
    else:
        target, password = split_password(configured)
        if password is not None:
            os.environ["PGPASSWORD"] = password  # in the arguments every user of the machine could read it
    program = str(server.psql_path)
    output.finish()
    try:
        os.execv(program, [program, "-d", target, *context.args])  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        raise DatabaseUnreachable(f"cannot run {program}: {error.strerror}") from error


def _database() -> tuple[str | None, EmbeddedServer, str]:
    """Return the URL of the configured database, if there is one, the embedded server, and where the URL came from."""
    from brain_core.config import load_settings
    from brain_core.embedded import EmbeddedServer

    loaded = load_settings()
    settings = loaded.settings
    configured = None if settings.database_url is None else settings.database_url.get_secret_value()
    return configured, EmbeddedServer(settings.home, settings.embedded_idle), loaded.origin("database_url")


def _own_server(verb: str) -> EmbeddedServer:
    from brain_core.config import split_password

    configured, server, origin = _database()
    if configured is not None:
        shown = split_password(configured)[0]
        unset = f"unset database_url (from {origin}) to use our own"
        raise UsageError(f"the configured database ({shown}) is not ours to {verb}; {unset}")
    return server


def _status_of(server: EmbeddedServer) -> dict[str, Any]:
    found = server.status()
    return {
        "embedded": True,
        "running": found.running,
        "pid": found.pid,
        "url": found.url,
        "data_directory": str(found.data_directory),
        "version": found.version,
        "users": found.users,
    }


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    for name, value in found.items():
        shown = "-" if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
        output.emit(f"{name.replace('_', ' '):<15} {output.one_line(shown)}")
