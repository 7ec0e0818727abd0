"""What passes the front: whole bodies within bounds, as many requests as are allowed, and answers to what fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from brain_http_api import front
from brain_http_api.front import Receive, Scope, Send

from .bare import PATIENCE, answer, bare, connected, echo, talked

GET = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


def posted(body: bytes, path: bytes = b"/") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


@pytest.mark.parametrize("most", [10, 300_000])
async def test_a_body_has_a_bound_to_the_byte(most: int) -> None:
    async with bare(echo, max_body=most) as server:
        for size, status in ((most, 200), (most + 1, 413)):
            body = b"x" * size
            for data in (posted(body), CHUNKED + chunks(body), CHUNKED + chunks(body[:7], body[7:])):
                (said,) = await talked(server.address, data)
                assert said.status == status
                if status == 200:
                    assert (said.json["body"], said.json["more_body"]) == (body.decode(), False)
                else:
                    assert (said.kind, said.headers["connection"]) == ("too-large", "close")


async def test_what_is_too_large_by_its_own_word_is_not_waited_for() -> None:
    async with bare(echo) as server, connected(server.address) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert (await client.answer()).kind == "too-large"


async def test_chunks_without_an_end_get_an_answer_in_their_midst() -> None:
    async with bare(echo, max_body=200_000) as server, connected(server.address) as client:
        await client.send(CHUNKED)

        async def send() -> None:
            while True:
                await client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

        sending = asyncio.create_task(send())
        try:
            assert (await client.answer()).kind == "too-large"
        finally:
            sending.cancel()


async def test_bodies_have_a_deadline() -> None:
    async with bare(echo, body_timeout=0.2) as server:
        for begun in (posted(b"abc")[:-1], CHUNKED + b"1\r\na\r\n", CHUNKED):
            (said,) = await talked(server.address, begun)
            assert (said.status, said.kind, said.headers["connection"]) == (408, "timeout", "close")


async def test_a_body_that_breaks_off_reaches_no_application(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await echo(scope, receive, send)

    async with bare(app) as server:
        for begun in (posted(b"abc")[:-1], CHUNKED + b"1\r\na\r\n"):
            async with connected(server.address) as client:
                await client.send(begun)
                client.writer.write_eof()
                assert await client.rest() == b""
        assert len(await talked(server.address, posted(b"abc", b"/whole"))) == 1
    assert asked == ["/whole"]
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_all_bodies_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "BODIES", 300_000)
    async with bare(echo, max_body=200_000) as server:
        # Not a byte stays counted of what was refused or answered.
        for _ in range(3):
            async with connected(server.address) as one, connected(server.address) as two:
                for client in (one, two):
                    await client.send(posted(b"x" * 200_000)[:-1])
                answers = {asyncio.ensure_future(client.answer()) for client in (one, two)}
                done, waiting = await asyncio.wait(answers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                (refused,) = [task.result() for task in done]
                assert (refused.status, refused.kind) == (503, "busy")
                for task in waiting:
                    task.cancel()
                for client in (one, two):
                    await client.send(b"x")


class Held:
    """An application that answers when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.gone = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.ensure_future(receive())
        going = asyncio.ensure_future(self.go.wait())
        self.asked.release()
        await asyncio.wait({watching, going}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            assert watching.result()["type"] == "http.disconnect"
            self.gone.set()
        await answer(send, b"held")
        watching.cancel()
        going.cancel()


async def test_one_request_too_many_is_told_so_and_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "BODIES", 5)
    held = Held()
    async with bare(held, max_requests=2, max_body=5) as server:
        waiting = [asyncio.create_task(talked(server.address, posted(b"a"))) for _ in range(2)]
        for _ in waiting:
            await held.asked.acquire()
        async with connected(server.address) as client:
            # Not a byte stays counted of a body that was refused: with those that wait there is room for one of them.
            for body in (b"", b"abc", b"abc"):
                await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                said = await client.answer()
                assert (said.status, said.kind, said.headers["retry-after"]) == (503, "busy", "5")
                assert "connection" not in said.headers
            held.go.set()
            assert [said.status for (said,) in await asyncio.gather(*waiting)] == [200, 200]
            await client.send(posted(b""))
            assert (await client.answer()).body == b"held"


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_an_application_hears_that_its_client_has_gone(body: bytes) -> None:
    held = Held()
    async with bare(held) as server:
        async with connected(server.address) as client:
            await client.send(posted(body))
            await held.asked.acquire()
        async with asyncio.timeout(PATIENCE):
            await held.gone.wait()


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    begun, complete = scope["path"] != "/before", scope["path"] == "/after"
    if begun:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": not complete})
    raise RuntimeError("the bug")


