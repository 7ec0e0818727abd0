"""The options of commands that are daemons: `brain daemon`, and those of plugins that serve."""

from __future__ import annotations

from typing import Annotated

import typer

Concurrency = Annotated[
    int | None, typer.Option("--concurrency", "-c", min=1, help="How many runs at once (setting concurrency).")
]
Grace = Annotated[
    float | None,
    typer.Option(
        "--grace", metavar="SECONDS", min=0, help="How long a stop waits for what runs; no bound unless given."
    ),
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", metavar="text|json", help="How the log is written (setting log_format).")
]
