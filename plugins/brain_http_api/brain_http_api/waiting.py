"""Waiting for the end of a run on behalf of a client, and answering with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from brain_core import facade
from brain_http_api.encoding import answer, run_text
from brain_http_api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from uuid import UUID

    from starlette.responses import Response
    from starlette.types import Receive

    from brain_core import Run
    from brain_http_api.api import Api

ASK_AGAIN = 1.0
"""Seconds after which a database that is away is asked again."""

UNREAD = 256 * 1024 * 1024
"""Bytes of answers that clients have not read yet, beyond which no more large ones are made."""


@asynccontextmanager
async def turn(api: Api) -> AsyncIterator[None]:
    """Wait for one's turn to make an answer that may be large: everybody else comes in between.

    A Problem while too much of the answers before it is not read.
    """
    async with api.large:
        if api.unread() > UNREAD:
            raise Problem(503, "busy", "too much of the answers before is not read yet; try again later")
        yield


async def ended(api: Api, receive: Receive, run_id: UUID, seconds: float) -> Run | None:
    """Return a run when it has ended or is parked, or as it is after so many seconds, or when the server stops.

    None when the client has gone meanwhile; the run goes on. The body has been received.
    """
    run = asyncio.create_task(_ended(api, run_id, seconds))
    cut, client = asyncio.create_task(api.cut.wait()), asyncio.create_task(gone(receive))
    try:
        await asyncio.wait({run, cut, client}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            return run.result()
        return None if client.done() else await _ended(api, run_id, 0.0)
    finally:
        for task in (run, cut, client):
            task.cancel()
        await asyncio.wait({run, cut, client})


async def gone(receive: Receive) -> None:
    """Return when the client has gone; the body has been received."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def run_answer(api: Api, run: Run, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to who waits for a run: 200 when it has ended, 202 when it has not; both say where to look."""
    status = 200 if run.final else 202
    return answer(await whole(api, run), status, {"Location": location(api, run.id), **(headers or {})})


async def whole(api: Api, run: Run) -> str:
    """Return a run with its steps and with what plugins know of it, as JSON."""
    try:
        facts, _ = await api.brain.tables.facts(run) if run.steps else ({}, [])
    except facade.BrainError:
        # The run is what was asked for, and it may just have been started: a 503 would ask for a second one.
        facts = {}
    return await run_text({**facade.run_shape(run, steps=True), "plugins": facts})


def location(api: Api, run_id: object) -> str:
    """Return where a run is to be looked at."""
    return f"{api.settings.root_path}/runs/{run_id}"


async def _ended(api: Api, run_id: UUID, seconds: float) -> Run:
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        try:
            return await api.brain.wait(run_id, max(0.0, until - clock()))
        except facade.DatabaseError:
            left = until - clock()
            if left <= 0:
                # Not as if nothing had been done: without a key, to try again would be a second run.
                where = {"Location": location(api, run_id)}
                detail = f"run {run_id} is recorded, but the database cannot be asked how it is; look at it later"
                raise Problem(503, "database-away", detail, where) from None
            await asyncio.sleep(min(left, ASK_AGAIN))