async def test_what_fails_is_answered_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async with bare(fails) as server:
        async with connected(server.address) as client:
            await client.send(b"GET /before HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await client.answer()
            assert (said.status, said.kind) == (500, "internal")
            assert "the bug" not in said.body.decode()
            await client.send(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer()).status == 200
            assert await client.reader.readuntil(b"0\r\n\r\n") == b"5\r\nbegun\r\n0\r\n\r\n"
        assert [record.exc_info is not None for record in caplog.records if record.levelno > logging.DEBUG] == [True]
        caplog.clear()
        # Nobody takes what has begun for whole.
        async with connected(server.address) as client:
            await client.send(b"GET /midst HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.rest()).endswith(b"5\r\nbegun\r\n")
        (record,) = [record for record in caplog.records if record.levelno > logging.DEBUG]
        assert record.name == "brain.http_api"


async def test_deliveries_go_their_own_way() -> None:
    async def hooks(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"hooks " + scope["path"].encode() + b" " + (await receive())["body"])

    for root in ("", "/brain"):
        async with bare(echo, hooks=hooks, root_path=root) as server:
            for prefix in {"", root}:
                (said,) = await talked(server.address, posted(b"abc", f"{prefix}/hooks/a".encode()))
                assert said.body.decode() == f"hooks {root}/hooks/a abc"
            (said,) = await talked(server.address, GET % (b"/hooks/a", b""))
            assert said.json["path"] == f"{root}/hooks/a"
            (said,) = await talked(server.address, posted(b"", b"/hooksa"))
            assert said.json["path"] == f"{root}/hooksa"


@pytest.mark.parametrize(
    ("asked", "path"),
    [("/runs", "/brain/runs"), ("/brain/runs", "/brain/runs"), ("/brainy", "/brain/brainy"), ("/brain", "/brain")],
)
async def test_the_root_path_is_there_whether_a_proxy_takes_it_off_or_not(asked: str, path: str) -> None:
    async with bare(echo, root_path="/brain") as server:
        (said,) = await talked(server.address, GET % (asked.encode(), b""))
        assert (said.json["path"], said.json["root_path"]) == (path, "/brain")


FORWARDED = b"X-Forwarded-For: 203.0.113.9, 198.51.100.7, 10.1.2.3\r\nX-Forwarded-Proto: https\r\n"


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        ((), FORWARDED, ("127.0.0.1", "http")),
        (("192.0.2.0/24",), FORWARDED, ("127.0.0.1", "http")),
        (("127.0.0.1",), FORWARDED, ("10.1.2.3", "https")),
        # What the client itself has written into it is not believed: the last that is no proxy of ours counts.
        (("127.0.0.0/8", "10.0.0.0/8"), FORWARDED, ("198.51.100.7", "https")),
        (("127.0.0.1",), b"X-Forwarded-For: <b>\r\nX-Forwarded-Proto: javascript\r\n", ("127.0.0.1", "http")),
        (("127.0.0.1",), b"X-Forwarded-For: 10.0.0.1, \r\n", ("127.0.0.1", "http")),
        (("127.0.0.1",), b"X-Forwarded-For: [2001:db8::1]:99\r\n", ("2001:db8::1", "http")),
    ],
)
async def test_forwarded_headers_are_believed_of_trusted_proxies(
    trusted: tuple[str, ...], headers: bytes, expected: tuple[str, str]
) -> None:
    async with bare(echo, trusted_proxies=trusted) as server:
        (said,) = await talked(server.address, GET % (b"/", headers))
        assert (said.json["client"], said.json["scheme"]) == expected


async def test_answers_have_the_headers_that_all_have_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own: list[Any] = [(b"Cache-Control", b"no-cache"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body"})

    async with bare(app) as server:
        (said,) = await talked(server.address, GET % (b"/", b""))
    assert said.headers["cache-control"] == "no-cache"
    assert (said.headers["x-content-type-options"], "date" in said.headers) == ("nosniff", True)
