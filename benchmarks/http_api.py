"""The HTTP API: webhooks accepted and committed a second, pages and figures of a long history, the server's memory.

    python benchmarks/http_api.py [--deliveries 20000] [--runs 1000000] [--requests 100000]

Server, load and PostgreSQL are processes of their own on this machine; the server has no worker, so that what is
measured is its own. Deliveries are signed before the clock begins, and each is answered after its commit. Beside them,
in the same run: a raw asyncpg loop that inserts the same rows, a commit and a connection for each that is under way. A
figure of 0 leaves its part out.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hmac
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import psutil
from accept import PAYLOAD, PLANNED, raw
from bench import Bench, home_and_url
from brain_http_api.webhook.secrets import purpose_of
from history import FILL

from brain_core.app import Brain, new_runner
from brain_core.config import load_settings
from brain_core.plugin.manager import PluginManager
from brain_core.store import triggers
from brain_core.store.triggers import NewTrigger

CONCURRENCY = 32
TOKEN = "the-token-of-the-benchmark"
PAGES = 300
BASELINE_SECONDS = 4.0
WARM = 1_000
BODY = json.dumps(PAYLOAD["body"]).encode()


class Figures(NamedTuple):
    """What a load came to."""

    seconds: float
    took: list[float]
    statuses: dict[int, int]

    def __str__(self) -> str:
        rate = len(self.took) / self.seconds
        p50, p95, p99 = (self.at(share) for share in (0.5, 0.95, 0.99))
        return f"{rate:8,.0f}/s   p50 {p50:6.2f} ms   p95 {p95:6.2f} ms   p99 {p99:6.2f} ms   {self.statuses}"

    def at(self, share: float) -> float:
        """Return a percentile of the times in milliseconds."""
        return sorted(self.took)[int(len(self.took) * share)] * 1000


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the one before is whole; one connection, kept open."""

    def __init__(self, requests: Iterator[bytes], took: list[float], statuses: dict[int, int]) -> None:
        self._requests, self._took, self._statuses = requests, took, statuses
        self._data = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if len(body) < size:
            return
        self._took.append(time.perf_counter() - self._began)
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._data = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server has closed a connection"))


async def load(port: int, requests: list[bytes], concurrency: int) -> Figures:
    took: list[float] = []
    statuses: dict[int, int] = {}
    queue, loop, began = iter(requests), asyncio.get_running_loop(), time.perf_counter()
    made = [
        await loop.create_connection(lambda: Client(queue, took, statuses), "127.0.0.1", port)
        for _ in range(min(concurrency, len(requests)))
    ]
    await asyncio.gather(*(client.done for _, client in made))
    return Figures(time.perf_counter() - began, took, statuses)


def loaded(port: int, requests: list[bytes], concurrency: int) -> Figures:
    """Send requests from a process of their own."""
    given = pickle.dumps((port, requests, concurrency))
    done = subprocess.run([sys.executable, __file__, "--load"], input=given, stdout=subprocess.PIPE, check=True)
    found: Figures = Figures(*pickle.loads(done.stdout))
    return found


