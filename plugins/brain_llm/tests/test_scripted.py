"""The two servers that the other tests stand on are there and speak what servers speak."""

from __future__ import annotations

import json
import urllib.request

import pytest

from .scripted import says


def _ask(url: str, **more) -> dict:
    body = {"model": "m", "messages": [{"role": "user", "content": "Say one word."}], **more}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def test_scripted_answers_in_order_and_the_last_stays(server):
    server.will(says("one"), says("two"))
    said = [_ask(server.url)["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["one", "two", "two"]
    assert server.requests[0].texts == ["Say one word."]


@pytest.mark.llm_real
def test_real_says_the_same_twice(real_model):
    said = [_ask(real_model.url, temperature=0, max_tokens=8)["choices"][0]["message"] for _ in range(2)]
    assert said[0] == said[1]
    assert said[0]["content"]
