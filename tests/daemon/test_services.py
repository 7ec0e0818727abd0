"""Services of plugins in a real daemon: started with it, stopped with its drain, and no danger to it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from .conftest import House, Process
from .plugin import install_module

# An outsider's service: answers each line that comes in through a socket, and "hold" only when a file says so.
MODULE = """
import asyncio, os, sys
from pathlib import Path
from pydantic import BaseModel
from brain_core import BrainError, Step, hookimpl

class Settings(BaseModel):
    enabled: bool = True

class Greet(Step):
    def run(self, ctx):
        return "hello"

class Greeter:
    name = "greeter"

    def __init__(self, folder):
        self.folder = folder
        self.answering = 0
        self.done = asyncio.Event()

    async def start(self):
        {start}
        path = self.folder / "socket"
        self.server = await asyncio.start_unix_server(self.answer, path)
        return f"on {{path}}"

    async def answer(self, reader, writer):
        self.answering += 1
        word = (await reader.readline()).decode().strip()
        while word == "hold" and not (self.folder / "go-answer").exists():
            await asyncio.sleep(0.01)
        writer.write(f"answer to {{word}}\\n".encode())
        await writer.drain()
        writer.close()
        self.answering -= 1
        self.done.set()

    async def stop(self, grace):
        (self.folder / "stopping").write_text(str(grace))
        {stop}
        self.server.close()
        while self.answering:
            self.done.clear()
            await self.done.wait()

@hookimpl
def brain_settings():
    return Settings

@hookimpl
def brain_commands(app):
    from brain_core.commands import run_service

    @app.command("greet-serve")
    def serve(grace: float = 30.0):
        "Serve alone."
        run_service(lambda brain: [Greeter(Path(brain.settings.home))], concurrency=2, grace=grace)

@hookimpl
def brain_step_types():
    return [Greet]

@hookimpl
def brain_services(brain, settings):
    {hook}
    return [Greeter(Path(brain.settings.home))] if settings.enabled else []
