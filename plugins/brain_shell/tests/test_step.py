"""ShellStep as it runs: output, failure, limits, environment, and the sure end of what it started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from brain_shell import ShellStep, process
from brain_shell.binding import MAX_IN_ENVIRONMENT
from brain_shell.settings import ShellSettings

from brain_core import BrainError, FunctionStep, Scope, StepContext, StepFailed


class Bench:
    """Runs shell steps in a folder, with a context of their own each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[type, Any] = {}
        self.shown: list[str] = []
        self.on_live: Callable[[str], None] = self.shown.append

    def context(self) -> StepContext:
        self.ctx = StepContext(
            run_id="run-1", workflow="w", step="s", attempt=2, idempotency_key="key",
            folder=self.folder, settings=self.settings, on_live=self._show,
        )  # fmt: skip
        return self.ctx

    def _show(self, text: str) -> None:
        self.on_live(text)

    async def run(self, command: str, *, given: dict[str, Any] | None = None, **more: Any) -> str:
        step = ShellStep(name="s", command=command, **more).resolved(Scope(steps=given or {}))
        return await step.run(self.context())

    async def fails(self, command: str, **more: Any) -> str:
        with pytest.raises(StepFailed) as caught:
            await self.run(command, **more)
        return str(caught.value)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


async def test_output_and_error_stream_apart(bench: Bench) -> None:
    assert await bench.run("printf 'a\\n\\n'; echo warned >&2") == "a\n"
    assert bench.ctx.logged == "warned\n"
    assert sorted(bench.shown) == ["a\n\n", "warned\n"]
    assert bench.ctx.details == {"exit_code": 0}


async def test_failure_shows_the_end_of_standard_error(bench: Bench) -> None:
    message = await bench.fails("for i in 1 2 3 4 5; do echo line $i >&2; done; exit 3")
    assert message == "exit code 3: line 3 | line 4 | line 5"
    assert bench.ctx.details["exit_code"] == 3
    assert await bench.fails("exit 4") == "exit code 4"
    assert len(await bench.fails("head -c 5000 /dev/zero | tr '\\0' e >&2; exit 1")) < 600


async def test_signals_are_named(bench: Bench) -> None:
    assert await bench.fails("kill -KILL $$") == "ended by SIGKILL"
    assert await bench.fails("sh -c 'kill -TERM $$'; exit $?") == "exit code 143 (SIGTERM): Terminated"


async def test_success_codes(bench: Bench) -> None:
    assert await bench.run("echo none; exit 1", success_codes=(0, 1)) == "none"
    assert await bench.fails("exit 0", success_codes=(7,)) == "exit code 0"


async def test_a_missing_shell_and_folder_are_said(bench: Bench) -> None:
    assert "shell '/no/sh' cannot be started" in await bench.fails("a", shell="/no/sh")
    assert "is not a folder" in await bench.fails("a", cwd="gone")


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/dash", "/bin/bash", "bash"])
async def test_shells(bench: Bench, shell: str) -> None:
    assert await bench.run("printf %s {x}", given={"x": "$(id)"}, shell=shell) == "$(id)"
    assert "not found" in await bench.fails("-x nothing", shell=shell)


async def test_cwd(bench: Bench, tmp_path: Path) -> None:
    real = str(bench.folder)
    (tmp_path / "a b").mkdir()
    assert await bench.run("pwd -P") == real
    assert await bench.run("pwd -P", cwd="{x}", given={"x": "a b"}) == f"{real}/a b"
    assert await bench.run("pwd", cwd="/") == "/"


async def test_stdin(bench: Bench) -> None:
    assert await bench.run("cat") == ""
    assert await bench.run("cat", stdin="{x}", given={"x": {"a": [1]}}) == '{"a":[1]}'
    large = "é\n" * 300_000
    assert await bench.run("wc -c", stdin=large) == str(len(large.encode()))
    assert await bench.run("exec true", stdin=large) == ""
    assert await bench.run("od -An -c", stdin="a\0") == "   a  \\0"


