"""An open Brain on a database of the test's own, and schedules that were registered in the past."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from brain_core import Cron
from brain_core.app import Brain
from brain_core.config import load_settings
from brain_core.plugin.manager import PluginManager
from brain_core.store import triggers
from brain_core.store.triggers import NewTrigger, TriggerRow

FLOW = """
from brain_core import FunctionStep, Workflow

def say(who, n):
    return f"{who} {n}"

workflow = Workflow(
    name="flow",
    inputs={"who": "ann", "n": int},
    steps=[FunctionStep(name="say", function=say, args={"who": "{inputs.who}", "n": "{inputs.n}"})],
)
"""


@pytest.fixture
async def brain(database_url: str, tmp_path: Path) -> AsyncIterator[Brain]:
    settings = load_settings({"database_url": database_url, "home": tmp_path / "home"}, start=tmp_path)
    async with Brain.open(settings, PluginManager.load(settings.settings)) as opened:
        yield opened


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    return file


Since = Callable[..., Awaitable[TriggerRow]]


@pytest.fixture
def registered_at(brain: Brain, flow: Path) -> Since:
    """Register a cron schedule as if it had been done at a moment; no daemon has run since."""

    async def register(name: str, at: datetime, cron: str = "*/10 * * * *", **more: Any) -> TriggerRow:
        trigger = Cron(cron, timezone="UTC")
        values: dict[str, Any] = {
            "type": "cron",
            "config": trigger.model_dump(mode="json"),
            "workflow_name": "flow",
            "file": str(flow),
            "host": "",
            "inputs": {"n": 1},
            "planned_steps": [{"name": "say", "type": "function"}],
            "next_due_at": trigger.next_after(at),
        }
        return await triggers.register(brain.db, NewTrigger(name=name, **{**values, **more}), at)

    return register
