"""What is large is read and recorded beside the event loop: a daemon's schedules and beats have the same one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from brain_http_api.webhook import receive

from brain_core.app import accepting

from .conftest import Served
from .deliveries import hook


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
