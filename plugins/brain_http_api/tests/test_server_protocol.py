"""What may come over a connection: a right answer or a 4xx that says why, soon, and never a word in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from brain_http_api.front import Receive, Scope, Send

from .bare import PATIENCE, Bare, answer, bare, connected, echo, talked

HOST = b"Host: x\r\n"
LAST = b"Connection: close\r\n\r\n"


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bare]:
    # What connections say for themselves is at most for who looks for it.
    with caplog.at_level(logging.DEBUG):
        async with bare(echo) as running:
            yield running
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG or record.exc_info]


MALFORMED = {
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/3.7": b"GET / HTTP/3.7\r\n",
    "a method that is none": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get",
    "binary": bytes(range(200, 256)),
    "lines that end with LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no path": b"GET example.org HTTP/1.1\r\n" + HOST + b"\r\n",
    "* of a GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "an absolute target without a host": b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n",
    "an absolute target with a bad port": b"GET http://x:99999/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the path": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escape that is none": b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escape that is cut": b"GET /a%4 HTTP/1.1\r\n" + HOST + b"\r\n",
    "escapes that are no UTF-8": b"GET /%ff HTTP/1.1\r\n" + HOST + b"\r\n",
    "a surrogate": b"GET /%ed%a0%80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the path": b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the query": b"GET /?a=%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
    "LF in what looks like an upgrade": b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: x\nContent-Length: 5\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -3\r\n\r\nabc",
    "a length that is none": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc",
    "a length beyond numbers": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk that is longer": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_request_is_told_so_at_once(server: Bare, data: bytes) -> None:
    (said,) = await talked(server.address, data)
    assert (said.status, said.kind) == (400, "bad-request")
    assert said.headers["connection"] == "close"
    assert said.headers["cache-control"] == "no-store"


# An unasked-for upgrade is left out: the parser would take the rest of the connection for something else.
RIGHT = {
    "an absolute target": (b"GET http://x:99/a?b=c HTTP/1.1\r\n" + HOST + LAST, ("GET", "/a", "")),
    "a host alone": (b"GET http://x HTTP/1.1\r\n" + HOST + LAST, ("GET", "/", "")),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + LAST, ("OPTIONS", "*", "")),
    "HTTP/1.0 without a host": (b"GET /a HTTP/1.0\r\n\r\n", ("GET", "/a", "")),
    "empty lines before": (b"\r\n\r\n\r\nGET /a HTTP/1.1\r\n" + HOST + LAST, ("GET", "/a", "")),
    "escapes": (b"GET /%c3%a9%2F%25 HTTP/1.1\r\n" + HOST + LAST, ("GET", "/é/%", "")),
    "two slashes": (b"GET //a HTTP/1.1\r\n" + HOST + LAST, ("GET", "//a", "")),
    "a websocket": (
        b"GET /a HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        ("GET", "/a", ""),
    ),
    "h2c with a body": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"UPGRADE:h2c\r\nConnection: upgrade, close\r\nContent-Length: 3\r\n\r\nabc",
        ("POST", "/a", "abc"),
    ),
    "chunks": (
        b"POST /a HTTP/1.1\r\n"
        + HOST
        + b"Connection: close\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ("POST", "/a", "abc"),
    ),
}


@pytest.mark.parametrize(("data", "expected"), RIGHT.values(), ids=RIGHT)
async def test_what_is_unusual_and_right_is_answered(server: Bare, data: bytes, expected: tuple[str, str, str]) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        async with connected(server.address) as client:
            for piece in pieces:
                await client.send(piece)
                # The other side gets each by itself.
                await asyncio.sleep(0)
            said = await client.answer()
            assert await client.rest() == b""
        assert (said.status, said.json["method"], said.json["path"], said.json["body"]) == (200, *expected)
        assert "server" not in said.headers


async def test_what_follows_the_chunks_are_no_headers(server: Bare) -> None:
    data = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    (said,) = await talked(server.address, data + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert (said.status, said.json["body"]) == (200, "a")
    assert "authorization" not in dict(said.json["headers"])


@pytest.mark.parametrize("what", [b"1;%s\r\n", b"1\r\na\r\n0\r\nX: %s\r\n"], ids=["after a size", "after the chunks"])
async def test_what_is_in_a_body_and_none_of_it_has_a_bound(server: Bare, what: bytes) -> None:
    data = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    (said,) = await talked(server.address, data + what % (b"x" * 40_000))
    assert (said.status, said.kind) == (431, "headers-too-large")


@pytest.mark.parametrize("bytewise", [False, True])
async def test_the_head_has_a_bound_to_the_byte(server: Bare, bytewise: bool) -> None:
    most = 1024
    async with bare(echo, max_header=most) as small:
        for size, status in ((most, 200), (most + 1, 431)):
            start, end = b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"\r\n" + LAST
            data = start + b"x" * (size - len(start) - len(end)) + end
            pieces = [data[at : at + 1] for at in range(size)] if bytewise else [data]
            (said,) = await talked(small.address, *pieces)
            assert said.status == status
        assert said.kind == "headers-too-large"
        # One that has no end is not waited for.
        for endless in (b"GET /" + b"x" * most, b"GET / HTTP/1.1\r\n" + HOST + b"x" * most):
            (said,) = await talked(small.address, endless)
            assert (said.status, said.kind) == (431, "headers-too-large")


async def test_a_head_of_a_second_request_is_bound_too(server: Bare) -> None:
    first = b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"
    one, two = await talked(
        server.address, first + b"GET /2 HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 16_384 + b"\r\n\r\n"
    )
    assert (one.json["path"], two.kind) == ("/1", "headers-too-large")


async def test_requests_that_are_sent_ahead_are_answered_in_turn(server: Bare) -> None:
    get = b"GET /%d HTTP/1.1\r\n" + HOST + b"\r\n"
    post = b"POST /%d HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    data = b"".join((get if n % 2 else post) % n for n in range(200)) + b"GET /last HTTP/1.1\r\n" + HOST + LAST
    answers = await talked(server.address, data)
    assert [said.json["path"] for said in answers] == [*(f"/{n}" for n in range(200)), "/last"]
    assert [said.json["body"] for said in answers[:2]] == ["abc", ""]


async def test_what_is_sent_ahead_after_chunks_is_left_to_another_connection(server: Bare) -> None:
    chunks = b"POST /1 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    upgrade = b"GET /2 HTTP/1.1\r\n" + HOST + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n"
    for ahead in (
        b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET",
        upgrade,
        b"\x00\xff",
        b"POST / HTTP/1.1\r\n:\r\n\r\n",
    ):
        (said,) = await talked(server.address, chunks + ahead)
        assert (said.json["path"], said.json["body"], said.headers["connection"]) == ("/1", "a", "close")
    async with connected(server.address) as client:
        for n in (1, 2):
            await client.send(chunks)
            assert (await client.answer()).json["body"] == "a", n


async def test_a_client_that_asks_for_it_is_told_to_go_on_when_the_body_is_wanted(server: Bare) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    async with connected(server.address) as client:
        await client.send(head % 3)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.answer()).json["body"] == "abc"
        await client.send(head % (2 * 1024 * 1024))
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 413 ")


async def test_heads_have_a_deadline() -> None:
    begun = (b"G", b"GET / HTTP/1.1\r\n" + HOST, b"GET / HTTP/1.1\r\n" + HOST + b"\r")
    whole = b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"
    # Long enough for what is sent to arrive; waited for once, by all of them together.
    async with bare(echo, header_timeout=2) as server:
        *nothing, said_1, said_2, said_3, said_4 = await asyncio.gather(
            *(talked(server.address, data) for data in (b"", b"\r\n", *begun, whole + b"GET"))
        )
    assert nothing == [[], []]
    for (said,) in (said_1, said_2, said_3):
        assert (said.status, said.kind, said.headers["connection"]) == (408, "timeout", "close")
    # The next one of a connection has its own.
    first, late = said_4
    assert (first.json["path"], late.status) == ("/1", 408)


async def test_a_head_that_comes_a_byte_at_a_time_has_the_same_deadline() -> None:
    more = {"header_timeout": 0.2, "max_header": 1024 * 1024}
    async with bare(echo, **more) as server, connected(server.address) as client:
        await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")

        async def trickle() -> None:
            while not client.reader.at_eof():
                client.writer.write(b"x")
                await asyncio.sleep(0)

        trickling = asyncio.create_task(trickle())
        try:
            assert (await client.answer()).status == 408
        finally:
            trickling.cancel()


async def test_a_connection_between_requests_is_closed_after_a_while() -> None:
    async with bare(echo, idle_timeout=0.1) as server:
        (said,) = await talked(server.address, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (said.status, "connection" in said.headers) == (200, False)


async def test_one_connection_too_many_is_told_so() -> None:
    async with bare(echo, max_connections=2) as server:
        async with connected(server.address) as one, connected(server.address) as two:
            for client in (one, two):
                await client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
                assert (await client.answer()).status == 200
            for _ in range(3):
                (said,) = await talked(server.address, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
                assert (said.status, said.kind, said.headers["retry-after"]) == (503, "busy", "5")
            await one.send(b"GET / HTTP/1.1\r\n" + HOST + LAST)
            assert (await one.answer()).status == 200
            assert await one.rest() == b""
        async with asyncio.timeout(PATIENCE):
            while server.wires.connections:
                server.wires.changed.clear()
                await server.wires.changed.wait()
        (said,) = await talked(server.address, b"GET / HTTP/1.1\r\n" + HOST + LAST)
        assert said.status == 200


@pytest.mark.parametrize("how", ["whole", "pieces", "last", "small", "ahead"])
async def test_who_does_not_read_is_cut(how: str) -> None:
    gone = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if how == "pieces":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            watching = asyncio.ensure_future(receive())
            while not watching.done():
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                await asyncio.sleep(0)
        else:
            # What the system's own buffers do not hold, and for `small` little more than that.
            await answer(send, b"x" * (50 * 1024 * 1024 if how != "small" else 5 * 1024 * 1024))
        gone.set()

    async with bare(app, send_timeout=0.2, idle_timeout=0.1) as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(server.address)
            request = b"GET / HTTP/1.1\r\n" + HOST + (LAST if how == "last" else b"\r\n")
            client.sendall(request * (2 if how == "ahead" else 1))
            async with asyncio.timeout(PATIENCE):
                await gone.wait()
                while server.wires.connections:
                    server.wires.changed.clear()
                    await server.wires.changed.wait()
