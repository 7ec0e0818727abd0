"""Signatures: GitHub's published example, Standard Webhooks against its authors' library, and all that is wrong."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from brain_http_api.webhook.secrets import secret_of, signing_key
from brain_http_api.webhook.verify import MOST_SIGNATURES, WINDOW, Proof, Refused, verified

from .deliveries import RAW, SIGN, bearer, github, standard

NOW = 1_700_000_000.0
KEY, OLD, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
SCHEMES = list(SIGN)

Headers = list[tuple[bytes, bytes]]


def raw(headers: dict[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def signed(scheme: str, key: bytes = KEY, body: bytes = RAW, **more: Any) -> Headers:
    if scheme == "standard":
        more = {"at": NOW, **more}
    return raw(SIGN[scheme](secret_of(scheme, key), body, **more))


def changed(headers: Headers, name: bytes, value: bytes | None) -> Headers:
    rest = [header for header in headers if header[0] != name]
    return rest if value is None else [*rest, (name, value)]


def proved(scheme: str, headers: Headers, body: bytes = RAW, now: float = NOW) -> Proof:
    return verified(scheme, [signing_key(scheme, key) for key in (KEY, OLD)], headers, body, now)


SIGNATURE = {"standard": b"webhook-signature", "github": b"x-hub-signature-256", "bearer": b"authorization"}


def test_the_example_that_github_publishes() -> None:
    secret, body = b"It's a Secret to Everybody", b"Hello, World!"
    signature = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = [(b"x-hub-signature-256", signature)]
    assert verified("github", [secret, secret], headers, body, NOW).id is None
    with pytest.raises(Refused):
        verified("github", [secret, secret], headers, body + b" ", NOW)


@pytest.mark.parametrize("body", [RAW, b"", "ü \U0001f4a3".encode(), b"x" * 100_000], ids=len)
def test_what_the_library_of_standard_webhooks_signs_is_right_and_ours_is_for_it(body: bytes) -> None:
    secret = secret_of("standard", KEY)
    library = standardwebhooks.Webhook(secret)
    moment = datetime.now(UTC).replace(microsecond=0)
    signature = library.sign("msg_1", moment, body.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}
    assert proved("standard", raw(headers), body, moment.timestamp()) == ("msg_1", "id:msg_1")
    library.verify(body, standard(secret, body), json_parse=False)


def test_the_example_of_the_library() -> None:
    secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    key = base64.b64decode(secret)
    assert verified("standard", [key, key], raw(headers), b'{"test": 2432232314}', 1614265330.0).id is not None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_secrets_are_taken_and_no_third(scheme: str) -> None:
    assert proved(scheme, signed(scheme, KEY))
    assert proved(scheme, signed(scheme, OLD))
    with pytest.raises(Refused, match=r"right|not the one"):
        proved(scheme, signed(scheme, OTHER))


@pytest.mark.parametrize("scheme", ["standard", "github"])
def test_another_body_is_refused(scheme: str) -> None:
    for body in (RAW + b" ", RAW[:-1], b"", RAW.replace(b"7", b"8")):
        with pytest.raises(Refused, match="no signature"):
            proved(scheme, signed(scheme), body)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signatures_that_are_cut_or_changed_are_refused(scheme: str) -> None:
    headers, name = signed(scheme), SIGNATURE[scheme]
    right = dict(headers)[name]
    start = right.index({"standard": b",", "github": b"=", "bearer": b" "}[scheme]) + 1
    assert proved(scheme, headers)
    for end in range(len(right)):
        with pytest.raises(Refused):
            proved(scheme, changed(headers, name, right[:end]))
    for at in range(start, len(right) - 1):
        wrong = right[:at] + (b"A" if right[at : at + 1] != b"A" else b"B") + right[at + 1 :]
        with pytest.raises(Refused):
            proved(scheme, changed(headers, name, wrong))
    wrong = (b"", right + b"A", right[start:], right * 2, b"\xff" + right, right + b"\xe9", right.swapcase(), b"\x00")
    for value in (*wrong, b", ", b"v1,", b"v1", b"sha256=", b"Bearer", b"Bearer ", b"Basic " + right[start:]):
        with pytest.raises(Refused):
            proved(scheme, changed(headers, name, value))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_headers_that_are_missing_or_there_twice_are_refused(scheme: str) -> None:
    optional = {b"x-github-delivery", b"idempotency-key"}
    headers = signed(scheme, delivery="one")
    told = {b"content-type", b"user-agent", b"x-github-event", b"x-github-hook-id"}
    for name, value in headers:
        if name in told:
            continue
        with pytest.raises(Refused, match=f"it has several headers {name.decode()}"):
            proved(scheme, [*headers, (name, value)])
        if name not in optional:
            with pytest.raises(Refused, match=f"it has no header {name.decode()}"):
                proved(scheme, changed(headers, name, None))


@pytest.mark.parametrize(("off", "right"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_the_time_may_be_five_minutes_off_both_ways(off: int, right: bool) -> None:
    assert WINDOW == 300
    headers = signed("standard", at=NOW + off)
    if right:
        assert proved("standard", headers)
    else:
        with pytest.raises(Refused, match=r"its time is 301 s (ahead|ago), and 300 s may be"):
            proved("standard", headers)


@pytest.mark.parametrize(
    "stamp", ["", "now", "1700000000.0", "1.7e9", "-1", "+1700000000", " 1700000000", "1_700_000_000", "9" * 16, "nan"]
)
def test_times_that_are_none_are_refused_even_when_they_are_signed(stamp: str) -> None:
    key = signing_key("standard", KEY)
    headers = changed(signed("standard"), b"webhook-timestamp", stamp.encode())
    mac = hmac.digest(key, b".".join((dict(headers)[b"webhook-id"], stamp.encode(), RAW)), "sha256")
    headers = changed(headers, b"webhook-signature", b"v1," + base64.b64encode(mac))
    with pytest.raises(Refused, match="no whole number"):
        proved("standard", headers)


@pytest.mark.parametrize("given", ["a.1", "a b", "x" * 256, "a\tb"])
def test_ids_that_could_be_read_in_two_ways_are_refused_even_when_they_are_signed(given: str) -> None:
    with pytest.raises(Refused, match="webhook-id"):
        proved("standard", signed("standard", delivery=given))


def test_one_of_several_signatures_has_to_be_right() -> None:
    headers = signed("standard")
    right, wrong = dict(headers)[b"webhook-signature"], dict(signed("standard", OTHER))[b"webhook-signature"]
    for value in (b" ".join((wrong, right)), b" ".join((right, wrong)), b"v1a,xyz " + right, b"  " + right + b" v2"):
        assert proved("standard", changed(headers, b"webhook-signature", value))
    for value in (wrong, b" ".join([wrong] * 100), right.replace(b"v1,", b"v2,"), right.replace(b"v1,", b"v1a,")):
        with pytest.raises(Refused):
            proved("standard", changed(headers, b"webhook-signature", value))


def test_more_signatures_than_a_sender_has_secrets_are_refused() -> None:
    headers = signed("standard")
    right, wrong = dict(headers)[b"webhook-signature"], dict(signed("standard", OTHER))[b"webhook-signature"]
    most = [wrong] * (MOST_SIGNATURES - 1) + [right]
    assert proved("standard", changed(headers, b"webhook-signature", b" ".join(most)))
    with pytest.raises(Refused, match="more than 10 signatures"):
        proved("standard", changed(headers, b"webhook-signature", b" ".join([wrong, *most])))


@pytest.mark.parametrize(
    "long", [b"v1," * 5_000, b"v1, " * 4_000, b"sha256=" + b"a" * 16_000, b"Bearer " + b"a" * 16_000]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_long_headers_are_hardly_more_work(scheme: str, long: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def counting(expected: bytes, given: bytes) -> bool:
        compared.append(len(given))
        return real(expected, given)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    headers = changed(signed(scheme), SIGNATURE[scheme], long)
    with pytest.raises(Refused):
        proved(scheme, headers)
    assert sum(compared) < 200


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_a_comparison_in_constant_time_says_whether_a_signature_is_right(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmac, "compare_digest", lambda expected, given: False)
    with pytest.raises(Refused, match=r"right|not the one"):
        proved(scheme, signed(scheme))


def test_what_makes_a_delivery_the_same() -> None:
    assert proved("standard", signed("standard", delivery="a")).key == "id:a"
    # GitHub may send equal bodies as different deliveries.
    assert [proved("github", signed("github", delivery=each)).key for each in "ab"] == ["id:a", "id:b"]
    unnamed = [changed(signed("github", body=body), b"x-github-delivery", None) for body in (RAW, RAW, RAW + b" ")]
    keys = [proved("github", headers, body).key for headers, body in zip(unnamed, (RAW, RAW, RAW + b" "), strict=True)]
    assert keys[0] == keys[1] != keys[2]
    assert proved("bearer", signed("bearer")) == (None, None)
    assert proved("bearer", signed("bearer", delivery="k 1")) == ("k 1", "id:k 1")


def test_the_word_bearer_may_be_written_in_any_way() -> None:
    for word in ("bearer", "BEARER", "Bearer ", "Bearer"):
        assert proved("bearer", [(b"authorization", f"{word} {secret_of('bearer', KEY)}".encode())])


def test_a_scheme_that_is_not_known_takes_nothing() -> None:
    for headers in (bearer("x", RAW), github("x", RAW)):
        with pytest.raises(Refused, match="knows no scheme 'odd'"):
            proved("odd", raw(headers))


def test_secrets_have_the_forms_that_senders_know() -> None:
    assert secret_of("standard", KEY) == "whsec_" + base64.b64encode(KEY).decode()
    assert standardwebhooks.Webhook(secret_of("standard", KEY))._whsecret == KEY == signing_key("standard", KEY)
    for scheme in ("github", "bearer"):
        secret = secret_of(scheme, bytes([255]) * 32)
        assert len(secret) == 43
        assert set(secret) == {"_", "8"}
