"""The workflow that the trials run: it notes beside itself what really happens, whatever the database says of it."""

import asyncio
import os
from pathlib import Path
from typing import ClassVar

from brain_core import Step, StepContext, TextTemplate, Workflow

HERE = Path(__file__)
SECONDS = float(HERE.with_suffix(".seconds").read_text())


class Note(Step):
    """Notes its START and its END, each with one O_APPEND write."""

    type_name: ClassVar[str] = "note"

    heard: TextTemplate = "-"

    async def run(self, ctx: StepContext) -> str:
        said = f"{ctx.run_id}:{self.name}:{ctx.attempt}"
        write(f"{ctx.run_id} {self.name} {ctx.attempt} START {self.heard}")
        await asyncio.sleep(SECONDS)
        write(f"{ctx.run_id} {self.name} {ctx.attempt} END {said}")
        return said


def write(line: str) -> None:
    journal = os.open(HERE.with_name("journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, f"{line}\n".encode())
    finally:
        os.close(journal)


workflow = Workflow(
    name=HERE.stem,
    steps=(Note(name="one"), Note(name="two", heard="{one}")),
    on_interrupt="resume" if "resume" in HERE.stem else "fail",
)
