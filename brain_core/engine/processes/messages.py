"""What daemon and runner tell each other, as JSON: plans, requests, replies, finished runs."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, NoReturn

from brain_core import errors
from brain_core.engine.processes.link import Message
from brain_core.engine.runner import Plan, StepReply, StepRequest
from brain_core.errors import BrainError, WorkflowFileError
from brain_core.placeholders import Previous
from brain_core.run import PlannedStep, Run, StepRun


def from_plan(plan: Plan) -> Message:
    return {
        **{name: getattr(plan, name) for name in _PLAIN},
        "sources": dict(plan.sources),
        "steps": [[step.name, step.type] for step in plan.steps],
        "reads": [sorted(names) for names in plan.reads],
        "inputs": {name: dict(facts) for name, facts in plan.inputs.items()},
    }


_PLAIN = ("workflow", "file", "digest", "description", "has_on_finished", "on_interrupt", "schedule")


def to_plan(message: Message) -> Plan:
    return Plan(
        **{name: message[name] for name in _PLAIN if name != "schedule"},
        schedule=None if (schedule := message["schedule"]) is None else (schedule[0], schedule[1]),
        sources=message["sources"],
        steps=tuple(PlannedStep(name, kind) for name, kind in message["steps"]),
        reads=tuple(frozenset(names) for names in message["reads"]),
        inputs=message["inputs"],
    )


def from_request(request: StepRequest) -> Message:
    message: Message = {"op": "step", "run": request.run_id, "at": request.position, "try": request.attempt}
    if request.outputs:
        message["outputs"] = dict(request.outputs)
    if request.inputs:
        message["inputs"] = dict(request.inputs)
    if request.facts:
        message["facts"] = dict(request.facts)
    if request.previous is not None:
        message["previous"] = [request.previous.run_id, dict(request.previous.outputs)]
    if request.trigger is not None:
        message["trigger"] = dict(request.trigger)
    return message


def to_request(message: Message) -> StepRequest:
    previous = message.get("previous")
    return StepRequest(
        message["run"],
        message["at"],
        message["try"],
        message.get("outputs", {}),
        message.get("inputs", {}),
        message.get("facts", {}),
        None if previous is None else Previous(previous[0], previous[1]),
        message.get("trigger"),
    )


def from_reply(reply: StepReply) -> Message:
    return {"reply": [reply.status, reply.output, reply.error, reply.log, reply.details]}


def to_reply(message: Message) -> StepReply:
    return StepReply(*message["reply"])


_TIMES = frozenset({"created_at", "started_at", "ended_at"})


def from_run(run: Run) -> Message:
    found = _plain(run)
    found["planned"] = [[step.name, step.type] for step in run.planned]
    found["steps"] = [_plain(step) for step in run.steps]
    return found


def to_run(message: Message) -> Run:
    values = _timed(message)
    values["planned"] = tuple(PlannedStep(name, kind) for name, kind in message["planned"])
    values["steps"] = tuple(StepRun(**_timed(step)) for step in message["steps"])
    return Run(**values)


def _plain(value: Run | StepRun) -> dict[str, Any]:
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in found.items()}


def _timed(message: Message) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in _TIMES and value is not None else value
        for name, value in message.items()
    }


def facts_of(error: BrainError) -> list[Any]:
    """Return an expected error for `raise_from` at the other end."""
    if isinstance(error, WorkflowFileError):
        return ["WorkflowFileError", error.message, error.file, error.line]
    return [type(error).__name__, str(error)]


def raise_from(facts: list[Any]) -> NoReturn:
    """Raise what `facts_of` has told of at the other end."""
    name, text = facts[0], facts[1]
    if name == "WorkflowFileError":
        raise WorkflowFileError(text, file=facts[2], line=facts[3])
    kind = getattr(errors, name, BrainError) if isinstance(name, str) else BrainError
    raise kind(text) if isinstance(kind, type) and issubclass(kind, BrainError) else BrainError(text)