def delivery(key: bytes, number: str) -> bytes:
    """Return a signed delivery as its bytes."""
    stamp = str(int(time.time()))
    mac = hmac.digest(key, b".".join((number.encode(), stamp.encode(), BODY)), "sha256")
    headers = {
        "Host": "x",
        "Content-Type": "application/json",
        "User-Agent": "bench",
        "webhook-id": number,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        "Content-Length": str(len(BODY)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /hooks/hook HTTP/1.1\r\n{lines}\r\n".encode() + BODY


def get(path: str, token: str = TOKEN) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def mix(key: bytes, number: int) -> list[bytes]:
    """Return requests of all kinds: taken, repeated and refused deliveries, pages, what is not there."""
    requests: list[bytes] = []
    while len(requests) < number:
        each = [delivery(key, str(uuid4())) for _ in range(4)]
        wrong = each[0].replace(b"v1,", b"v1,x"), each[1].replace(b"/hooks/hook", b"/hooks/" + uuid4().hex.encode())
        requests += [*each, each[0], *wrong, get("/runs?limit=5"), get("/health"), get(f"/runs/{uuid4()}")]
    return requests[:number]


@contextmanager
def server(home: Path, url: str) -> Iterator[tuple[int, psutil.Process]]:
    """Yield the port of a server, and its process."""
    env = {**os.environ, "THE_BRAIN_DATABASE_URL": url, "THE_BRAIN_HOME": str(home), "THE_BRAIN_API_TOKEN": TOKEN}
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.stdin.close()
        process.wait()


def busy(process: psutil.Process) -> float:
    """Return the seconds for which a process has had a core."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def serve() -> None:
    """Be the server until standard input ends."""
    from brain_http_api.service import HttpService
    from brain_http_api.settings import HttpApiSettings

    settings = load_settings({})
    plugins = PluginManager.load(settings.settings)
    plugins.ready()
    async with (
        Brain.open(settings, plugins) as brain,
        brain.beside(lambda: new_runner(brain.settings, plugins)) as beside,
    ):
        await brain.tables.ready()
        service = HttpService(beside, HttpApiSettings(enabled=True, port=0))
        print((await service.start()).rpartition(":")[2], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await service.stop(1.0)


async def prepared(home: Path, url: str) -> bytes:
    """Register the webhook and return the key of its secret."""
    settings = load_settings({"database_url": url, "home": home})
    plugins = PluginManager.load(settings.settings)
    plugins.ready()
    async with Brain.open(settings, plugins) as brain:
        await brain.tables.ready()
        new = NewTrigger(
            name="hook",
            type="webhook",
            config={"webhook": True, "scheme": "standard"},
            workflow_name="noop",
            file="/noop.py",
            host="",
            inputs={},
            planned_steps=PLANNED,
            overlap="allow",
        )
        row = await triggers.register(brain.db, new, await triggers.clock(brain.db))
        return brain.derive_key(purpose_of(row.id, "standard", 1))


async def filled(url: str, number: int) -> None:
    """Store so many runs that have ended, as history.py does."""
    bench = await Bench.open(url, 2)
    await bench.run_once()
    await bench.close()
    connection = await asyncpg.connect(url)
    await connection.execute("set session_replication_role = replica")
    await connection.execute("delete from brain.runs where trigger_id is not null")
    await connection.execute(FILL, 1, number)
    await connection.execute("vacuum (analyze) brain.runs")
    await connection.execute("checkpoint")
    await connection.close()


def main(home: Path, url: str, given: argparse.Namespace) -> None:
    key = asyncio.run(prepared(home, url))
    with server(home, url) as (port, process):
        if given.deliveries:
            loaded(port, [delivery(key, str(uuid4())) for _ in range(WARM)], CONCURRENCY)
            before = asyncio.run(raw(url, CONCURRENCY, BASELINE_SECONDS))
            spent = busy(process)
            ours = loaded(port, [delivery(key, str(uuid4())) for _ in range(given.deliveries)], CONCURRENCY)
            spent = (busy(process) - spent) / given.deliveries * 1000
            after = asyncio.run(raw(url, CONCURRENCY, BASELINE_SECONDS))
            rate, p99 = max(before, after)
            print(f"webhooks at {CONCURRENCY}   {ours}   server {spent:.2f} ms of a core each")
            print(f"raw asyncpg at {CONCURRENCY}   {rate:8,.0f}/s   p99 {p99:6.2f} ms", flush=True)
        if given.requests:
            rss = []
            for number in (given.requests // 10, given.requests - given.requests // 10):
                figures = loaded(port, mix(key, number), CONCURRENCY)
                rss.append(process.memory_info().rss / 1024**2)
                print(f"mix   {figures}   resident {rss[-1]:.1f} MiB", flush=True)
            print(f"memory from {given.requests // 10:,} to {given.requests:,} requests: {rss[1] - rss[0]:+.1f} MiB")
    if given.runs:
        asyncio.run(filled(url, given.runs))
        with server(home, url) as (port, _):
            loaded(port, [get("/runs?limit=20")] * 50, 1)
            for path in ("/runs?limit=20", "/metrics"):
                print(f"GET {path} of {given.runs:,}   {loaded(port, [get(path)] * PAGES, 1)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    elif arguments.load:
        sys.stdout.buffer.write(pickle.dumps(tuple(asyncio.run(load(*pickle.loads(sys.stdin.buffer.read()))))))
    else:
        with home_and_url() as (where, database_url):
            main(where, database_url, arguments)
