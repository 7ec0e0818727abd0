"""The end of a server: nothing new, what is in hand within the grace, and then nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from brain_http_api.front import Receive, Scope, Send

from .bare import PATIENCE, Bare, answer, bare, connected, talked

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Streams until the server closes, waits until it cuts, answers when it is let, or never ends by itself."""

    def __init__(self) -> None:
        self.server: Bare
        self.go = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.release()
        match scope["path"]:
            case "/stream":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"begun", "more_body": True})
                await self.server.api.closing.wait()
                await send({"type": "http.response.body", "body": b"ended"})
            case "/wait":
                await self.server.api.cut.wait()
                await answer(send, b"as it is", 202)
            case "/held":
                await self.go.wait()
                await answer(send, b"held")
            case "/never":
                while True:
                    await asyncio.Event().wait()
            case _:
                await answer(send, b"quick")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def server(app: App) -> AsyncIterator[Bare]:
    async with bare(app) as running:
        app.server = running
        yield running
        async with asyncio.timeout(PATIENCE):
            await running.stop(0)
        wires = running.wires
        assert not wires.connections
        assert not wires.refused
        assert not wires.tasks


async def closed(server: Bare) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*server.address)


async def test_a_live_stream_ends_and_what_is_idle_is_closed(server: Bare, app: App) -> None:
    async with connected(server.address) as live, connected(server.address) as idle, connected(server.address) as new:
        await live.send(GET % b"stream")
        await live.reader.readuntil(b"begun\r\n")
        await idle.send(GET % b"quick")
        assert (await idle.answer()).body == b"quick"
        async with asyncio.timeout(PATIENCE):
            await server.stop(1000)
        await closed(server)
        assert await live.rest() == b"5\r\nended\r\n0\r\n\r\n"
        assert await idle.rest() == b""
        assert await new.rest() == b""
    assert not server.api.cut.is_set()


async def test_what_is_in_hand_is_answered_within_the_grace_and_nothing_new_is_taken(server: Bare, app: App) -> None:
    async with connected(server.address) as held, connected(server.address) as late:
        await held.send(GET % b"held")
        await late.send(GET % b"quick")
        assert (await late.answer()).body == b"quick"
        # The beginning of a request that comes in the midst of the stop.
        await late.send(b"GET /late HT")
        for _ in range(2):
            await app.asked.acquire()
        while not any(connection._pending for connection in server.wires.ours):  # noqa: ASYNC110
            await asyncio.sleep(0)
        stopping = asyncio.create_task(server.stop(1000))
        await server.api.closing.wait()
        await closed(server)
        await late.send(b"TP/1.1\r\nHost: x\r\n\r\n")
        said = await late.answer()
        assert (said.status, said.kind, said.headers["connection"]) == (503, "closing", "close")
        assert said.headers["retry-after"] == "5"
        assert await late.rest() == b""
        assert not stopping.done()
        app.go.set()
        said = await held.answer()
        assert (said.body, said.headers["connection"]) == (b"held", "close")
        async with asyncio.timeout(PATIENCE):
            await stopping
    assert not server.api.cut.is_set()


async def test_what_waits_when_the_grace_ends_answers_with_what_there_is(server: Bare, app: App) -> None:
    async with connected(server.address) as waits, connected(server.address) as never:
        await waits.send(GET % b"wait")
        await never.send(GET % b"never")
        for _ in range(2):
            await app.asked.acquire()
        async with asyncio.timeout(PATIENCE):
            await server.stop(0.1)
        said = await waits.answer()
        assert (said.status, said.body) == (202, b"as it is")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await never.answer()


async def test_who_does_not_read_or_send_holds_nothing_up(server: Bare, app: App) -> None:
    async with connected(server.address) as never, connected(server.address) as begun:
        await never.send(GET % b"never")
        await app.asked.acquire()
        await begun.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        async with asyncio.timeout(PATIENCE):
            await server.stop(0)


async def test_a_second_stop_that_gives_no_time_ends_the_first(server: Bare, app: App) -> None:
    async with connected(server.address) as never:
        await never.send(GET % b"never")
        await app.asked.acquire()
        first = asyncio.create_task(server.stop(1000))
        await server.api.closing.wait()
        async with asyncio.timeout(PATIENCE):
            await server.stop(0)
            await first
            await server.stop(1000)


async def test_a_stop_that_is_cancelled_leaves_nothing_behind(server: Bare, app: App) -> None:
    async with connected(server.address) as never:
        await never.send(GET % b"never")
        await app.asked.acquire()
        stopping = asyncio.create_task(server.stop(1000))
        await server.api.closing.wait()
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert await never.reader.read() == b""
    await closed(server)


async def test_a_server_that_was_asked_nothing_stops(server: Bare) -> None:
    async with asyncio.timeout(PATIENCE):
        await server.stop(1000)
    with pytest.raises(ConnectionRefusedError):
        await talked(server.address, b"")
