"""Against a real, small model behind llama.cpp's own server. At temperature 0 it says the same each time."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from .conftest import ROOT, Lab

pytestmark = pytest.mark.llm_real

DIGEST = ROOT / "examples" / "daily_digest.py"
DAYS = [
    "- Backup of the file server finished at 02:10, 41 GB.\n- Ann fixed the login page; it is live.\n",
    "- Backup of the file server failed at 02:12: disk full.\n- Ben ordered two new disks.\n",
]


class Verdict(BaseModel):
    label: Literal["fruit", "animal"]
    reason: str = Field(max_length=60)


@pytest.fixture
def real(lab: Lab, real_model) -> Lab:
    lab.defaults |= {"provider_url": real_model.url, "model": real_model.model, "temperature": 0, "max_tokens": 200}
    return lab


async def test_text_and_what_is_known_of_the_call(real: Lab) -> None:
    asked = await real.ask(prompt="Say one short sentence about bread.", system="You are a baker.")
    assert asked.status == "success", asked.error
    assert asked.output.strip()
    (row,) = asked.calls
    assert (row["status"], row["finish_reason"], row["attempts"]) == ("success", "stop", 1)
    assert row["answer"] == asked.output
    assert row["input_tokens"] > 5
    assert row["output_tokens"] > 0
    assert 0 < row["first_token_ms"] <= row["latency_ms"]
    assert row["cost"] is None


async def test_typed(real: Lab) -> None:
    asked = await real.ask(prompt="Is an apple a fruit or an animal?", output=Verdict)
    assert asked.status == "success", asked.error
    assert Verdict.model_validate(asked.output)


async def test_cut_off_by_length(real: Lab) -> None:
    asked = await real.ask(prompt="Count from one to one hundred in words.", max_tokens=5)
    assert asked.status == "failed"
    assert asked.calls[0]["finish_reason"] == "length"


async def test_a_prompt_that_is_too_long(real: Lab) -> None:
    asked = await real.ask(prompt="word " * 20_000)
    assert asked.status == "failed"
    assert "the prompt is too long for model" in asked.error


def test_a_digest_on_two_days(real_model, here, lab: Lab, monkeypatch, tmp_path: Path) -> None:
    """On the first day there is no yesterday; on the second the first day's digest is in the prompt."""
    for name, value in real_model.environment.items():
        monkeypatch.setenv(name, value)
    notes = tmp_path / "notes.txt"
    digests = []
    for text in DAYS:
        notes.write_text(text)
        code, out, err = here("run", str(DIGEST), "-i", f"notes={notes}", "--json")
        assert code == 0, err
        run = json.loads(out)
        outputs = {step["name"]: step["output"] for step in run["steps"]}
        assert outputs["notes"] == text.strip()
        assert outputs["page"].endswith(outputs["digest"].rstrip("\n"))
        digests.append(outputs["digest"])
        shown = json.loads(here("show", run["id"], "--json")[1])
        assert shown["plugins"]["llm"]["calls"] == 1
    assert digests[0] != digests[1]
    prompts = [row["prompt"] for row in asyncio.run(lab.rows())]
    assert prompts[0].endswith("(Yesterday it was: nothing)")
    assert prompts[1].endswith(f"(Yesterday it was: {digests[0]})")


def test_the_one_command_that_the_example_documents(environment, tmp_path: Path) -> None:
    told = ast.get_docstring(ast.parse(DIGEST.read_text())) or ""
    line = re.search(r"^ +(uv run --group llm-real python .*)$", told, re.MULTILINE)[1]
    words = shlex.split(line.removeprefix("uv run --group llm-real python "))
    words[words.index("brain") : words.index("brain") + 1] = [sys.executable, "-m", "brain_core"]
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Digest of " in done.stderr
    assert done.stdout.startswith("success  daily_digest")


def test_check_says_that_it_answers(real_model, here, monkeypatch) -> None:
    for name, value in real_model.environment.items():
        monkeypatch.setenv(name, value)
    code, out, err = here("llm", "check")
    assert code == 0, err
    assert "smollm2" in out
