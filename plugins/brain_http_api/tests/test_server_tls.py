"""TLS by files, and what comes to such a port without it; and a process that may open no more files."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from brain_http_api.binding import tls_context

from brain_core import BrainError

from .bare import PATIENCE, bare, connected, echo, talked
from .conftest import Serve

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Files(NamedTuple):
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.cert)


def made(folder: Path, name: str) -> Files:
    files = Files(folder / f"{name}.crt", folder / f"{name}.key")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [
        "openssl",
        "req",
        "-x509",
        *kind,
        "-nodes",
        "-days",
        "2",
        *subject,
        "-keyout",
        files.key,
        "-out",
        files.cert,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made(tmp_path_factory.mktemp("tls"), "own")


async def test_the_service_serves_tls(serve: Serve, files: Files, tmp_path: Path) -> None:
    served = await serve(tls_cert=files.cert, tls_key=files.key)
    assert served.url.startswith("https://127.0.0.1:")
    (said,) = await talked(served.address, GET.replace(b"/ ", b"/nothing "), tls=files.trusting)
    assert (said.status, said.kind) == (404, "not-found")


async def test_bodies_and_large_answers_pass_through_tls(files: Files) -> None:
    async with bare(echo, tls_cert=files.cert, tls_key=files.key) as server:
        body = b"x" * 1_000_000
        data = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        (said,) = await talked(server.address, data + body, tls=files.trusting)
        assert (said.status, len(said.json["body"]), said.json["scheme"]) == (200, len(body), "https")
        (said,) = await talked(server.address, data.replace(b": 1", b": 9") + body, tls=files.trusting)
        assert (said.status, said.kind) == (413, "too-large")


def test_nothing_older_than_tls_1_2(files: Files) -> None:
    assert tls_context(*files).minimum_version == ssl.TLSVersion.TLSv1_2


async def test_what_does_not_shake_hands_is_closed_and_nobody_is_told(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with bare(echo, tls_cert=files.cert, tls_key=files.key, header_timeout=2) as server:
        silent = (talked(server.address, data) for data in (GET, b"", b"\x16\x03\x01"))
        assert await asyncio.gather(*silent) == [[], [], []]
        with pytest.raises(ssl.SSLError):
            await talked(server.address, GET, tls=ssl.create_default_context())
        (said,) = await talked(server.address, GET, tls=files.trusting)
        assert said.status == 200
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_who_is_in_a_handshake_counts_as_a_connection(files: Files) -> None:
    async with (
        bare(echo, tls_cert=files.cert, tls_key=files.key, max_connections=2, header_timeout=1000) as server,
        connected(server.address),
        connected(server.address),
        connected(server.address) as third,
    ):
        assert await third.rest() == b""


async def test_a_stop_ends_handshakes(files: Files) -> None:
    async with bare(echo, tls_cert=files.cert, tls_key=files.key) as server, connected(server.address) as client:
        async with asyncio.timeout(PATIENCE):
            while not server.listener._arriving:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await server.stop(1000)
        assert await client.rest() == b""


def test_files_that_cannot_be_used_are_one_line(files: Files, tmp_path: Path) -> None:
    other = made(tmp_path, "other")
    gone, text, folder = tmp_path / "gone.pem", tmp_path / "text.pem", tmp_path
    text.write_text("no PEM\n")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", files.key, "-aes128", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    for cert, key, said in (
        (gone, files.key, f"tls_cert '{gone}' cannot be read: No such file or directory"),
        (files.cert, gone, f"tls_key '{gone}' cannot be read: No such file or directory"),
        (folder, files.key, f"tls_cert '{folder}' cannot be read: Is a directory"),
        (files.cert, other.key, f"tls_key '{other.key}' is not the key of tls_cert '{files.cert}'"),
        (files.cert, locked, f"tls_key '{locked}' is encrypted; "),
        (text, files.key, f"tls_cert '{text}' and tls_key '{files.key}' cannot be used: both have to be in PEM"),
        (files.cert, text, f"tls_cert '{files.cert}' and tls_key '{text}' cannot be used: both have to be in PEM"),
    ):
        with pytest.raises(BrainError) as raised:
            tls_context(cert, key)
        assert str(raised.value).startswith(said)
        assert "\n" not in str(raised.value)


async def test_files_begin_at_the_configuration_file(serve: Serve, files: Files, tmp_path: Path) -> None:
    (tmp_path / "brain.toml").write_text("")
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    served = await serve(tls_cert=Path(files.cert.name), tls_key=Path(files.key.name))
    assert served.url.startswith("https://")


class Said(logging.Handler):
    """Notes what is said, and that something was."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.there = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.there.set()


async def test_a_process_without_files_serves_who_is_there_and_takes_others_when_it_can() -> None:
    said = Said()
    logging.getLogger("brain.http_api").addHandler(said)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        async with bare(echo) as server, connected(server.address) as there:
            await there.send(GET.replace(b"Connection: close\r\n", b""))
            await there.answer()
            with socket.socket() as later:
                later.setblocking(False)
                lowest = os.dup(0)
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                later.connect_ex(server.address)
                async with asyncio.timeout(PATIENCE):
                    await said.there.wait()
                # The socket is left alone: nothing watches it, so nothing spins.
                assert server.listener._sock is not None
                assert not asyncio.get_running_loop().remove_reader(server.listener._sock)
                await there.send(GET)
                assert (await there.answer()).status == 200
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(later, GET)
                async with asyncio.timeout(PATIENCE):
                    assert (await loop.sock_recv(later, 100)).startswith(b"HTTP/1.1 200 ")
        assert said.lines == ["no connection can be taken at the moment: Too many open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        logging.getLogger("brain.http_api").removeHandler(said)
