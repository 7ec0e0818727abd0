"""`brain daemon`: fire what is due and run what is queued, until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from brain_core.cli.daemon_options import Concurrency, Grace, LogFormat

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.service import Service

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def daemon(
    concurrency: Concurrency = None,
    grace: Grace = None,
    log_format: LogFormat = None,
) -> None:
    """Fire what is due and run what is queued, until SIGTERM or Ctrl-C.

    The first one lets what runs finish and starts nothing new; the second ends what runs and records it as interrupted.
    Any number of daemons may share one database. The log goes to standard error.
    """
    be_daemon(concurrency=concurrency, grace=grace, log_format=log_format)


def be_daemon(
    *,
    concurrency: int | None,
    grace: float | None,
    log_format: str | None,
    serve: Callable[[Brain], Sequence[Service]] | None = None,
) -> None:
    """Be a daemon until told to stop; with `serve` one that serves that, and fires nothing."""
    from brain_core.app import Brain
    from brain_core.app.daemon import new_spawner, run_daemon
    from brain_core.cli.daemon_log import write_log
    from brain_core.cli.session import load

    overrides = {} if log_format is None else {"log_format": log_format}
    settings, plugins = load(overrides)
    plugins.ready()
    spawner = new_spawner()
    write_log(settings.settings.log_format)

    async def whole() -> None:
        with _stoppable() as stopped:
            try:
                async with Brain.open(settings, plugins) as brain:
                    runs = concurrency or brain.settings.concurrency
                    await run_daemon(brain, spawner, concurrency=runs, grace=grace, serve=serve)
            except asyncio.CancelledError:
                if not stopped:
                    raise
            finally:
                await spawner.close()

    asyncio.run(whole())


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Let a signal end this task until the daemon runs, which hears them itself: a start may wait for a database.

    Yields where the signal is noted.
    """
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    stopped: list[int] = []

    def stop(number: int) -> None:
        # Once: what it has begun is closed in good order.
        if starting is not None and not stopped:
            stopped.append(number)
            # A connection that is given up while it is made leaves a failed future behind, which nobody asks for.
            loop.set_exception_handler(lambda *_: None)
            starting.cancel()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each)
    yield stopped
