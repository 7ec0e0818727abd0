"""`brain serve`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brain_core.commands import Concurrency, Grace, LogFormat, UsageError, run_service
from brain_http_api.settings import HttpApiSettings

if TYPE_CHECKING:
    from brain_core import Brain, Service


def add_to(app: typer.Typer, settings: HttpApiSettings) -> None:
    """Add the command to an app."""

    @app.command("serve")
    def serve(
        host: Annotated[
            str | None, typer.Option("--host", metavar="ADDRESS", help="Where it listens (setting host).")
        ] = None,
        port: Annotated[
            int | None, typer.Option("--port", min=0, max=65_535, help="The port; 0 takes a free one (setting port).")
        ] = None,
        concurrency: Concurrency = None,
        grace: Grace = None,
        log_format: LogFormat = None,
    ) -> None:
        """Serve the HTTP API until SIGTERM or Ctrl-C, with a worker that runs what is started.

        Nothing is fired: schedules are for `brain daemon`, which serves the API as well. The log goes to standard
        error.
        """
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        _serve(settings.model_copy(update=given), concurrency=concurrency, grace=grace, log_format=log_format)


def _serve(settings: HttpApiSettings, **options: Any) -> None:
    if not settings.enabled:
        raise UsageError(
            "the HTTP API is switched off; set enabled = true under [plugins.http_api] in brain.toml, "
            "or THE_BRAIN_HTTP_API_ENABLED=true"
        )

    def services(brain: Brain) -> Sequence[Service]:
        from brain_http_api.service import HttpService

        return [HttpService(brain, settings)]

    run_service(services, **options)
