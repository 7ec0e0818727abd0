"""`brain daemon`: fire what is due and run what is queued, until told to stop."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def daemon(
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="How many runs at once (setting concurrency).")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace", metavar="SECONDS", min=0, help="How long a stop waits for what runs; no bound unless given."
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option("--log-format", metavar="text|json", help="How the log is written (setting log_format)."),
    ] = None,
) -> None:
    """Fire what is due and run what is queued, until SIGTERM or Ctrl-C.

    The first one lets what runs finish and starts nothing new; the second ends what runs and records it as interrupted.
    Any number of daemons may share one database. The log goes to standard error.
    """
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
            # Until the daemon runs, which hears them itself: a start may wait for a database.
            loop.add_signal_handler(each, stop, each)
        try:
            async with Brain.open(settings, plugins) as brain:
                await run_daemon(brain, spawner, concurrency=concurrency or brain.settings.concurrency, grace=grace)
        except asyncio.CancelledError:
            if not stopped:
                raise
        finally:
            await spawner.close()

    asyncio.run(whole())
