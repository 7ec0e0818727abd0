"""Health and paths that are not there."""

from __future__ import annotations

import socket

from .conftest import Served


async def test_health_needs_no_token_and_says_whether_somebody_ticks(served: Served) -> None:
    client = await served.as_bearer(None)
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"ok": False, "database": True, "daemon": False})
    assert answer.headers["retry-after"] == "5"


async def test_a_path_that_is_not_there_is_a_problem(served: Served) -> None:
    answer = await served.client.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:brain-core:problem:not-found"


async def test_no_answer_waits_for_an_acknowledgement(served: Served) -> None:
    await served.client.get("/health")
    assert served.service._listener is not None
    (connection,) = served.service._listener._wires.ours
    assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
