"""A server that speaks the OpenAI-compatible protocol over a real socket and does what a test has told it to.

It has a thread and a loop of its own, so that steps in this process and `brain` as a process of its own both reach it.
Each request to /chat/completions takes the next act; the last one stays.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

MODEL = "scripted-1"


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def texts(self) -> list[str]:
        """The contents of the messages, in their order."""
        return [_text(message["content"]) for message in self.json["messages"]]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Talk:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.closes = False

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def whole(self, status: int, body: str, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer; `Retry_After="1"` is a header."""
        data = body.encode()
        named = {"Content-Type": kind, "Content-Length": str(len(data))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        await self.raw(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + data)

    async def begin(self, kind: str = "text/event-stream", status: int = 200) -> None:
        head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.raw(head.encode())

    async def chunk(self, text: str) -> None:
        data = text.encode()
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, data: Any) -> None:
        await self.chunk(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n")

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")


Act = Callable[[Request, Talk], Awaitable[None]]


def part(request: Request, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Return one event of an answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_head(request, "chat.completion.chunk"), "choices": [choice]}


def _head(request: Request, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": request.json["model"]}


def says(
    text: str,
    *more: str,
    finish: str = "stop",
    tokens: tuple[int, int] | None = (11, 7),
    reasoning: str = "",
    refusal: str = "",
) -> Act:
    """Answer with these pieces of text; `tokens` are counted in and out, None says nothing of them."""

    async def act(request: Request, talk: Talk) -> None:
        usage = None
        if tokens is not None:
            usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        if not request.json.get("stream"):
            message = {"role": "assistant", "content": "".join((text, *more)) or None, "refusal": refusal or None}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            await talk.whole(
                200, json.dumps({**_head(request, "chat.completion"), "choices": [choice], "usage": usage})
            )
            return
        await talk.begin()
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": reasoning}] if reasoning else []
        deltas += [{"refusal": refusal}] if refusal else []
        deltas += [{"content": piece} for piece in (text, *more) if piece]
        for delta in deltas:
            await talk.event(part(request, delta))
        await talk.event(part(request, {}, finish))
        if usage is not None:
            await talk.event({**_head(request, "chat.completion.chunk"), "choices": [], "usage": usage})
        await talk.event("[DONE]")
        await talk.end()

    return act


def answers(value: Any, **more: Any) -> Act:
    """Answer with a value as JSON."""
    return says(json.dumps(value), **more)


def fails(status: int, message: str = "scripted fault", *, code: str | None = None, **headers: str) -> Act:
    """Answer with an error as OpenAI words it."""

    async def act(request: Request, talk: Talk) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        await talk.whole(status, json.dumps({"error": error}), **headers)

    return act


def sends(body: str, status: int = 200, kind: str = "text/html") -> Act:
    """Answer with any body of any kind, such as a page of a proxy."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.whole(status, body, kind)

    return act


def broken_events(*lines: str) -> Act:
    """Answer with a stream of these lines of data, which need not be JSON."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.begin()
        for line in lines:
            await talk.event(line)
        await talk.end()

    return act


def says_then_drops(*pieces: str) -> Act:
    """Send some of an answer and cut the connection."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.begin()
        for piece in pieces:
            await talk.event(part(request, {"content": piece}))
        talk.writer.transport.abort()

    return act


def drops() -> Act:
    """Cut the connection without a word."""
    return says_without_head(b"")


def says_without_head(data: bytes) -> Act:
    """Send bytes that are no HTTP, and close."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.raw(data)
        talk.closes = True

    return act


def says_and_stalls(*pieces: str) -> Act:
    """Send some of an answer and then nothing more, until the other side goes."""

    async def act(request: Request, talk: Talk) -> None:
        if pieces:
            await talk.begin()
        for piece in pieces:
            await talk.event(part(request, {"content": piece}))
        await _gone(talk)

    return act


def says_for_ever(piece: str, pause: float = 0.0) -> Act:
    """Send the same piece again and again, until the other side goes."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.begin()
        with suppress(ConnectionError):
            while not talk.writer.is_closing():
                await talk.event(part(request, {"content": piece}))
                await asyncio.sleep(pause)

    return act


def body_without_end(status: int = 200, kind: str = "application/json") -> Act:
    """Send a body that is no stream of events and never ends."""

    async def act(request: Request, talk: Talk) -> None:
        await talk.begin(kind, status)
        with suppress(ConnectionError):
            while not talk.writer.is_closing():
                await talk.chunk("x" * 65_536)

    return act


def when_let(gate: threading.Event, act: Act) -> Act:
    """Do it as soon as the test sets the gate."""

    async def held(request: Request, talk: Talk) -> None:
        await asyncio.to_thread(gate.wait, 60)
        await act(request, talk)

    return held


def together(number: int, act: Act) -> Act:
    """Do it as soon as so many requests are in."""
    waiting: list[asyncio.Event] = []

    async def held(request: Request, talk: Talk) -> None:
        mine = asyncio.Event()
        waiting.append(mine)
        if len(waiting) >= number:
            for each in waiting:
                each.set()
        await mine.wait()
        await act(request, talk)

    return held


async def _gone(talk: Talk) -> None:
    with suppress(ConnectionError):
        while await talk.reader.read(65_536):
            pass
    talk.closes = True


@dataclass
class ScriptedServer:
    """`with ScriptedServer() as server:`; it listens on 127.0.0.1 at a free port."""

    models: Sequence[str] = (MODEL,)
    key: str | None = None
    """What a caller has to bring as its bearer token."""
    requests: list[Request] = field(default_factory=list)
    """Everything asked of /chat/completions so far."""
    listed: int = 0
    """How often the models were asked for."""
    models_act: Act | None = None
    url: str = ""

    def will(self, *acts: Act) -> None:
        """Do these, one a request; the last stays."""
        self._acts = list(acts)

    def __post_init__(self) -> None:
        self._acts: list[Act] = [says("hello")]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        # What nobody has read would keep its connection open, to be found and warned of in the midst of another test.
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self._writers.append(writer)
        self.connections += 1
        try:
            talk = Talk(reader, writer)
            while not talk.closes and (request := await _read(reader)) is not None:
                await self._answer(request, talk)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._talks.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _answer(self, request: Request, talk: Talk) -> None:
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            # As OpenAI does, with a part of the key.
            shown = request.headers.get("authorization", "")[7:]
            await fails(401, f"Incorrect API key provided: {shown}", code="invalid_api_key")(request, talk)
        elif request.path.endswith("/models"):
            self.listed += 1
            listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            await (self.models_act or sends(json.dumps(listed), kind="application/json"))(request, talk)
        elif not request.path.endswith("/chat/completions"):
            await fails(404, f"no such path {request.path}")(request, talk)
        else:
            self.requests.append(request)
            await (self._acts.pop(0) if len(self._acts) > 1 else self._acts[0])(request, talk)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def unknown_model(names: Iterable[str]) -> Act:
    """Answer that a model is not there, as most servers do."""
    known = ", ".join(names)

    async def act(request: Request, talk: Talk) -> None:
        message = f"The model `{request.json['model']}` does not exist (there are {known})"
        await fails(404, message, code="model_not_found")(request, talk)

    return act
