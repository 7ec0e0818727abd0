"""docs/reference/llm.md and database.md against the code: fields, settings, providers, columns, limits, errors."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from brain_llm import LLMStep, asking, call, endpoint, records, schema, step, wire
from brain_llm.settings import LLMSettings, NamedModel
from pydantic import BaseModel

from .scripted import MODEL
from .test_faults import CASES

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
TEXT = (REFERENCE / "llm.md").read_text()


def _rows(text: str, head: str) -> list[list[str]]:
    lines = text.partition(f"| {head} |")[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


def _defaults(model: type[BaseModel], write: Any) -> dict[str, str]:
    fields = model.model_fields.items()
    return {
        name: "" if info.is_required() else write(info.get_default(call_default_factory=True)) for name, info in fields
    }


@pytest.mark.parametrize(
    ("head", "model", "write"),
    [("field", LLMStep, repr), ("setting", LLMSettings, json.dumps), ("setting of a model", NamedModel, json.dumps)],
)
def test_every_field_is_documented_with_its_default(head: str, model: type[BaseModel], write: Any) -> None:
    assert {row[0]: row[1] for row in _rows(TEXT, head)} == _defaults(model, write)


def test_every_provider_is_documented_with_its_key() -> None:
    rows = {row[0].partition("`")[0]: row[1] for row in _rows(TEXT, "provider")}
    assert rows == {name: provider.key for name, provider in endpoint.PROVIDERS.items()}


def test_the_columns_of_the_view_are_documented() -> None:
    sql = "\n".join(
        file.read_text() for file in sorted((Path(inspect.getfile(LLMStep)).parent / "migrations").iterdir())
    )
    columns = re.findall(r"VIEW brain_v1\.llm_calls AS\s+SELECT (.*?)\s+FROM", sql, flags=re.DOTALL)[-1]
    names = [column.split()[-1].rpartition(".")[2] for column in columns.split(",")]
    section = (REFERENCE / "database.md").read_text().partition("## brain_v1.llm_calls")[2].partition("\n## ")[0]
    assert [row[0] for row in _rows(section, "column")] == names


def test_limits_are_those_of_the_code() -> None:
    for number in (step.MAX_PROMPT, call.MAX_ANSWER, records.MAX_TEXT, schema.MAX_SCHEMA):
        assert f"{number:,} characters" in TEXT
    assert f"{asking.MAX_KEPT:,} characters" in TEXT
    assert f"{wire.MAX_BODY >> 20} MiB, {wire.MAX_LINE >> 20} MiB without a line end" in TEXT
    assert f"one by one | {records.MAX_TRIED} |" in TEXT
    assert f"{asking.LONGEST_PAUSE:g} s at most" in TEXT


def test_every_error_that_is_tried_begins_as_documented() -> None:
    told = [begin.strip("` ") for row in _rows(TEXT, "what happened") for begin in row[1].split("`, `")]
    assert len(told) > 25
    beginnings = [begin.replace("NAME", MODEL) for begin in told]
    for case in CASES:
        assert any(case.line.startswith(begin) for begin in beginnings), case.line
