"""The start of the real service: what it refuses, where it listens, and who is served while others are slow."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from brain_http_api.binding import listening_socket, most_connections

from brain_core import BrainError
from brain_core.config import load_settings

from .bare import PATIENCE, connected, talked
from .conftest import Serve, Served

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


async def refused(serve: Serve, **more: Any) -> str:
    with pytest.raises(BrainError) as raised:
        await serve(**more)
    text = str(raised.value)
    assert "\n" not in text
    return text


async def test_an_address_that_cannot_be_had_is_one_line(serve: Serve, taken: int) -> None:
    said = await refused(serve, port=taken)
    assert said == (
        f"the HTTP API cannot listen on 127.0.0.1:{taken}: something else listens there; set another port "
        "(THE_BRAIN_HTTP_API_PORT=0 takes a free one), or switch the API off for this one: "
        "THE_BRAIN_HTTP_API_ENABLED=false"
    )
    said = await refused(serve, host="192.0.2.1")
    assert said.startswith("the HTTP API cannot listen on 192.0.2.1:0: this machine has no such address; set host")
    said = await refused(serve, host="no-such-host.invalid")
    assert said.startswith("the HTTP API cannot listen on 'no-such-host.invalid': ")
    assert said.endswith("; set host to an address of this machine")
    assert (await refused(serve, host="a" * 70)).endswith("set host to an address of this machine")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen everywhere")
async def test_a_port_that_the_account_may_not_have_is_one_line() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2:  # noqa: ASYNC240
        pytest.skip("every account may listen everywhere")
    with pytest.raises(BrainError, match="this account may not; set a port from 1024 on"):
        await listening_socket("127.0.0.1", 1)


async def test_without_a_token_it_does_not_start(serve: Serve) -> None:
    said = await refused(serve, token=None)
    assert "THE_BRAIN_API_TOKEN" in said


async def test_without_its_tables_it_does_not_start(serve: Serve, served: Served) -> None:
    await served.sql("DROP TABLE brain_http_api.tokens CASCADE")
    assert (await refused(serve)).startswith("the HTTP API does not start without its tables: ")
    await served.sql("UPDATE brain.schema_migrations SET checksum = 'another' WHERE distribution LIKE '%http%'")
    assert (await refused(serve)).startswith("the HTTP API does not start without its tables: ")


async def test_folders_begin_at_the_configuration_file_and_have_to_be_there(serve: Serve, tmp_path: Path) -> None:
    served = await serve(workflows_dirs=None)
    assert served.service.api.folders.folders == ()
    (tmp_path / "brain.toml").write_text("")
    (tmp_path / "flows").mkdir()
    assert load_settings(start=tmp_path).file is not None
    served = await serve(workflows_dirs=None)
    assert served.service.api.folders.folders == (tmp_path,)
    served = await serve(workflows_dirs=(Path("flows"), tmp_path))
    assert served.service.api.folders.folders == (tmp_path / "flows", tmp_path)
    said = await refused(serve, workflows_dirs=(Path("flows"), Path("gone")))
    assert said == f"the HTTP API does not start: there is no folder '{tmp_path / 'gone'}', see workflows_dirs"


async def test_the_application_is_below_its_root_path(serve: Serve) -> None:
    served = await serve(root_path="/brain")
    for path, status in (("/runs", 200), ("/brain/runs", 200), ("/brain/brain/runs", 404), ("/brainruns", 404)):
        assert (await served.client.get(path)).status_code == status


async def test_a_stop_ends_streams_at_once_and_what_waits_with_the_grace(served: Served) -> None:
    run_id = await served.queued()
    served.flow()
    asked = {"workflow": "flow.py", "inputs": {"n": 3}}
    async with served.client.stream("GET", f"/runs/{run_id}/events") as stream:
        lines = stream.aiter_lines()
        while await anext(lines) != "event: state":
            pass
        waiting = asyncio.create_task(served.client.post("/run", json=asked))
        while len(await served.sql("SELECT FROM brain.runs")) < 2:
            pass
        stopping = asyncio.create_task(served.service.stop(0.3))
        assert not [line async for line in lines if line == "event: end"]
        answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        async with asyncio.timeout(PATIENCE):
            await stopping
    await served.service.stop(0)


async def test_it_starts_again_at_once_where_it_was(serve: Serve) -> None:
    first = await serve()
    host, port = first.address
    async with connected(first.address) as client:
        await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.answer()
        # Closed by the server first: the port is in TIME_WAIT.
        await first.service.stop(PATIENCE)
        assert await client.rest() == b""
    again = await serve(host=host, port=port)
    assert again.url == f"http://127.0.0.1:{port}"
    assert len(await talked(again.address, HEALTH)) == 1


@pytest.mark.parametrize(
    ("host", "asked"), [("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1"), ("localhost", "localhost")]
)
async def test_names_and_both_versions_of_addresses_are_served(serve: Serve, host: str, asked: str) -> None:
    try:
        served = await serve(host=host)
    except BrainError as error:
        pytest.skip(str(error))
    shown = served.url.removeprefix("http://").rpartition(":")[0]
    assert shown in ((f"[{host}]",) if ":" in host else ("127.0.0.1", "[::1]"))
    assert len(await talked((asked, served.address[1]), HEALTH)) == 1


@pytest.mark.parametrize(
    ("more", "warned"),
    [({}, False), ({"host": "0.0.0.0"}, True), ({"host": "0.0.0.0", "trusted_proxies": ("10.0.0.1",)}, False)],
    ids=str,
)
async def test_tokens_that_can_be_read_on_their_way_are_warned_of(
    serve: Serve, caplog: pytest.LogCaptureFixture, more: dict[str, Any], warned: bool
) -> None:
    await serve(**more)
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage()[:36] for record in records] == ["tokens can be read on their way: 0.0"] * warned


async def test_nothing_of_uvicorn_is_taken_from_the_environment_or_said(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with caplog.at_level(logging.DEBUG):
        served = await serve()
        await talked(served.address, HEALTH)
        await served.service.stop(PATIENCE)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_a_start_that_is_given_up_leaves_no_socket(served: Served) -> None:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    service = type(served.service)(served.service._brain, served.service._settings)
    for turns in range(30):
        starting = asyncio.create_task(service.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await service.stop(0)
    held = set(os.listdir("/proc/self/fd")) - before  # noqa: PTH208
    assert not [fd for fd in held if _listens(int(fd))]


def _listens(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False  # no socket, or closed since it was listed, such as that of the listing itself


async def test_two_hundred_slow_connections_keep_nobody_waiting(served: Served) -> None:
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(served.address)) for _ in range(70)]
        heads = [await stack.enter_async_context(connected(served.address)) for _ in range(70)]
        bodies = [await stack.enter_async_context(connected(served.address)) for _ in range(60)]
        for client in heads:
            client.writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
        for client in bodies:
            client.writer.write(b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")

        async def trickle() -> None:
            while True:
                for client in (*heads, *bodies):
                    client.writer.write(b"x")
                    await asyncio.sleep(0)

        trickling = asyncio.create_task(trickle())
        try:
            answers = [await served.client.get("/runs"), await served.client.get("/health")]
        finally:
            trickling.cancel()
        assert [one.status_code for one in answers][:1] == [200]
        # All of them were there meanwhile, and still are.
        assert not [client for client in (*silent, *heads, *bodies) if client.reader.at_eof()]
        assert len(served.service._listener._wires.connections) >= 200  # type: ignore[union-attr]


def test_connections_leave_files_to_the_rest_of_the_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        assert most_connections(1000) == (768, 1024)
        assert most_connections(100) == (100, 1024)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
