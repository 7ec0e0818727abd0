"""Frames: whole messages in order however the bytes come, bounded, and never anything but JSON."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest

from brain_core.engine.processes.link import BATCH, Frames, Link, MessageTooLarge


def frame(*messages: object) -> bytes:
    body = json.dumps(messages).encode()
    return struct.pack("!I", len(body)) + body


def test_messages_come_whole_however_the_bytes_are_cut():
    data = frame({"a": 1}) + frame({"b": "ä\ud800"}, {"c": None}) + frame()
    frames = Frames(1000)
    got = [message for at in range(len(data)) for message in frames.feed(data[at : at + 1])]
    assert got == [{"a": 1}, {"b": "ä\ud800"}, {"c": None}]
    assert Frames(1000).feed(data) == got


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    assert Frames(10).feed(struct.pack("!I", 10 + BATCH)) == []
    with pytest.raises(ValueError, match="limit"):
        Frames(10).feed(struct.pack("!I", 11 + BATCH))


class End:
    def __init__(self) -> None:
        self.got: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()

    def receive(self, message: Any) -> None:
        self.got.append(message)
        self.arrived.set()


async def pair(limit: int = 1_000_000) -> tuple[Link, Link, End, End]:
    left, right = socket.socketpair()
    one, two = End(), End()
    return (
        await Link.open(left, one.receive, one.lost.set_result, limit),
        await Link.open(right, two.receive, two.lost.set_result, limit),
        one,
        two,
    )


async def test_messages_of_a_turn_share_a_frame_and_keep_their_order():
    left, right, _, two = await pair()
    for number in range(1000):
        left.send({"n": number})
    left.send({"last": "x" * (BATCH + 1)})
    while not two.got or "last" not in two.got[-1]:
        two.arrived.clear()
        await asyncio.wait_for(two.arrived.wait(), 60)
    assert [message["n"] for message in two.got[:-1]] == list(range(1000))
    left.close()
    assert await asyncio.wait_for(two.lost, 60) == "closed"
    right.close()


async def test_a_message_over_the_limit_is_refused_and_the_next_one_goes():
    left, right, _, two = await pair(limit=50)
    left.send({"a": "x" * 42})
    with pytest.raises(MessageTooLarge):
        left.send({"a": "x" * 43})
    left.send({"b": 1})
    left.close()
    await asyncio.wait_for(two.lost, 60)
    assert two.got == [{"a": "x" * 42}, {"b": 1}]
    right.close()


@pytest.mark.parametrize("rubbish", [b"\0\0\0\2{}", b"\0\0\0\1x", b"\xff\xff\xff\xff", b"\0\0\0\3[1]"])
async def test_what_is_no_message_ends_the_link_with_the_reason(rubbish: bytes):
    left, right = socket.socketpair()
    end = End()
    link = await Link.open(left, end.receive, end.lost.set_result, 1000)
    right.sendall(rubbish)
    assert "no message" in await asyncio.wait_for(end.lost, 60)
    right.close()
    assert end.got == []
    link.close()


async def test_a_slow_reader_is_waited_for_and_nothing_is_lost():
    left, right, _, two = await pair(limit=10_000_000)
    assert right._transport is not None
    right._transport.pause_reading()
    left.send({"a": "x" * 8_000_000})
    left.send({"b": 1})
    await asyncio.sleep(0)
    assert left.full
    waiting = asyncio.ensure_future(left.room())
    right._transport.resume_reading()
    await asyncio.wait_for(waiting, 60)
    left.close()
    await asyncio.wait_for(two.lost, 60)
    assert [list(message) for message in two.got] == [["a"], ["b"]]
    right.close()
