"""The hooks. Each imports what it needs when it is called, so that finding the plugin costs next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    import typer
    from pydantic import BaseModel

    from brain_core import Run, Step
    from brain_plugin_hello.step import HelloSettings


@hookimpl
def brain_step_types() -> list[type[Step]]:
    from brain_plugin_hello.step import Hello

    return [Hello]


@hookimpl
def brain_settings() -> type[BaseModel]:
    from brain_plugin_hello.step import HelloSettings

    return HelloSettings


@hookimpl
def brain_commands(app: typer.Typer) -> None:
    from brain_plugin_hello.command import hello

    app.command("hello")(hello)


@hookimpl
def brain_run_finished(run: Run, settings: HelloSettings) -> None:
    # At least once: after a crash the same run may come again, so whoever reads the file goes by the run's id.
    if settings.log_file is not None:
        with open(settings.log_file, "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be one import more
            file.write(f"{run.id} {run.workflow} {run.status}\n")
