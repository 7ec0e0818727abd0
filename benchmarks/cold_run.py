"""`brain run` and `brain --help` as whole processes, against a bare one that imports the libraries and commits once."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import home_and_url

ROUNDS = 15
FLOOR = """
import asyncio, sys
import asyncpg, pluggy, typer, pydantic_settings

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("create table if not exists floor (at timestamptz)")
    await connection.execute("insert into floor values (now())")
    await connection.close()

asyncio.run(main())
"""
WORKFLOW = """
from brain_core import Step, Workflow

class Noop(Step):
    async def run(self, ctx):
        return "ok"

workflow = Workflow(name="noop", steps=[Noop(name="one"), Noop(name="two")])
"""


def once(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Run a process; return its seconds and its peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    if status != 0:
        sys.exit(f"{command} failed: {said.decode()}")
    return took, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


def main(home: Path, url: str) -> None:
    env = {**os.environ, "THE_BRAIN_HOME": str(home), "THE_BRAIN_DATABASE_URL": url}
    file = home / "noop_flow.py"
    file.write_text(WORKFLOW)
    commands = {
        "floor": [sys.executable, "-c", FLOOR, url],
        "brain run (two no-op steps)": [sys.executable, "-m", "brain_core", "run", str(file)],
        "brain --help": [sys.executable, "-m", "brain_core", "--help"],
        "brain history": [sys.executable, "-m", "brain_core", "history"],
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for command in commands.values():
        once(command, env)
    for _ in range(ROUNDS):
        # In turn, so that a noisy moment hits all of them.
        for name, command in commands.items():
            took[name].append(once(command, env))
    floor = statistics.median(seconds for seconds, _ in took["floor"])
    for name, figures in took.items():
        seconds = statistics.median(each for each, _ in figures)
        memory = max(each for _, each in figures)
        print(f"{name:30s} {seconds * 1000:6.0f} ms   {seconds / floor:.2f} of the floor   {memory:.0f} MB")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with home_and_url() as (home, url):
        main(home, url)
