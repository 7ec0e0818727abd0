"""A key is taken out of what a server sends, in every form and at every place where a text is cut."""

from __future__ import annotations

import base64
import json
import shlex
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from brain_llm import faults
from brain_llm.endpoint import Endpoint
from brain_llm.keys import LiveMask, Mask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

KEY = "sk-a/b+c'd\"e\\f%&=0123456789"


def endpoint(key: str | None = KEY) -> Endpoint:
    secret = None if key is None else SecretStr(key)
    return Endpoint("openai", "http://h:1/v1", "h:1", "m", secret, "env:K", True, None, None)


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        quote(KEY),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower().replace("sk-a", "sk-a"),
        shlex.quote(KEY),
        repr(KEY)[1:-1],
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
    ],
)
def test_every_form_is_masked(form: str) -> None:
    text = Mask(KEY).error(f"bad key {form}!")
    assert text == "bad key ***!"


@pytest.mark.parametrize("before", ["", "u:", "Bearer ", "user:", "abcd"])
def test_inside_longer_base64(before: str) -> None:
    coded = base64.b64encode(f"{before}{KEY}:tail".encode()).decode()
    masked = Mask(KEY).error(coded)
    assert "***" in masked
    # At most three characters at either end hold bits of the key and of what is beside it.
    assert len(coded) - len(masked.replace("***", "")) >= len(KEY) * 4 // 3 - 6


@given(st.lists(st.sampled_from([KEY, KEY[:9], KEY[9:], "x", "sk-", "\n", KEY[0]]), max_size=12), st.data())
def test_live_text_in_pieces_is_masked_as_the_whole_is(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    live, shown, at = LiveMask(Mask(KEY)), "", 0
    while at < len(text):
        size = data.draw(st.integers(1, 12))
        shown += live.feed(text[at : at + size])
        assert KEY not in shown
        at += size
    shown += live.rest()
    assert shown == Mask(KEY).ended(text)


def test_without_a_key_nothing_is_held_back() -> None:
    assert LiveMask(Mask(None)).feed("sk-") == "sk-"


def test_a_word_for_a_key_stays_in_answers() -> None:
    assert Mask("ollama").answer("ask ollama") == "ask ollama"
    assert Mask("ollama").error("bad key ollama") == "bad key ***"
    assert Mask("x").error("x") == "x"


@pytest.mark.parametrize("padding", range(0, 320, 7))
def test_a_cut_leaves_no_part_of_a_key(padding: int) -> None:
    body = "." * padding + KEY + "." * 400
    for text in (body, json.dumps({"error": {"message": body}}), json.dumps({"detail": [body]})):
        for fault in (
            faults.refused(endpoint(), 401, {}, text, datetime.now(UTC)),
            faults.not_json(endpoint(), text),
            faults.unreachable(endpoint(), text),
            faults.dropped(endpoint(), text),
            faults.in_stream(endpoint(), None, text),
            faults.unknown_model(endpoint(), [text[:200]]),
        ):
            assert KEY[:6] not in str(fault)
            assert len(str(fault)) < 1_000
            assert "\n" not in str(fault)


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("inf", faults.LONGEST_WAIT),
        ("nan", None),
        ("1e400", faults.LONGEST_WAIT),
        ("", None),
        ("soon", None),
        ("9" * 200, None),
        ("Fri, 01 May 2026 12:00:30 GMT", 30),
        ("Friday, 01-May-26 12:00:30 GMT", 30),
        ("Fri, 01 May 2026 11:00:00 GMT", 0),
        ("Fri, 01 May 2026 14:00:30 +0200", 30),
        ("Fri, 99 May 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert faults.wait_of({"retry-after": text}, NOW) == seconds


def test_retry_after_in_milliseconds_goes_first() -> None:
    assert faults.wait_of({"retry-after-ms": "250", "retry-after": "9"}, NOW) == 0.25
    assert faults.wait_of({"retry-after-ms": "x", "retry-after": "9"}, NOW) == 9
    assert faults.wait_of({}, NOW) is None


@pytest.mark.parametrize(
    ("status", "body", "transient", "words"),
    [
        (401, '{"error": {"message": "no"}}', False, "h:1 refuses the key (401); correct the variable K: no"),
        (403, "{}", False, "does not allow this (403)"),
        (429, '{"error": {"code": "insufficient_quota", "message": "pay"}}', False, "has nothing left (429): pay"),
        (429, "slow", True, "is asked too often (429): slow"),
        (503, "<html>busy</html>", True, "cannot answer now (503)"),
        (500, "oops", True, "cannot answer now (500): oops"),
        (
            400,
            '{"error": {"code": "context_length_exceeded", "message": "maximum context"}}',
            False,
            "prompt is too long",
        ),
        (400, '{"error": "response_format is not supported"}', False, "refuses the schema of output="),
        (404, '{"error": {"message": "model \\"m\\" not found, try pulling it first"}}', False, "has no model 'm'"),
        (404, "not here", False, "knows no chat completions (404): not here; set provider_url"),
        (302, "", False, "sends its callers on to"),
        (418, "tea\x1b[31m\x00", False, "refuses the call (418): tea [31m"),
    ],
)
def test_an_error_status_is_sorted(status: int, body: str, transient: bool, words: str) -> None:
    fault = faults.refused(endpoint(), status, {}, body, NOW)
    assert words in str(fault)
    assert fault.transient is transient


def test_without_a_key_a_401_says_that_none_is_set() -> None:
    assert "none is set; set api_key='env:NAME'" in str(faults.refused(endpoint(None), 401, {}, "", NOW))


def test_a_service_that_cannot_be_reached_is_not_to_be_started() -> None:
    away = faults.unreachable(endpoint()._replace(url="https://api.anthropic.com", own_url=False), "Name not known")
    assert str(away) == "no server answers at https://api.anthropic.com (Name not known); see to this machine's network"


def test_waits_are_for_429_and_503_alone() -> None:
    later = {"retry-after": "5"}
    found = {status: faults.refused(endpoint(), status, later, "", NOW).wait for status in (429, 503, 500, 400)}
    assert found == {429: 5, 503: 5, 500: None, 400: None}


@pytest.mark.parametrize("size", range(1, len(KEY)))
def test_a_text_that_breaks_off_inside_a_key_shows_no_half_of_it(size: int) -> None:
    live = LiveMask(Mask(KEY))
    shown = live.feed("your key: " + KEY[:size]) + live.rest()
    assert shown == Mask(KEY).ended("your key: " + KEY[:size])
    assert KEY[: max(8, len(KEY) // 2)] not in shown
    assert shown.startswith("your key: ")


def test_a_key_in_a_value_is_masked_names_included() -> None:
    assert Mask(KEY).value({f"a{KEY}": [KEY, 1, None, {"b": f"{KEY}!"}]}) == {"a***": ["***", 1, None, {"b": "***!"}]}
    assert Mask(None).value({KEY: 1}) == {KEY: 1}
