"""The hooks of brain-llm; nothing is imported before a hook is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brain_core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer
    from pydantic import BaseModel

    from brain_core import Run, Step, Tables
    from brain_llm.settings import LLMSettings

BRAIN_COMMANDS = {"llm": "See what models are asked, and whether they answer."}


@hookimpl
def brain_step_types() -> list[type[Step]]:
    from brain_llm.step import LLMStep

    return [LLMStep]


@hookimpl
def brain_settings() -> type[BaseModel]:
    from brain_llm.settings import LLMSettings

    return LLMSettings


@hookimpl
def brain_migrations() -> Tables:
    from pathlib import Path

    from brain_core import Tables

    here = Path(__file__).parent
    return Tables(schema="brain_llm", migrations=here / "migrations", statements=here / "sql")


@hookimpl
async def brain_run_facts(run: Run, query: Any) -> Mapping[str, Any]:
    from brain_llm.usage import facts_of

    return await facts_of(run.id, query)


@hookimpl
def brain_commands(app: typer.Typer, settings: LLMSettings) -> None:
    from brain_llm.commands import add_to

    add_to(app, settings)
