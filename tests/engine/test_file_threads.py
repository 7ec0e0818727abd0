"""File calls beside the event loop: who hangs is waited for by those who asked, and by no others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from brain_core import threads
from brain_core.engine import file_threads
from brain_core.engine.file_threads import FileThreads


class Away:
    """A file system that hangs: calls about its files wait until it is back."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.entered = threading.Semaphore(0)
        self.asked = 0

    def call(self) -> str:
        self.asked += 1
        self.entered.release()
        self.back.wait()
        return "there"


@pytest.fixture
def away() -> Iterator[Away]:
    made = Away()
    yield made
    made.back.set()


@pytest.fixture
async def files() -> AsyncIterator[FileThreads]:
    made = FileThreads(limit=4, per_folder=2)
    yield made
    made.close()


async def test_an_answer_and_an_error_come_to_who_asked(files: FileThreads) -> None:
    assert await files.ask("/here/a", lambda: 7) == 7
    with pytest.raises(OSError, match="broken"):
        await files.ask("/here/a", partial(_raise, OSError("broken")))


def _raise(error: Exception) -> None:
    raise error


async def test_a_folder_that_hangs_holds_up_no_other(files: FileThreads, away: Away) -> None:
    hanging = [files.ask(f"/away/{at}", away.call) for at in range(10)]
    for at in range(20):
        assert await files.ask(f"/here/{at}", lambda: "there") == "there"
    assert away.asked == 2, "no more threads than one folder may have"
    assert not any(each.done() for each in hanging)
    away.back.set()
    assert await asyncio.gather(*hanging) == ["there"] * 10


async def test_no_more_threads_than_there_may_be_and_each_gets_its_turn(files: FileThreads, away: Away) -> None:
    before = _threads()
    hanging = [files.ask(f"/away-{at}/file", away.call) for at in range(6)]
    for _ in range(4):
        await asyncio.to_thread(away.entered.acquire)
    assert (away.asked, len(_threads() - before)) == (4, 4)
    away.back.set()
    assert await asyncio.gather(*hanging) == ["there"] * 6


def _threads() -> set[threading.Thread]:
    """The threads for files that live, those of other tests among them: they may still be ending."""
    return {thread for thread in threading.enumerate() if thread.name == "brain-file"}


async def test_a_call_that_nobody_waits_for_any_more_is_not_made(files: FileThreads, away: Away) -> None:
    hanging = [files.ask("/away/file", away.call) for _ in range(3)]
    hanging[2].cancel()
    for _ in range(2):
        await asyncio.to_thread(away.entered.acquire)
    away.back.set()
    await asyncio.gather(*hanging[:2])
    assert await files.ask("/away/file", lambda: away.asked) == 2


async def test_a_thread_that_the_system_does_not_give_is_asked_for_again(
    files: FileThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [RuntimeError("can't start new thread")] * 2
    start = threads.start_thread

    def refuse(work: Callable[[], Any], name: str) -> threading.Thread:
        if refusals:
            raise refusals.pop()
        return start(work, name)

    monkeypatch.setattr(file_threads, "start_thread", refuse)
    assert await files.ask("/here/file", Path("/").exists)
    assert refusals == []
