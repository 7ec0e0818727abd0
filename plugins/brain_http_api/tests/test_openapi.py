"""The OpenAPI document: it is what `brain openapi` prints, says what routes really do, and is tried by schemathesis."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from brain_http_api.app import create_app
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from brain_core.store.workers import WorkerIdentity

from .conftest import ADMIN, Command, Serve, Served

EXAMPLES = 15
"""For each route and each kind of token; a night's work is done with more."""
DAEMON = WorkerIdentity(uuid4(), "daemon", "host", "elsewhere", "pids", 1, "1", "0", 3_600.0)
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]


def document() -> Any:
    return create_app(None).openapi()


def test_the_command_prints_the_document(brain: Command) -> None:
    done = brain("openapi")
    assert done.returncode == 0
    assert json.loads(done.stdout) == document()


async def test_it_is_served_where_docs_are_switched_on(serve: Serve) -> None:
    served = await serve(docs=True, root_path="/brain")
    client = await served.as_bearer(None)
    answer = await client.get("/openapi.json")
    assert answer.json() == {**document(), "servers": [{"url": "/brain"}]}
    assert "openapi.json" in (await client.get("/docs")).text
    off = await serve()
    assert {(await off.client.get(path)).status_code for path in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_it_says_of_every_route_what_it_answers() -> None:
    found = document()
    operations = [
        (f"{method.upper()} {path}", told)
        for path, methods in found["paths"].items()
        for method, told in methods.items()
    ]
    names = [told["operationId"] for _, told in operations]
    assert len(set(names)) == len(names)
    assert {"HTTPValidationError", "ValidationError"} & set(found["components"]["schemas"]) == set()
    for route, told in operations:
        assert told["tags"][0] in {tag["name"] for tag in found["tags"]}
        assert told["description"], route
        if route.split()[1] in ("/health", "/hooks/{name}"):
            assert not told.get("security"), route
            continue
        assert told["security"] == [{"HTTPBearer": []}], route
        for status in ("401", "403", "422", "503"):
            assert told["responses"][status]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, route
        assert ("413" in told["responses"]) == ("requestBody" in told), route


@pytest.fixture
async def well(serve: Serve) -> Served:
    """A server with a run that has ended and a trigger, whose waits are short and whose daemon is alive."""
    served = await serve(max_wait=0.05, max_streams=10_000)
    await served.brain.db.fetch("daemon_beat", *DAEMON.row, 1, 0, 0.0, [])
    await served.sql("UPDATE brain.workers SET tick_at = tick_at + interval '1 hour'")
    served.flow()
    await served.register("mine", inputs={"n": 1})
    return served


@pytest.mark.parametrize("token", [ADMIN, None, "wrong"])
async def test_whatever_is_sent_the_answer_is_one_that_is_documented(well: Served, token: str | None) -> None:
    run_id = await well.queued()
    await well.end(run_id)
    there = {"id": str(run_id), "name": "mine"}
    await asyncio.to_thread(try_all, well.url, token, there, EXAMPLES if token == ADMIN else 2)


def try_all(url: str, token: str | None, there: dict[str, str], examples: int) -> None:
    schema: Any = schemathesis.openapi.from_dict(document())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for found in schema.get_all_operations():
        operation = found.ok()
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        @given(case=operation.as_strategy() | wrong, of_what_is_there=st.booleans())
        @settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def tried(case: Any, of_what_is_there: bool) -> None:
            if of_what_is_there and case.path_parameters:
                case.path_parameters = {name: there[name] for name in case.path_parameters}
            case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=20)

        tried()