async def test_the_environment_is_an_allow_list(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("WANTED", "w")
    bench.settings[ShellSettings] = ShellSettings(pass_env=["WANTED", "THE_BRAIN_DATABASE_URL"])
    printed = await bench.run("env", env={"OWN": "{x}", "JSON": "{y}!"}, given={"x": 7, "y": [1]})
    env = dict(line.split("=", 1) for line in printed.splitlines())
    assert env.keys() >= {"PATH", "LC_TIME", "WANTED"}
    assert not env.keys() & {"THE_BRAIN_DATABASE_URL", "MY_TOKEN"}
    assert "secret" not in printed
    assert (env["OWN"], env["JSON"], env["BRAIN_RUN_ID"], env["BRAIN_WORKFLOW"]) == ("7", "[1]!", "run-1", "w")
    assert (env["BRAIN_STEP"], env["BRAIN_ATTEMPT"], env["BRAIN_IDEMPOTENCY_KEY"]) == ("s", "2", "key")
    bench.settings.clear()
    assert "WANTED" not in await bench.run("env")


async def test_output_beyond_the_limit_is_cut_and_counted(bench: Bench) -> None:
    assert await bench.run("printf 12345", max_output=5) == "12345"
    assert "output_cut_bytes" not in bench.ctx.details
    assert await bench.run("printf 123456", max_output=5) == "12345"
    assert bench.ctx.details["output_cut_bytes"] == 1
    assert await bench.run("head -c 3000000 /dev/zero | tr '\\0' a; echo end >&2", max_output=10) == "a" * 10
    assert bench.ctx.details["output_cut_bytes"] == 2_999_990
    assert bench.ctx.logged == "end\n"
    assert await bench.run("printf 'a€b'", max_output=3) == "a"
    assert bench.ctx.details["output_cut_bytes"] == 4


async def test_bytes_that_are_no_text_stay_visible(bench: Bench) -> None:
    assert await bench.run("printf 'a\\377b\\000c\\303'") == "a\\xffb\\x00c\\xc3"
    assert "".join(bench.shown) == "a\\xffb\\x00c\\xc3"
    await bench.run("printf '\\377\\000' >&2")
    assert bench.ctx.logged == "\\xff\\x00"


@pytest.mark.parametrize("shell", ["/bin/dash", "/bin/bash"])
@pytest.mark.parametrize("size", [MAX_IN_ENVIRONMENT, MAX_IN_ENVIRONMENT + 1, 131_072, 1_000_000])
async def test_large_values_arrive(bench: Bench, shell: str, size: int) -> None:
    value = ("é'\"$(touch CANARY)\\\x01\x81😀\n" * size).encode()[: size - 2].decode("utf-8", "ignore") + "\n\n"
    command = 'cat <<EOF\n{x}\nEOF\nprintf %s "{x}" | cat; [ -z "$(env | grep \'^BRAIN_VALU[E]_0\')" ] || echo out >&2'
    assert await bench.run(command, given={"x": value}, shell=shell, max_output=4_000_000) == f"{value}\n{value}"[:-1]
    assert bench.ctx.logged == ("out\n" if len(value.encode()) <= MAX_IN_ENVIRONMENT else "")
    assert list(bench.folder.iterdir()) == []


async def test_many_values_together_arrive_and_leave_no_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = tmp_path / "it's tmp"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    given = {f"v{number}": str(number % 10) * 90_000 for number in range(40)}
    command = "".join(f"printf %s {{{name}}}; " for name in given) + "ls -l \"$D\" | grep -c '^-rw-------' >&2"
    assert await bench.run(command, given=given, env={"D": str(private)}, max_output=4_000_000) == "".join(
        given.values()
    )
    assert bench.ctx.logged == "36\n"
    assert list(private.iterdir()) == []


async def test_values_that_no_program_can_be_given(bench: Bench) -> None:
    assert "NUL character" in await bench.fails("echo {x}", given={"x": "a\0"})
    assert "lone surrogate" in await bench.fails("echo {x}", given={"x": "\ud800"})
    assert "use stdin=" in await bench.fails("true", env={"A": "{x}"}, given={"x": "a" * 140_000})


async def test_unsafe_inserts_plain_text(bench: Bench) -> None:
    assert await bench.run("echo $(({x} + 1)) {{x}} ${x}", given={"x": "2"}, unsafe=True) == "3 {x}"


async def test_escapes_without_placeholders(bench: Bench) -> None:
    assert await bench.run("echo {{x}} '${x}'") == "{x} ${x}"


async def test_a_grandchild_that_holds_the_pipe_does_not_block(bench: Bench) -> None:
    command = "sleep 1000 & echo $!; exit 0"
    pid = int(await asyncio.wait_for(bench.run(command), 30))
    os.kill(pid, signal.SIGKILL)  # it was left alive


async def test_what_a_grandchild_still_says_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "DRAIN_SILENCE", 60.0)
    monkeypatch.setattr(process, "DRAIN_TOTAL", 60.0)
    assert (
        await bench.run("mkfifo f; (read line < f; echo later) & echo now; (exec > /dev/null; echo > f) &")
        == "now\nlater"
    )


