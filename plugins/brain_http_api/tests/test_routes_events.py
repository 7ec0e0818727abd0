"""Event streams over real sockets: in order, resumed anywhere, bounded, and ended by whoever goes first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx2
import pytest
from brain_http_api import streaming
from brain_http_api.tokens import id_of

from brain_core.store import live, queue
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

from .conftest import Serve, Served, until

WORKER = WorkerIdentity(uuid4(), "daemon", "host", "boot", "pids", 1, "1", "0", 3_600.0)
# What would end a line, an event or a field, if it were not JSON.
NASTY = ["line 1", "two\nlines\r\ndata: x\n\nevent: end\n\n", "\u2028 \x00\x1b[0m é 🎉", "id: 9", ""]


class Told(NamedTuple):
    """One event as a client sees it."""

    id: str
    kind: str
    data: Any


@asynccontextmanager
async def stream(client: httpx2.AsyncClient, run_id: UUID, **more: Any) -> AsyncIterator[AsyncIterator[str]]:
    """Open a stream and hand out its blocks: what stands between two empty lines."""
    async with client.stream("GET", f"/runs/{run_id}/events", **more) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def blocks() -> AsyncIterator[str]:
            text = ""
            async for chunk in answer.aiter_text():
                text += chunk
                *whole, text = text.split("\n\n")
                for block in whole:
                    yield block
            assert text == ""

        yield blocks()


def read(block: str) -> Told | None:
    """Return the event of a block as the standard says it is read; None for comments."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    if "event" not in fields:
        return None
    return Told(fields.get("id", ""), fields["event"], json.loads(fields["data"]))


async def told(client: httpx2.AsyncClient, run_id: UUID, **more: Any) -> list[Told]:
    """Return all events of a run that ends."""
    async with stream(client, run_id, **more) as blocks:
        return [event async for block in blocks if (event := read(block)) is not None]


def step_end(run_id: UUID, position: int, output: str = "1") -> StepEnd:
    name = ("one", "two")[position]
    return StepEnd(run_id, 1, position, name, "x", 1, "success", output, None, "", "{}", 0.1, 0.0)


async def whole_run(served: Served) -> UUID:
    """Return a run of two steps that has ended, and has said something nasty."""
    run_id = await served.queued()
    await queue.claim(served.brain.db, WORKER, 1)
    recorder = Recorder(served.brain.db, WORKER)
    lines = [live.Line(run_id, 1, at, at % 2, text) for at, text in enumerate(NASTY, 1)]
    await live.append(served.brain.db, WORKER.id, lines)
    await recorder.finish_step(step_end(run_id, 0))
    await recorder.finish_run(RunEnd(run_id, 1, "success", None, step_end(run_id, 1, json.dumps(NASTY[1]))))
    return run_id


async def test_a_run_that_has_ended_is_told_whole_and_ends(served: Served) -> None:
    run_id = await whole_run(served)
    events = await told(served.client, run_id)
    kinds = [event.kind for event in events]
    assert kinds[-2:] == ["state", "end"]
    assert sorted(kinds) == ["end", *["live"] * len(NASTY), "state", "step", "step"]
    said = [event.data for event in events if event.kind == "live"]
    assert {one["text"] for one in said} >= set(NASTY) - {NASTY[2]}
    assert {one["step"] for one in said} == {"one", "two"}
    steps = [event.data for event in events if event.kind == "step"]
    assert [(one["name"], one["output"]) for one in steps] == [("one", 1), ("two", NASTY[1])]
    assert (events[-2].data["status"], "steps" in events[-2].data) == ("success", False)
    assert events[-1] == Told("", "end", {})
    assert all(event.id for event in events[:-1])


async def test_who_goes_on_after_any_event_hears_exactly_the_rest(served: Served) -> None:
    run_id = await whole_run(served)
    events = await told(served.client, run_id)
    for at, event in enumerate(events[:-1]):
        assert await told(served.client, run_id, headers={"Last-Event-ID": event.id}) == events[at + 1 :]
        assert await told(served.client, run_id, params={"after": event.id}) == events[at + 1 :]
    # A browser sends its header to the same address again, which may say an older one.
    both = {"params": {"after": events[0].id}, "headers": {"Last-Event-ID": events[3].id}}
    assert await told(served.client, run_id, **both) == events[4:]
    assert await told(served.client, run_id, headers={"Last-Event-ID": ""}) == events


