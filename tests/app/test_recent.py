"""What was read a moment ago: read once for all that ask at once, anew after a while, and never more than so many."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from brain_core.app import recent
from brain_core.app.recent import REMEMBERED, Recent


class Source:
    """Values that are numbered as they are read; a read ends when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answers: list[asyncio.Future[object]] = []

    async def read(self, key: str) -> object:
        self.begun.append(key)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_at_once_shares_one_read_and_a_failed_one_is_not_remembered() -> None:
    source = Source()
    cache = Recent(source.read, 10)
    for failed in (True, False):
        asking = [asyncio.create_task(cache.get("a")) for _ in range(3)]
        await settled()
        assert len(source.begun) == (1 if failed else 2)
        if failed:
            source.answers[-1].set_exception(OSError("away"))
            assert [type(one) for one in await asyncio.gather(*asking, return_exceptions=True)] == [OSError] * 3
        else:
            source.answers[-1].set_result("v")
            assert await asyncio.gather(*asking) == ["v"] * 3
    assert await cache.get("a") == "v"
    assert len(source.begun) == 2


async def test_a_value_is_as_old_as_its_read_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(recent, "monotonic", lambda: clock)
    reads = 0

    async def read(key: str) -> int:
        nonlocal clock, reads
        clock += REMEMBERED / 2
        reads += 1
        return reads

    cache = Recent(read, 10)
    assert await cache.get("a") == 1
    clock = REMEMBERED - 0.01
    assert await cache.get("a") == 1
    clock = REMEMBERED
    assert await cache.get("a") == 2


async def test_it_holds_no_more_than_so_many() -> None:
    async def read(key: int) -> int:
        return key

    cache = Recent(read, 3)
    for key in range(10):
        assert await cache.get(key) == key
        assert len(cache._values) <= 3
        assert not cache._reads


async def test_what_is_forgotten_is_read_anew_once_and_an_older_read_does_not_bring_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 0.0
    monkeypatch.setattr(recent, "monotonic", lambda: clock)
    source = Source()
    cache = Recent(source.read, 10)
    first = asyncio.create_task(cache.get("a"))
    await settled()
    source.answers[0].set_result("old")
    assert await first == "old"
    clock = REMEMBERED
    late = asyncio.create_task(cache.get("a"))
    await settled()
    # While a read is on its way, several find out that what they have is not so any more.
    old = await first
    asking = []
    for _ in range(3):
        cache.forget("a", old)
        asking.append(asyncio.create_task(cache.get("a")))
        await settled()
    assert len(source.begun) == 3
    source.answers[2].set_result("new")
    assert await asyncio.gather(*asking) == ["new"] * 3
    source.answers[1].set_result("old")
    assert await late == "old"
    await settled()
    assert await cache.get("a") == "new"
    assert len(source.begun) == 3


async def test_a_read_that_fails_when_nobody_waits_any_more_is_not_complained_of() -> None:
    source = Source()
    cache = Recent(source.read, 10)
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    asking = asyncio.create_task(cache.get("a"))
    await settled()
    asking.cancel()
    await settled()
    source.answers[0].set_exception(OSError("away"))
    await settled()
    # Nothing refers to the read any more: asyncio complains of it now if nobody has looked at its end.
    source.answers.clear()
    del asking
    gc.collect()
    assert said == []
    assert not cache._reads
