"""What the commands of plugins use (`brain_commands`): the database that is configured, and the output of `brain`.

Data goes to stdout (`emit`, `table`, `print_json`), talk to stderr (`note`). Raise a BrainError for what is expected
to go wrong: `brain` prints its line and ends with 1, with 2 for a UsageError, with 3 when the database cannot be used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from brain_core.cli.daemon_options import Concurrency, Grace, LogFormat
from brain_core.cli.output import (
    duration,
    emit,
    is_terminal,
    moment,
    note,
    number,
    one_line,
    print_json,
    shorten,
    status,
    stdout,
    style,
    table,
    visible,
)
from brain_core.cli.values import read_since, read_until
from brain_core.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from brain_core.app import Brain
    from brain_core.service import Service
    from brain_core.tables import Query

__all__ = [
    "Concurrency",
    "Grace",
    "LogFormat",
    "UsageError",
    "duration",
    "emit",
    "is_terminal",
    "moment",
    "note",
    "number",
    "one_line",
    "print_json",
    "read_since",
    "read_until",
    "run_service",
    "run_with_brain",
    "run_with_query",
    "run_with_query_at",
    "shorten",
    "status",
    "stdout",
    "style",
    "table",
    "visible",
]

T = TypeVar("T")


def run_service(
    services: Callable[[Brain], Sequence[Service]],
    *,
    concurrency: int | None = None,
    grace: float | None = None,
    log_format: str | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, with a worker that runs what is queued; nothing is fired, for that is a daemon's.

    `services` is called with the open brain. The rest is as in `brain daemon`, its options and the log included, but
    that a service that does not start ends it, whatever it raises.
    """
    from brain_core.cli.daemon import be_daemon

    be_daemon(concurrency=concurrency, grace=grace, log_format=log_format, serve=services)


def run_with_brain(work: Callable[[Brain], Awaitable[T]]) -> T:
    """Open the configured brain, its tables and those of plugins up to date, do the work and return its answer.

    What it raises comes out when everything is closed.
    """
    from brain_core.cli.session import with_brain

    async def whole(brain: Brain) -> T:
        await brain.tables.ready()
        return await work(brain)

    return with_brain(whole)


def run_with_query(work: Callable[[Query], Awaitable[T]]) -> T:
    """Open the configured database, bring it and the tables of plugins up to date, do the work and return its answer.

    `work` is given what `ctx.query` is to a step. What it raises comes out when everything is closed.
    """

    async def timeless(query: Query, now: datetime) -> T:
        return await work(query)

    return run_with_query_at(timeless)


def run_with_query_at(work: Callable[[Query, datetime], Awaitable[T]]) -> T:
    """Do the same with work that is also given what is now by the database's clock, as `read_since` wants it."""

    async def asked(brain: Brain) -> T:
        return await work(brain.tables.query(), await brain.clock())

    return run_with_brain(asked)
