"""Step requests through a runner process against the same in this process, and what a runner process costs.

    python benchmarks/runner_link.py [--requests 6000]

Prints: no-op requests a second through LocalRunner and through one link (many at once), the time of one warm request,
of a fork with the load of a small file, and the memory of daemon, zygote and six runners with shared pages counted once
(PSS; Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.processes.pool import RunnerPool
from brain_core.engine.processes.process_runner import RunnerSettings
from brain_core.engine.processes.spawner import Preparation, Spawner
from brain_core.engine.runner import Runner, StepRequest

FLOW = """
from brain_core import Step, Workflow

class Noop(Step):
    async def run(self, ctx):
        return "ok"

workflow = Workflow(name="noop", steps=[Noop(name="a")])
"""
REQUEST = StepRequest("00000000-0000-0000-0000-000000000000", 0, 1, facts={"id": "0", "workflow": "noop"})
AT_ONCE = 500


def nothing(text: str) -> None:
    pass


async def rate(runner: Runner, requests: int) -> float:
    """Return requests a second, the best of three rounds, with AT_ONCE under way at any moment."""

    async def work(share: int) -> None:
        for _ in range(share):
            await runner.run_step(REQUEST, nothing)

    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        await asyncio.gather(*(work(requests // AT_ONCE) for _ in range(AT_ONCE)))
        best = max(best, requests // AT_ONCE * AT_ONCE / (time.perf_counter() - began))
    return best


async def one_by_one(runner: Runner, requests: int) -> float:
    """Return the median time of a request when nothing else is under way, in seconds."""
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        await runner.run_step(REQUEST, nothing)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def pss(pid: int) -> float:
    """Return the memory of a process in MB, pages shared with others counted in part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def say_memory(zygote: int, runners: list[int]) -> None:
    if Path("/proc/self/smaps_rollup").exists():
        parts = {"daemon": pss(os.getpid()), "zygote": pss(zygote)}
        parts |= {f"runner {number}": pss(pid) for number, pid in enumerate(sorted(runners), 1)}
        print(f"memory (PSS)           {sum(parts.values()):9.1f} MB: ", end="")
        print(", ".join(f"{name} {size:.1f}" for name, size in parts.items()))


async def main(spawner: Spawner, folder: Path, requests: int) -> None:
    files = [folder / f"flow_{number}.py" for number in range(6)]
    for file in files:
        file.write_text(FLOW)
    pool = RunnerPool(spawner, RunnerSettings(silence=8))
    try:
        runner = await pool.runner_for(files[0])
        loads = []
        for file in files[1:]:
            began = time.perf_counter()
            held = await pool.runner_for(file)
            loads.append(time.perf_counter() - began)
            if file is not files[1]:
                await held.close()
        local = LocalRunner()
        await local.load(files[0])
        here, there = await rate(local, requests), await rate(runner, requests)
        print(f"LocalRunner            {here:9,.0f} requests/s")
        print(f"one runner process     {there:9,.0f} requests/s   ratio {there / here:.2f}")
        print(f"one warm request       {await one_by_one(runner, 1_000) * 1000:9.3f} ms (median, alone)")
        print(f"fork and load          {statistics.median(loads) * 1000:9.1f} ms (median of {len(loads)})")
        say_memory(spawner.pid, pool.pids)
    finally:
        await pool.close()
        await spawner.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6_000)
    arguments = parser.parse_args()
    # Before there is a loop: the runners share the imports of this process.
    forked = Spawner.forked(Preparation())
    with tempfile.TemporaryDirectory(prefix="brain-bench-") as name:
        asyncio.run(main(forked, Path(name), arguments.requests))
