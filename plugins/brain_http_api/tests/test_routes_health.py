"""Health and paths that are not there."""

from __future__ import annotations

import socket
from uuid import uuid4

from .conftest import Served


async def test_health_needs_no_token_and_says_whether_somebody_ticks(served: Served) -> None:
    client = await served.as_bearer(None)
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"ok": False, "database": True, "daemon": False})
    assert answer.headers["retry-after"] == "5"

    head = await client.head("/health")
    assert (head.status_code, head.content) == (503, b"")


async def test_a_path_that_is_not_there_is_a_problem(served: Served) -> None:
    answer = await served.client.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:brain-core:problem:not-found"


async def test_what_is_wrong_is_said_with_what_to_do(served: Served) -> None:
    said = {
        ("GET", "/runs/"): "there is no route GET /runs/; `brain openapi` lists those that there are",
        ("GET", "/run"): "GET is not for /run; it takes POST",
        ("GET", "/runs/ff15fd36"): "there is no run ff15fd36; ids are whole ones here",
        ("GET", "/triggers/nope"): "nothing is registered as 'nope'; GET /triggers lists what is",
        ("GET", "/runs?foo=1"): "there is no parameter 'foo'",
        ("GET", "/runs?limit=2000"): "limit: it has to be less than or equal to 1000 (it is '2000')",
        (
            "GET",
            "/runs?since=soon",
        ): "since: this is no time; give ISO 8601, such as 2026-05-01T08:00:00Z (it is 'soon')",
    }
    for (method, path), detail in said.items():
        assert (await served.client.request(method, path)).json()["detail"] == detail
    bodies = {
        '{"workflow": "a", "input": {}}': "there is no field 'input'; did you mean 'inputs'?",
        "{}": "workflow is missing",
        '{"workflow": "a", "wait": "no"}': "wait: it has to be true or false (it is 'no')",
        '{"workflow": "a", "inputs": "s3cret"}': "inputs: it has to be an object",
        '{"workflow": ""}': "workflow: it has to have at least 1 character (it is '')",
    }
    for body, detail in bodies.items():
        answer = await served.client.post("/run", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    for (method, target), detail in {
        ("GET", "/runs?statis=failed"): "there is no parameter 'statis'; did you mean 'status'?",
        ("GET", "/runs?status=failed&status=cancelled"): "the parameter 'status' is there 2 times; send it once",
        ("GET", "/triggers?x=1"): "there is no parameter 'x'",
        ("GET", f"/runs/{uuid4()}/events?from=1"): "there is no parameter 'from'",
        ("POST", "/run?wait=false"): "there is no parameter 'wait'; what this route takes are fields of the body",
    }.items():
        answer = await served.client.request(method, target)
        assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    unread = {
        b'{"workflow": "a", "workflow": "b"}': "an object in it has a name twice",
        b'{"workflow": "a", "inputs": {"n": NaN}}': "NaN is no JSON",
        b'{"workflow": "a", "inputs": {"n": 1e999}}': "Out of range float values are not JSON compliant",
        b'{"workflow": "\\ud800"}': "it holds half of a character",
        b'{"workflow": "\xff"}': "it is not UTF-8",
        b'{"workflow": "a", "inputs": {"n": ' + b"[" * 150 + b"]" * 150 + b"}}": "it is nested more than 150 deep",
        b"[" * 151 + b"]" * 151: "it is nested more than 150 deep",
        b'{"workflow": "a"': "Expecting ',' delimiter: line 1 column 17 (char 16)",
    }
    for raw, why in unread.items():
        answer = await served.client.post("/run", content=raw, headers={"content-type": "application/json"})
        assert answer.json()["type"] == "urn:brain-core:problem:bad-request"
        assert answer.json()["detail"] == f"the body cannot be read as JSON: {why}"


async def test_no_answer_waits_for_an_acknowledgement(served: Served) -> None:
    await served.client.get("/health")
    assert served.service._listener is not None
    (connection,) = served.service._listener._wires.ours
    assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
