"""The reference against the code: settings and their defaults, kinds of problems, routes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from brain_http_api.app import create_app
from brain_http_api.settings import HttpApiSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "http-api.md").read_text()
PACKAGE = ROOT / "plugins" / "brain_http_api" / "brain_http_api"


def rows(head: str) -> list[list[str]]:
    table = PAGE.partition(f"\n| {head} |")[2].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {row[0].strip("`"): json.loads(row[1].strip("`")) for row in rows("setting")}
    assert documented == HttpApiSettings().model_dump(mode="json")


def test_every_kind_of_problem_is_documented() -> None:
    documented = {row[0].strip("`") for row in rows("type")}
    source = "\n".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    raised = set(re.findall(r'Problem\(\s*\d{3},\s*"([a-z-]+)"', source))
    mapped = set(re.findall(r', \d{3}, "([a-z-]+)"\)', source)) | set(re.findall(r'\d{3}: "([a-z-]+)"', source))
    assert len(raised) > 5
    assert raised | mapped == documented


def test_every_route_is_documented() -> None:
    documented = {
        (route.split()[0], route.split()[1])
        for row in rows("route")
        for route in re.findall(r"`([A-Z]+ [^`]+)`", row[0])
    }
    # The second of two that share a line is written by its last part.
    documented |= {("POST", "/triggers/{name}/resume")}
    there = {
        (method.upper(), path) for path, methods in create_app(None).openapi()["paths"].items() for method in methods
    }
    assert there == documented
