"""Who reads slowly gets all of its answer, and who does not read is cut; with TLS as without it."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from typing import Any

import pytest
from brain_http_api import protocol
from brain_http_api.front import Receive, Scope, Send

from .bare import PATIENCE, answer, bare, connected
from .test_server_tls import Files, made

HOST = b"Host: x\r\n"
LAST = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made(tmp_path_factory.mktemp("tls"), "own")


def secured(how: str, files: Files) -> tuple[dict[str, Any], ssl.SSLContext | None]:
    """Return settings of a server, with TLS or without it, and what its clients need."""
    if how == "plain":
        return {}, None
    return {"tls_cert": files.cert, "tls_key": files.key}, files.trusting


@pytest.mark.parametrize("how", ["plain", "tls"])
@pytest.mark.parametrize("last", [LAST, b"\r\n"], ids=["close", "keep"])
async def test_who_reads_late_gets_all_of_it(
    monkeypatch: pytest.MonkeyPatch, trusted: Files, how: str, last: bytes
) -> None:
    # However slow it is, it reads; and nobody waits for the end of TLS.
    monkeypatch.setattr(protocol, "SLOWEST", 0)
    monkeypatch.setattr(protocol, "LINGER", 0.05)
    body = b"x" * 20_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body)

    more, tls = secured(how, trusted)
    # Long enough for a handshake, and for the last bytes of a process that has to wait its turn.
    limits = {"send_timeout": 0.5, "idle_timeout": 0.5, "header_timeout": 2.5}
    async with bare(app, **limits, **more) as server:
        reader, writer = await asyncio.open_connection(*server.address, ssl=tls, limit=1024)
        try:
            writer.write(b"GET / HTTP/1.1\r\n" + HOST + last)
            await reader.readuntil(b"\r\n\r\n")
            # The time of many deadlines, by the server's own clock.
            async with connected(server.address, tls) as silent:
                assert await silent.rest() == b""
            async with asyncio.timeout(PATIENCE):
                assert len(await reader.read()) == len(body)
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("how", ["plain", "tls"])
@pytest.mark.parametrize("last", [LAST, b"\r\n"], ids=["close", "keep"])
async def test_who_does_not_read_is_cut_with_tls_too(trusted: Files, how: str, last: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 20_000_000)

    more, tls = secured(how, trusted)
    async with bare(app, send_timeout=0.2, **more) as server:
        reader, writer = await asyncio.open_connection(*server.address, ssl=tls, limit=1024)
        try:
            writer.write(b"GET / HTTP/1.1\r\n" + HOST + last)
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                while server.wires.connections:
                    server.wires.changed.clear()
                    await server.wires.changed.wait()
        finally:
            writer.transport.abort()


async def test_who_has_read_at_last_is_watched_no_more() -> None:
    read = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            # The second one is taken when the first has gone out.
            await send({"type": "http.response.body", "body": b"x" * 20_000_000, "more_body": True})
        await read.wait()
        await send({"type": "http.response.body"})

    async with bare(app) as server, connected(server.address) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        (connection,) = server.wires.ours
        assert connection._write_deadline is not None
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                await client.reader.readexactly(len(b"1312d00\r\n") + 20_000_000 + len(b"\r\n"))
        assert connection._write_deadline is None
        read.set()
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_nothing_remembers_who_has_gone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 20_000_000)

    async with bare(app) as server:
        async with connected(server.address) as client:
            await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            (connection,) = server.wires.ours
            assert connection._write_deadline is not None
            left = weakref.ref(connection)
            del connection
        async with asyncio.timeout(PATIENCE):
            while left() is not None:
                await asyncio.sleep(0)
                gc.collect()


async def test_who_has_said_all_gets_all_of_the_answer() -> None:
    body = b"x" * 20_000_000
    asked = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body)
        asked.set()

    async with bare(app) as server, connected(server.address) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await asked.wait()
        client.writer.write_eof()
        assert (await client.rest()).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_an_answer_arrives_whole_though_the_client_sends_on_after_it(trusted: Files, how: str) -> None:
    # It does not know that this answer is the last: what follows chunks in one piece with them ends a connection here.
    body = b"x" * 2_000_000
    answered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body)
        answered.set()

    following = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    more, tls = secured(how, trusted)
    async with bare(app, **more) as server:
        reader, writer = await asyncio.open_connection(*server.address, ssl=tls, limit=1024)
        try:
            writer.write(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + following)
            await answered.wait()
            for _ in range(10):
                writer.write(following)
                await writer.drain()
                async with connected(server.address, tls) as other:
                    other.writer.write(b"HEAD / HTTP/1.1\r\n" + HOST + LAST)
                    await other.rest()
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                assert len(await reader.readexactly(len(body))) == len(body)
        finally:
            writer.transport.abort()


async def test_who_reads_slowly_is_not_cut_for_what_the_system_holds_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # The system takes more of an answer only when a third of what it holds has been read, which may be a megabyte.
    monkeypatch.setattr(protocol, "SLOWEST", 1)
    looks = 0
    watch = protocol.HttpProtocol._watch_writing

    def counted(self: protocol.HttpProtocol) -> None:
        nonlocal looks
        looks += 1
        watch(self)

    monkeypatch.setattr(protocol.HttpProtocol, "_watch_writing", counted)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 20_000_000)

    async with bare(app, send_timeout=1.0) as server:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, server.address)
        reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
        try:
            writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                while looks < 3 and server.wires.connections:
                    # Far less in a second than what the system has taken.
                    await reader.read(512)
                    await asyncio.sleep(0.01)
            assert looks == 3
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_a_connection_is_not_idle_while_its_answer_is_read(
    monkeypatch: pytest.MonkeyPatch, trusted: Files, how: str
) -> None:
    # However slow it is, it reads.
    monkeypatch.setattr(protocol, "SLOWEST", -(10**9))
    body = b"x" * 20_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body if scope["path"] == "/large" else b"next")

    more, tls = secured(how, trusted)
    # Longer than a busy machine takes over what the client's own system holds at the end.
    async with bare(app, idle_timeout=5.0, **more) as server:
        reader, writer = await asyncio.open_connection(*server.address, ssl=tls, limit=1024)
        try:
            writer.write(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE), connected(server.address, tls) as idle:
                # By the server's own clock.
                idle.writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
                await idle.answer()
                await idle.rest()
                await reader.readexactly(len(body))
                writer.write(b"GET / HTTP/1.1\r\n" + HOST + LAST)
                assert (await reader.read()).endswith(b"\r\n\r\nnext")
        finally:
            writer.transport.abort()


async def test_what_is_unread_is_known_while_both_ends_close(monkeypatch: pytest.MonkeyPatch, trusted: Files) -> None:
    unread: list[int] = []
    real = protocol.HttpProtocol.eof_received

    def counted(self: protocol.HttpProtocol) -> bool:
        keep = real(self)
        unread.append(self._wires.unread())
        return keep

    monkeypatch.setattr(protocol.HttpProtocol, "eof_received", counted)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"all")

    more, tls = secured("tls", trusted)
    # Closed by the server, and answered by the client.
    async with bare(app, **more) as server, connected(server.address, tls) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + LAST)
        await client.rest()
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            while server.wires.connections:
                server.wires.changed.clear()
                await server.wires.changed.wait()
    assert unread == [0]


@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_a_large_answer_that_is_the_last_is_ended_once(
    trusted: Files, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    body = b"x" * 20_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body)

    more, tls = secured(how, trusted)
    async with bare(app, **more) as server, connected(server.address, tls) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + LAST)
        assert (await client.rest()).endswith(body)
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            while server.wires.connections:
                server.wires.changed.clear()
                await server.wires.changed.wait()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
