"""The hooks. Each imports what it needs when it is called, so that finding the plugin costs next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_core import hookimpl

if TYPE_CHECKING:
    import typer
    from pydantic import BaseModel

    from brain_core import Run, Step


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
def brain_run_finished(run: Run) -> None:
    # At least once: after a crash the same run may come again, so a reader of the file goes by run.id.
    from brain_plugin_hello.finished import note_down

    note_down(run)
