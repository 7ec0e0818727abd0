"""What is large is read and recorded beside the event loop: a daemon's schedules and beats have the same one."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from brain_http_api import encoding
from brain_http_api.webhook import receive

from brain_core.app import accepting
from brain_core.facade import run_shape
from brain_core.store import runs

from .conftest import Served
from .deliveries import hook
from .test_routes_runs import ended


@pytest.mark.parametrize("large", [False, True])
async def test_a_large_delivery_keeps_nobody_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    beside = []

    def watched(work: Any) -> Any:
        def done(*args: Any) -> Any:
            beside.append(threading.current_thread() is not threading.main_thread())
            return work(*args)

        return done

    monkeypatch.setattr(receive, "parsed", watched(receive.parsed))
    monkeypatch.setattr(accepting, "encode", watched(accepting.encode))
    one = await hook(served)
    # Hundreds of thousands of values, over which a loop stands still for a second.
    body = b"[" + b"{}," * (300_000 if large else 3) + b"{}]"
    answer = await one.post(body)
    assert answer.status_code == 202
    assert beside == [large, large]
    # What cannot be read is said all the same.
    answer = await one.post(body[:-1])
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:brain-core:problem:bad-request")


@pytest.mark.parametrize("large", [False, True])
async def test_others_get_their_turn_between_the_large_steps_of_a_run(
    served: Served, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    taken: list[str] = []

    def noted(work: Any) -> Any:
        def done(value: Any) -> Any:
            taken.append("large" if len(str(value)) > 64 * 1024 else "small")
            return work(value)

        return done

    async def others() -> None:
        while True:
            taken.append("others")
            await asyncio.sleep(0)

    run_id = await ended(served, f'"{"x" * (100_000 if large else 9)}"')
    monkeypatch.setattr(runs, "decode", noted(runs.decode))
    monkeypatch.setattr(encoding, "json_text", noted(encoding.json_text))
    task = asyncio.create_task(others())
    run = await runs.get(served.brain.db, run_id)
    taken.append("read")
    await encoding.run_text(run_shape(run, steps=True))
    task.cancel()
    read, written = taken[: taken.index("read")], taken[taken.index("read") + 1 :]
    # Reading, a step is its output and its details.
    assert [after for first, _, after in _threes(read) if first == "large"] == ["others"] * large
    assert [after for first, after in itertools.pairwise(written) if first == "large"] == ["others"] * large
    assert ("others" in written) is large


def _threes(taken: list[str]) -> list[tuple[str, str, str]]:
    return list(zip(taken, taken[1:], taken[2:], strict=False))


async def test_who_cancels_a_run_has_nothing_of_its_outputs_read(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await ended(served, '"x"')
    read: list[Any] = []
    monkeypatch.setattr(runs, "_step", read.append)
    answer = await served.client.post(f"/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["answer"], read) == (200, "over", [])