"""


def install(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str = "greet",
    start: str = "pass",
    stop: str = "pass",
    hook: str = "pass",
) -> None:
    install_module(house, monkeypatch, name, MODULE.format(start=start, stop=stop, hook=hook))


async def asked(house: House, word: str) -> str:
    reader, writer = await asyncio.open_unix_connection(house.folder / "socket")
    writer.write(f"{word}\n".encode())
    answer = (await reader.readline()).decode().strip()
    writer.close()
    return answer


async def until_there(house: House, name: str, process: Process) -> Path:
    file = house.folder / name

    async def there() -> bool:
        return file.exists()

    await house.until(there, f"{name} is there", process)
    return file


async def test_a_service_is_served_within_the_daemon(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch)
    daemon = await house.daemon()
    assert await asked(house, "one") == "answer to one"
    daemon.kill()
    assert await daemon.ended() == 0
    assert f"greeter on {house.folder / 'socket'}" in [line["event"] for line in daemon.lines]
    with pytest.raises(OSError, match=r"refused|No such file"):
        await asked(house, "two")


async def test_the_drain_takes_nothing_new_and_answers_what_was_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(house, monkeypatch)
    daemon = await house.daemon("--grace", "40")
    run_id = await house.queue(house.flow("Held(name='one')"))
    await house.began("one", 1, daemon)
    held = asyncio.create_task(asked(house, "hold"))
    # Answered in their order: the one before is in hand now.
    assert await asked(house, "one") == "answer to one"
    daemon.kill()
    assert (await until_there(house, "stopping", daemon)).read_text() == "40.0"

    async def refused() -> bool:
        try:
            await asked(house, "two")
        except OSError:
            return True
        return False

    await house.until(refused, "nothing new is taken", daemon)
    # While a run goes on, and after its end too.
    assert (await house.run(run_id)).status == "running"
    house.go("one")
    assert (await house.ended(run_id, daemon)).status == "success"
    house.go("answer")
    assert await held == "answer to hold"
    assert await daemon.ended() == 0


async def test_a_second_signal_ends_services_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch)
    daemon = await house.daemon()
    held = asyncio.create_task(asked(house, "hold"))
    assert await asked(house, "one") == "answer to one"
    daemon.kill()
    assert (await until_there(house, "stopping", daemon)).read_text() == "30.0"
    daemon.kill(signal.SIGINT)
    assert await daemon.ended() == 0
    assert await held == ""


async def test_a_service_may_refuse_the_daemon(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch, start="raise BrainError('no token: set GREET_TOKEN')")
    run_id = await house.queue(house.flow("Note(name='one')"))
    daemon = house.spawn("daemon")
    assert await daemon.ended() == 1
    assert daemon.log.splitlines() == ["brain: error: no token: set GREET_TOKEN"]
    assert (house.folder / "stopping").exists()
    assert (await house.run(run_id)).status == "queued"
    assert not await house.sql("SELECT FROM brain.workers WHERE kind = 'daemon'")


async def test_a_hook_may_refuse_the_daemon(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch, hook="raise BrainError('no token: set GREET_TOKEN')")
    daemon = house.spawn("daemon")
    assert await daemon.ended() == 1
    assert daemon.log.splitlines() == ["brain: error: no token: set GREET_TOKEN"]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"start": "1 / 0"}, "service 'greeter' did not start: ZeroDivisionError"),
        ({"start": "sys.exit(3)"}, "service 'greeter' did not start: RuntimeError: raised SystemExit: 3"),
        (
            {"start": "raise BaseException('no')"},
            "service 'greeter' did not start: RuntimeError: raised BaseException: no",
        ),
        ({"start": "raise asyncio.CancelledError"}, "service 'greeter' did not start: RuntimeError: raised Cancelled"),
        ({"start": "await asyncio.sleep(600)"}, "service 'greeter' did not start: took longer than 2 s"),
        ({"start": "return None, self.nothing"}, "service 'greeter' did not start: AttributeError"),
        ({"hook": "1 / 0"}, "brain_services raised ZeroDivisionError"),
        ({"hook": "sys.exit(3)"}, "brain_services raised SystemExit"),
        ({"hook": "return 7"}, "brain_services returned int, not a list"),
    ],
    ids=str,
)
async def test_what_a_service_raises_is_its_plugins_trouble_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, what: dict[str, str], why: str
) -> None:
    install(house, monkeypatch, **what)
    # Short for the one that hangs alone: the others have time.
    daemon = await house.daemon(**({"plugin_timeout": 2} if "2 s" in why else {}))
    good = await house.queue(house.flow("Note(name='one')", name="good"))
    bad = await house.queue(house.flow("Greet(name='one')", body="from greet_plugin import Greet", name="bad"))
    assert (await house.ended(good, daemon)).status == "success"
    run = await house.ended(bad, daemon)
    assert run.status == "failed"
    assert "belongs to plugin 'greet' (brain-greet 1.0), which is quarantined" in (run.error or "")
    (line,) = [line for line in daemon.lines if "it goes on without it" in line["event"]]
    assert why in line["event"]
    daemon.kill()
    assert await daemon.ended() == 0


@pytest.mark.parametrize("stop", ["1 / 0", "sys.exit(3)", "raise asyncio.CancelledError", "await asyncio.sleep(600)"])
async def test_a_service_that_does_not_stop_keeps_no_daemon(
    house: House, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    install(house, monkeypatch, stop=stop)
    daemon = await house.daemon("--grace", "0.1")
    daemon.kill()
    assert await daemon.ended() == 0
    assert [line["event"] for line in daemon.lines if "did not stop in good order" in line["event"]]
    assert daemon.lines[-1]["event"] == "stopped"


async def test_switched_off_it_is_not_served(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch)
    (house.folder / "brain.toml").write_text("[plugins.greet]\nenabled = false\n")
    await house.daemon()
    assert not (house.folder / "socket").exists()
    _, listed = await house.brain("plugins", "list")
    (line,) = [line for line in listed.splitlines() if line.startswith("greet ")]
    assert line.endswith("active, switched off")
    assert "services" in line


async def served(house: House) -> Process:
    process = house.spawn("greet-serve")
    await house.until(lambda: house.worker_of(process), "the server has a row", process)
    return process


async def test_a_server_runs_what_is_queued_and_fires_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch)
    due = house.flow("Note(name='due')", name="due")
    trigger_id = await house.schedule(due)
    server = await served(house)
    assert await asked(house, "one") == "answer to one"
    # It beats, judges others and runs what is queued, many times over; what is due it leaves.
    for number in range(5):
        run = await house.ended(await house.queue(house.flow("Note(name='one')", name=f"f{number}")), server)
        assert run.status == "success"
    beat = (await house.sql("SELECT beat FROM brain.workers"))[0]["beat"]

    async def beaten() -> bool:
        (row,) = await house.sql("SELECT beat FROM brain.workers")
        return bool(row["beat"] > beat + 2)

    await house.until(beaten, "it has beaten some more", server)
    assert [row["kind"] for row in await house.sql("SELECT kind FROM brain.workers")] == ["serve"]
    assert not await house.sql("SELECT FROM brain.fires")
    assert (await house.brain("daemon-status", "--json")) == (1, "[]\n")
    # Nobody but a daemon.
    daemon = await house.daemon()

    async def fired() -> bool:
        return bool(await house.sql("SELECT FROM brain.fires WHERE trigger_id = $1", trigger_id))

    await house.until(fired, "the daemon has fired", daemon)
    server.kill()
    assert await server.ended() == 0
    assert (house.folder / "stopping").read_text() == "30.0"


async def test_a_server_that_dies_is_taken_over_and_one_that_drains_finishes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(house, monkeypatch)
    killed = await served(house)
    run_id = await house.queue(house.flow("Held(name='one')", on_interrupt="'resume'"))
    await house.began("one", 1, killed)
    killed.kill(signal.SIGKILL)
    await killed.ended()
    (house.folder / "socket").unlink()
    server = await served(house)
    await house.began("one", 2, server)
    server.kill()
    await until_there(house, "stopping", server)
    house.go("one")
    assert (await house.ended(run_id, server)).status == "success"
    assert await server.ended() == 0


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ("raise BrainError('no token: set GREET_TOKEN')", "brain: error: no token: set GREET_TOKEN"),
        ("1 / 0", "brain: error: service 'greeter' did not start: ZeroDivisionError: division by zero"),
    ],
)
async def test_a_server_whose_service_does_not_start_ends(
    house: House, monkeypatch: pytest.MonkeyPatch, start: str, line: str
) -> None:
    install(house, monkeypatch, start=start)
    server = house.spawn("greet-serve")
    assert await server.ended() == 1
    assert server.log.splitlines() == [line]
    assert not await house.sql("SELECT FROM brain.workers")
