"""What an LLM step costs over the bare client call, and a hundred of them at once on a server that answers in parallel.

The server is a process of its own. It answers at once, and for the hundred after five seconds, as a model may take.
Each step makes a call with its row written before and after, in a run that is recorded as any other.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from bench import MAX_OUTPUT, home_and_url
from brain_llm import LLMStep
from brain_llm.plugin import brain_migrations

from brain_core import Workflow
from brain_core.engine.beginning import new_run
from brain_core.engine.executor import Execution
from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.queries import Queries
from brain_core.engine.sweep import worker_identity
from brain_core.loader import LoadedWorkflow
from brain_core.sqlfiles import OwnTables, read_tables
from brain_core.store import migrate
from brain_core.store.database import Database
from brain_core.store.recorder import Recorder
from brain_core.testing import NoHooks

STEPS = 50
ROUNDS = 10
AT_ONCE = 100
SLOW = 5.0
MODEL = "bench"


async def serve() -> None:
    """Answer every request with a short stream; a model named `slow` takes its time to begin."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
                body = json.loads(await reader.readexactly(length))
                if body["model"] == "slow":
                    await asyncio.sleep(SLOW)
                writer.write(_answer(body["model"]))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def _answer(model: str) -> bytes:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas = [({"content": "hello "}, None), ({"content": "you"}, None), ({}, "stop")]
    events = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    lines = [*map(json.dumps, events), json.dumps({**head, "choices": [], "usage": usage}), "[DONE]"]
    data = "".join(f"data: {line}\n\n" for line in lines).encode()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
    )  # fmt: skip


class Statements:
    """The statements of one plugin's tables."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    def statement(self, name: str) -> str:
        return self._tables.statements[name]


class Asking:
    """Runs of a workflow of LLM steps in this process, recorded as `brain run` does."""

    def __init__(self, db: Database, tables: OwnTables, url: str, model: str, steps: int) -> None:
        made = [
            LLMStep(name=f"step_{n}", prompt="Say hello.", model=model, provider_url=url, max_tokens=50)
            for n in range(steps)
        ]
        self.recorder = Recorder(db, worker_identity("run", 15.0))
        self.runner = LocalRunner()
        workflow = Workflow(name=f"asks_{model}", steps=made)
        self.plan = self.runner.hold(LoadedWorkflow(workflow, Path("/asks.py"), {"asks.py": ""}, "0" * 64))
        self.recorder.add_version(self.plan.digest, {"asks.py": ""})
        self.ask = Queries(db, Statements(tables)).ask

    async def run_once(self) -> None:
        execution = Execution(
            self.plan, run_id=uuid4(), runner=self.runner, recorder=self.recorder, hooks=NoHooks(),
            watch=lambda event: None, ask=self.ask,
        )  # fmt: skip
        begin = new_run(self.plan, {}, run_id=execution.run_id, recorder=self.recorder, max_output=MAX_OUTPUT)
        run = await execution.run(begin)
        assert run.status == "success", run.steps[0].error


async def took(once: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await once()
    return (time.perf_counter() - began) * 1000


async def main(url: str, server: str) -> None:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=server, api_key="none", max_retries=0)

    async def bare(model: str = MODEL) -> str:
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=50, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

    async def many_bare() -> None:
        for _ in range(STEPS):
            await bare()

    async with await Database.open(url) as db:
        await migrate.ensure_schema(db)
        tables = read_tables(brain_migrations(), "llm", "brain-llm")
        await migrate.ensure_tables(db, [tables])
        asks = Asking(db, tables, server, MODEL, STEPS)
        for once in (many_bare, asks.run_once):
            await once()  # warm
        # In turns, since the machine's speed swings.
        pairs = [(await took(many_bare) / STEPS, await took(asks.run_once) / STEPS) for _ in range(ROUNDS)]
        client_ms, step_ms = (statistics.median(each) for each in zip(*pairs, strict=True))
        over = statistics.median(step - plain for plain, step in pairs)
        print(f"bare client call     {client_ms:.2f} ms   1.00")
        print(f"LLM step             {step_ms:.2f} ms   {step_ms / client_ms:.2f}   overhead {over:+.2f} ms")
        slow = Asking(db, tables, server, "slow", 1)
        await slow.run_once()
        alone = await took(slow.run_once)
        plain = await took(lambda: asyncio.gather(*(bare("slow") for _ in range(AT_ONCE))))
        together = await took(lambda: asyncio.gather(*(slow.run_once() for _ in range(AT_ONCE))))
        print(f"one run of {SLOW:g} s       {alone:.0f} ms   1.00")
        print(f"{AT_ONCE} bare calls       {plain:.0f} ms   {plain / alone:.2f}")
        print(f"{AT_ONCE} runs at once     {together:.0f} ms   {together / alone:.2f}")
        for each in (asks, slow):
            await each.recorder.drain()
    await client.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(serve())
        sys.exit()
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        address = process.stdout.readline().strip()
        with home_and_url() as (_, database_url):
            asyncio.run(main(database_url, address))
        process.stdin.close()