async def test_what_a_step_says_arrives_before_the_run_ends(served: Served) -> None:
    run_id = await served.queued()
    await queue.claim(served.brain.db, WORKER, 1)
    async with stream(served.client, run_id) as blocks:
        events: list[Told] = []
        assert await anext(blocks) == "retry: 2000"

        async def next_event() -> Told:
            while (event := read(await anext(blocks))) is None:
                pass
            events.append(event)
            return event

        assert (await next_event()).data["status"] == "running"
        await live.append(served.brain.db, WORKER.id, [live.Line(run_id, 1, 1, 0, "halfway")])
        assert (await next_event()).data == {"step": "one", "text": "halfway"}
        recorder = Recorder(served.brain.db, WORKER)
        await recorder.finish_step(step_end(run_id, 0))
        assert (await next_event()).data["name"] == "one"
        # Cut here, and taken up again: nothing is missing and nothing comes twice.
    await recorder.finish_run(RunEnd(run_id, 1, "success", None, step_end(run_id, 1)))
    rest = await told(served.client, run_id, headers={"Last-Event-ID": events[-1].id})
    assert [event.kind for event in rest] == ["step", "state", "end"]


async def test_outputs_wait_for_their_turn_among_large_answers(served: Served) -> None:
    run_id = await whole_run(served)
    large = served.service.api.large
    async with large, large:
        telling = asyncio.create_task(told(served.client, run_id))
        await until(lambda: large._waiters, "the stream waits for its turn", 10)
    assert [event.kind for event in await telling].count("step") == 2


async def test_a_stream_of_many_events_is_whole(served: Served) -> None:
    run_id = await served.queued()
    await queue.claim(served.brain.db, WORKER, 1)
    await live.append(
        served.brain.db, WORKER.id, [live.Line(run_id, 1, at, 0, f"{at} {'x' * 1_000}") for at in range(1, 3_001)]
    )
    await Recorder(served.brain.db, WORKER).finish_run(RunEnd(run_id, 1, "failed", "enough", None))
    said = [int(one.data["text"].split()[0]) for one in await told(served.client, run_id) if one.kind == "live"]
    assert said == list(range(1, len(said) + 1))
    assert len(said) > 500


async def test_a_quiet_stream_says_that_it_lives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.05)
    run_id = await served.queued()
    async with stream(served.client, run_id) as blocks:
        # On a busy machine it may say so before its first event, too.
        while read(await anext(blocks)) is None:
            pass
        assert [await anext(blocks) for _ in range(3)] == [": "] * 3
        await served.end(run_id)
        kinds = [event.kind async for block in blocks if (event := read(block)) is not None]
    assert kinds == ["state", "end"]


async def test_a_client_that_goes_away_frees_its_place(serve: Serve) -> None:
    served = await serve(max_streams=2)
    run_id = await served.queued()
    streams = served.service.api.streams
    async with stream(served.client, run_id) as one, stream(served.client, run_id) as two:
        await anext(one)
        await anext(two)
        refused = await served.client.get(f"/runs/{run_id}/events")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:brain-core:problem:busy")
        assert refused.headers["retry-after"]
        assert len(streams) == 2
    await until(lambda: not streams, "the places are free")
    await until(lambda: not any("EventStream" in repr(task) for task in asyncio.all_tasks()), "nothing goes on")
    async with stream(served.client, run_id) as again:
        await anext(again)


async def test_many_that_come_and_go_at_once_leave_nothing_behind(serve: Serve) -> None:
    served = await serve(max_streams=3)
    run_id = await served.queued()

    async def come_and_go() -> int:
        async with served.client.stream("GET", f"/runs/{run_id}/events") as answer:
            if answer.status_code == 200:
                await anext(answer.aiter_bytes())
            return answer.status_code

    assert set(await asyncio.gather(*(come_and_go() for _ in range(20)))) <= {200, 503}
    await until(lambda: not served.service.api.streams, "the places are free")


async def test_streams_end_when_the_server_stops(served: Served) -> None:
    run_id = await served.queued()
    async with stream(served.client, run_id) as blocks:
        assert await anext(blocks) == "retry: 2000"
        assert read(await anext(blocks)) is not None
        served.service.api.closing.set()
        rest = [block async for block in blocks]
    assert rest == [": the server stops; connect again"]


async def test_a_stream_ends_when_its_token_is_revoked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "ASK_AGAIN", 0.05)
    run_id = await served.queued()
    token, other = await served.token("read"), await served.token("read")
    revoked, left = await served.as_bearer(token), await served.as_bearer(other)
    async with stream(revoked, run_id) as blocks, stream(left, run_id) as others:
        assert "retry" in await anext(blocks) + await anext(others)
        assert "queued" in await anext(blocks)
        await served.brain.tables.query()("http_api_token_revoke", {"name": id_of(token)})
        async with asyncio.timeout(20):
            (last,) = [block async for block in blocks]
        assert last == ": the token is not valid any longer"
        # Whose token is valid hears the rest.
        await served.end(run_id)
        kinds = [event.kind for block in [block async for block in others] if (event := read(block))]
        assert kinds == ["state", "state", "end"]


async def test_an_id_that_is_none_is_said_before_anything_is_streamed(served: Served) -> None:
    run_id = await served.queued()
    for after in ("x", "1.2", "é", "1.0.0.x\n", "9" * 5_000):
        answer = await served.client.get(f"/runs/{run_id}/events", params={"after": after})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert "is no id of an event" in answer.json()["detail"]
