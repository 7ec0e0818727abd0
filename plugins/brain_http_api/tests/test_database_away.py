"""A database that goes away and comes back: 503 for who asks, and nothing is lost of what was taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from .conftest import Serve, until
from .deliveries import hook


async def test_it_goes_away_and_comes_back(serve: Serve, new_server: Callable[..., Any]) -> None:
    server = await asyncio.to_thread(new_server)
    served = await serve(database=server.url)
    served.flow()
    await served.register("nightly", inputs={"n": 1})
    stored = await served.as_bearer(await served.token("admin"))
    to = await hook(served)
    waits = asyncio.create_task(served.client.post("/run", json={"workflow": "nightly"}, timeout=90))
    (row,) = await until(lambda: served.sql("SELECT id FROM brain.runs"), "the run is there")
    run_id: UUID = row["id"]
    streaming = served.client.stream("GET", f"/runs/{run_id}/events")
    async with streaming as stream:
        blocks = stream.aiter_text()
        assert "queued" in await anext(blocks) + await anext(blocks)
        await asyncio.to_thread(server.stop)
        # A stream ends, so that its client comes again.
        assert "the database is away" in "".join([block async for block in blocks])
    asked = [
        served.client.get("/runs"),
        served.client.get(f"/runs/{run_id}"),
        served.client.get(f"/runs/{run_id}/events"),
        served.client.get("/triggers"),
        served.client.post("/triggers/nightly/pause"),
        served.client.post("/run", json={"workflow": "nightly"}),
        stored.get("/plugins"),
        to.post(),
    ]
    for answer in await asyncio.gather(*asked):
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:brain-core:problem:database-away"), answer.url
        assert answer.headers["retry-after"] == "5"
    assert (await served.client.get("/plugins")).status_code == 200
    assert "brain_database_up 0.0" in (await served.client.get("/metrics")).text
    health = await served.client.get("/health")
    assert (health.status_code, health.json()["database"]) == (503, False)
    assert not waits.done()
    await asyncio.to_thread(server.start)
    again = await until(lambda: _good(served.client.get(f"/runs/{run_id}")), "it answers again")
    assert again.json()["status"] == "queued"
    assert (await stored.get("/triggers/nightly")).json()["state"] == "active"
    # Who waited all the time has its answer.
    assert (await served.client.post(f"/runs/{run_id}/cancel")).status_code == 200
    answer = await waits
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


async def _good(asking: object) -> object:
    answer = await asking  # type: ignore[misc]
    return answer if answer.status_code == 200 else None
