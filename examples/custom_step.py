"""Step types of your own, in the workflow file itself: no plugin is needed.

brain run examples/custom_step.py
brain run examples/custom_step.py --input text="one two  three"
"""

import asyncio

from brain_core import Step, StepContext, StepFailed, Template, TextTemplate, Workflow


class CountWords(Step):
    """The fields are the step's arguments; what `run` returns is its output, here a dict that JSON can hold."""

    text: TextTemplate
    at_least: int = 1

    def run(self, ctx: StepContext) -> dict[str, int]:
        words = self.text.split()
        ctx.log(f"looked at {len(self.text)} characters\n")
        if len(words) < self.at_least:
            raise StepFailed(f"the text has {len(words)} words; at least {self.at_least} are needed")
        return {"words": len(words), "longest": max(map(len, words))}


class Repeat(Step):
    """An async `run` is awaited. `times: Template` keeps the type of a value: {count.words} brings a number."""

    text: TextTemplate
    times: Template

    async def run(self, ctx: StepContext) -> list[str]:
        lines = []
        for number in range(1, self.times + 1):
            await asyncio.sleep(0)
            lines.append(f"{number}. {self.text}")
        return lines


workflow = Workflow(
    name="custom-step",
    inputs={"text": "step types are plain classes"},
    steps=[
        CountWords(name="count", text="{inputs.text}"),
        Repeat(name="repeat", text="{inputs.text}", times="{count.words}"),
        CountWords(name="again", text="the last line was: {repeat.0}", at_least=4),
    ],
)