class Group:
    """A command whose process group is to end: it tells its pids on standard output."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ready = asyncio.Event()
        self.text = ""
        bench.on_live = self._live

    def _live(self, text: str) -> None:
        self.text += text
        if len(self.pids()) == self.expected:
            self.ready.set()

    async def started(self, command: str, pids: int) -> asyncio.Task[str]:
        self.expected = pids
        task = asyncio.ensure_future(self.bench.run(command))
        await asyncio.wait_for(self.ready.wait(), 30)
        return task

    def pids(self) -> list[int]:
        return [int(word) for word in self.text.split()] if self.text.endswith("\n") else []

    def alive(self) -> list[int]:
        return [pid for pid in self.pids() if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends while this reads
        return False


async def _ended(task: asyncio.Task[str]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 30)


async def test_cancelling_ends_the_whole_group(bench: Bench) -> None:
    group = Group(bench)
    task = await group.started("sleep 1000 & echo $!; (sleep 1000 & echo $!; wait) & echo $! $$; wait", 4)
    assert len(group.alive()) == 4
    await _ended(task)
    assert group.alive() == []


async def test_what_ignores_term_is_killed(bench: Bench) -> None:
    group = Group(bench)
    stubborn = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & echo $$; wait"
    task = await group.started(stubborn, 2)
    await _ended(task)
    assert group.alive() == []


async def test_a_second_cancellation_skips_the_grace_and_still_reaps(bench: Bench) -> None:
    group = Group(bench)
    task = await group.started("trap '' TERM; echo $$; while :; do sleep 1000; done", 1)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await _ended(task)
    assert group.alive() == []


async def test_cancelled_while_a_grandchild_holds_the_pipe(bench: Bench) -> None:
    group = Group(bench)
    task = await group.started("sleep 1000 & echo $!", 1)
    await _ended(task)
    assert group.alive() == []


async def test_cancelled_before_it_has_started(bench: Bench) -> None:
    task = asyncio.ensure_future(bench.run("echo $$; exec sleep 1000"))
    await asyncio.sleep(0)
    await _ended(task)


def test_runs_in_a_loop_of_another_thread(bench: Bench) -> None:
    outputs: list[str] = []
    thread = threading.Thread(target=lambda: outputs.append(asyncio.run(bench.run("echo {x}", given={"x": "hi"}))))
    thread.start()
    thread.join(30)
    assert outputs == ["hi"]


def test_discovery_is_cheap() -> None:
    import subprocess
    import sys

    code = "import sys, brain_shell.plugin; print(sorted(m for m in sys.modules if m in ('asyncio', 'pydantic')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hooks() -> None:
    from brain_shell import plugin

    assert plugin.brain_step_types() == [ShellStep]
    assert plugin.brain_settings()().model_dump() == {"pass_env": []}


async def test_output_is_text_also_when_it_looks_like_json(bench: Bench) -> None:
    text = await bench.run("printf '%s' '{\"total\": 3}'")
    assert text == '{"total": 3}'
    step = ShellStep(name="t", command="echo {count.total}")
    with pytest.raises(
        BrainError, match=r"^\{count\.total\}: the output of step 'count' is text, so it has no 'total'$"
    ):
        step.resolved(Scope(steps={"count": text}))
    parsed = FunctionStep(name="p", function=json.loads, args={"s": "{count}"}).resolved(Scope(steps={"count": text}))
    assert json.loads(**parsed.args) == {"total": 3}
