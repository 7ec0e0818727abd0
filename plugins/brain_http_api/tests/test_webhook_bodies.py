"""What is read of a delivery: kinds of bodies, JSON that cannot be kept, and the headers that steps may read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from brain_http_api.problems import Problem
from brain_http_api.settings import SECRET_HEADERS, HttpApiSettings
from brain_http_api.strict_json import MAX_DEPTH
from brain_http_api.webhook.delivery import HEADERS, kind_of, parsed, payload_of
from brain_http_api.webhook.verify import Proof

PROOF = Proof("d1", "id:d1")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("application/json", "json"),
        ("Application/JSON ; charset=UTF-8", "json"),
        ('application/json;charset="utf-8"', "json"),
        ("application/cloudevents+json; charset=utf-8", "json"),
        ("application/x-www-form-urlencoded", "form"),
        ("text/plain", "text"),
        ("text/plain; charset=us-ascii; format=flowed", "text"),
    ],
)
def test_kinds_of_bodies(given: str, kind: str) -> None:
    assert kind_of([(b"content-type", given.encode())]) == kind


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["text/html"],
        ["multipart/form-data; boundary=x"],
        ["application/octet-stream"],
        ["application/json; charset=utf-16"],
        ["text/plain; charset=latin-1"],
        ["json"],
        ["application/json, text/plain"],
        ["application/json", "application/json"],
        ["application/xml"],
        ["\xe9/json"],
    ],
    ids=str,
)
def test_other_kinds_are_refused(given: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        kind_of([(b"content-type", value.encode("latin-1")) for value in given])
    assert (caught.value.status, caught.value.kind) == (415, "unsupported-media-type")


DEEP = MAX_DEPTH


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("json", b'{"a": [1, 1.5, "\xc3\xa9", null, true]}', {"a": [1, 1.5, "é", None, True]}),
        ("json", b'"a"', "a"),
        ("json", b"3" * 400, int("3" * 400)),
        ("json", b"1e300", 1e300),
        ("json", b'"\\ud83d\\ude00 \\u0000"', "\U0001f600 \0"),
        ("json", b"[" * DEEP + b"1" + b"]" * DEEP, None),
        ("json", b"[" + b"{}," * DEEP + b"1]", [*[{}] * DEEP, 1]),
        ("text", b"{a\nb}", "{a\nb}"),
        ("text", b"", ""),
        ("form", b"a=1&b=x+y%C3%A9&c=", {"a": "1", "b": "x yé", "c": ""}),
        ("form", b"payload=%7B%22a%22%3A1%7D", {"a": 1}),
        ("form", b"payload=x&token=1", {"payload": "x", "token": "1"}),
        ("form", b"", {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_can_be_kept(kind: Any, body: bytes, value: Any) -> None:
    found = parsed(kind, body)
    assert found == (json.loads(body) if value is None else value)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *(("json", body) for body in (b"", b"{", b"{a: 1}", b"[1,]", b"NaN", b"[Infinity]", b"-Infinity", b"1 2")),
        ("json", b'{"a": 1, "a": 2}'),
        ("json", b'[{"a": {"b": 1, "c": 2, "b": 1}}]'),
        ("json", b"1e999"),
        ("json", b'{"a": -1e400}'),
        ("json", b"9" * 5_000),
        ("json", b'"\\ud800"'),
        ("json", b'{"\\udfff": 1}'),
        ("json", b'"\xff"'),
        ("json", b"\xef\xbb\xbf{}"),
        ("json", '{"a": "é"}'.encode("utf-16")),
        ("json", b"[" * (DEEP + 1) + b"1" + b"]" * (DEEP + 1)),
        ("json", b'{"a":' * 500_000),
        ("json", b"[" * 100_000 + b"]" * 100_000),
        ("text", b"\xff\xfe"),
        ("form", b"a"),
        ("form", b"a=1&a=2"),
        ("form", b"payload=%7B"),
        ("form", b"a=%ff"),
        ("form", b"\xff=1"),
        ("form", b"&".join(b"a%d=1" % n for n in range(1_001))),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_cannot_be_kept_are_told_so(kind: Any, body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        parsed(kind, body)
    assert (caught.value.status, caught.value.kind) == (400, "bad-request")
    assert caught.value.detail.startswith("the body cannot be read: ")
    assert len(caught.value.detail) <= 300


def test_a_number_that_is_too_long_is_told_so_without_advice_for_our_code() -> None:
    with pytest.raises(Problem) as caught:
        parsed("json", b"9" * 5_000)
    assert caught.value.detail == "the body cannot be read: a number in it has more than 4,300 digits"


def test_steps_read_the_headers_that_they_may_and_no_others() -> None:
    proof = [(name.encode(), b"s3cret") for name in SECRET_HEADERS]
    headers = [
        *proof,
        (b"content-type", b"application/json"),
        (b"user-agent", b"GitHub-Hookshot/1"),
        (b"x-github-event", b"push"),
        (b"x-github-delivery", b"d1"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-mine", b"a"),
        (b"x-mine", "é".encode()),
        (b"x-other", b"\xe9"),
    ]
    told = payload_of(
        "github", PROOF, headers, {"type": "ignored"}, HttpApiSettings(webhook_headers=("X-Mine",)).webhook_headers
    )
    assert told == {
        "id": "d1",
        "event": "push",
        "body": {"type": "ignored"},
        "headers": {
            "content_type": "application/json",
            "user_agent": "GitHub-Hookshot/1",
            "x_github_event": "push",
            "x_github_delivery": "d1",
            "x_mine": "a, é",
        },
    }
    assert payload_of("github", PROOF, headers, None, ["x-other"])["headers"]["x_other"] == "é"


def test_no_header_that_proves_a_sender_may_be_read() -> None:
    for names in HEADERS.values():
        assert not SECRET_HEADERS & set(names)
    for name in SECRET_HEADERS:
        with pytest.raises(ValueError, match="proves a sender"):
            HttpApiSettings(webhook_headers=(name.upper(),))


@pytest.mark.parametrize(
    ("body", "event"), [({"type": "a.b"}, "a.b"), ({"type": 3}, None), ({}, None), (["type"], None), ("type", None)]
)
def test_the_event_of_a_delivery_is_the_type_of_its_body(body: Any, event: str | None) -> None:
    for scheme in ("standard", "bearer"):
        headers = [(b"x-github-event", b"not signed")]
        assert payload_of(scheme, PROOF, headers, body, ())["event"] == event
