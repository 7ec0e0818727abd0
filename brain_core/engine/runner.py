"""The interface behind which workflow code runs, and the messages that cross it.

The engine never touches a step object: it sends a `StepRequest` and gets a `StepReply`. Both are plain values, so that
the code may live in this process (`LocalRunner`), in a thread of it (`ThreadRunner`) or in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from brain_core.placeholders import NOTHING, Json, Previous
from brain_core.run import PlannedStep, Run

MAX_OUTPUT = 16 * 1024 * 1024
"""The largest output of a step where nothing else is set."""

Ask: TypeAlias = Callable[[str, str], Coroutine[Any, Any, str]]
"""Runs a plugin's statement by its name with a JSON object and returns the rows as a JSON list, both as text."""


class Plan(NamedTuple):
    """A loaded workflow as the engine sees it: what would run, from which source, and what it needs to know."""

    workflow: str
    file: str
    digest: str
    sources: Mapping[str, str]
    steps: tuple[PlannedStep, ...]
    description: str = ""
    reads: tuple[frozenset[str], ...] = ()
    """For each step the first names of its placeholders: earlier steps, and reserved ones such as `previous`."""
    has_on_finished: bool = False
    on_interrupt: Literal["fail", "resume"] = "fail"
    schedule: tuple[str, Mapping[str, Json]] | None = None
    """The workflow's own trigger: the name of its type and its configuration."""
    inputs: Mapping[str, Mapping[str, Json]] = NOTHING
    """For each declared input its `type`, whether it is `required`, and its `default`."""

    @property
    def reads_previous(self) -> bool:
        return any("previous" in names for names in self.reads)


class StepRequest(NamedTuple):
    """Run one attempt of the step at `position` (from 0) with the values that its placeholders read.

    `outputs` are those of earlier steps, as JSON text; `facts` is what `{run.…}` reads.
    """

    run_id: str
    position: int
    attempt: int
    outputs: Mapping[str, str] = NOTHING
    inputs: Mapping[str, Json] = NOTHING
    facts: Mapping[str, Json] = NOTHING
    previous: Previous | None = None
    trigger: Mapping[str, Json] | None = None


class StepReply(NamedTuple):
    """How the attempt ended. `output` (None unless it succeeded) and `details` are JSON text as the store keeps it."""

    status: Literal["success", "failed"]
    output: str | None = None
    error: str | None = None
    log: str = ""
    details: str = "{}"


class Runner(Protocol):
    """Where workflow code runs. One runner holds one workflow file."""

    async def load(self, file: str | Path) -> Plan:
        """Load a workflow file; WorkflowFileError says what is wrong with it, a time limit included."""
        ...

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        """Check inputs against the loaded workflow and fill in defaults; InputError names the first bad one."""
        ...

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        """Run one step and return how it ended; whatever the step raises is in the reply.

        `ask` is what `ctx.query` reaches; it is called in the loop that awaits this, and ended with the step.

        RunnerDied when the process that ran it has ended.

        Cancelling the call ends the step (its processes too) before CancelledError comes out.
        """
        ...

    async def call_on_finished(self, run: Run) -> None:
        """Call the workflow's `on_finished`; PluginError says what it raised. Cancelling does not wait for it."""
        ...

    async def close(self) -> None:
        """Let go of the workflow; a plain step that still runs is left behind in its thread."""
        ...
