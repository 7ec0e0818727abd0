"""Deliveries over real sockets: each is one run, whatever knocks besides is told one and the same."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest
from brain_http_api.settings import SECRET_HEADERS
from brain_http_api.webhook import receive
from brain_http_api.webhook.receive import Receiver

from .conftest import Serve, Served, until
from .deliveries import BODY, JSON, RAW, SIGN, Hook, github, hook, request_of, seen, sent, standard

SCHEMES = list(SIGN)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of senders in the server's own process may keep it from an answer of the database for seconds."""
    monkeypatch.setattr(receive, "PATIENCE", 60.0)


async def runs(served: Served) -> list[Any]:
    found = await served.sql("SELECT id, status, trigger_id, trigger FROM brain.runs")
    return [{**row, "trigger": json.loads(row["trigger"])} for row in found]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_delivery_is_a_run_when_it_is_answered(serve: Serve, scheme: str) -> None:
    served = await serve(root_path="/brain", webhook_headers=("X-Mine",))
    to = await hook(served, scheme)
    headers = {**to.headers(delivery="one"), "x-mine": "e", "x-other": "no", "user-agent": "me/1", "cookie": "a=b"}
    answer = await to.client.post(f"/brain/hooks/{scheme}", content=RAW, headers=headers)
    assert answer.status_code == 202
    (run,) = await runs(served)
    assert answer.json() == {"run_id": str(run["id"]), "repeated": False}
    assert answer.headers["location"] == f"/brain/runs/{run['id']}"
    looked = await served.client.get(answer.headers["location"])
    assert looked.json()["trigger"] == run["trigger"]
    trigger = run["trigger"]
    told = trigger.pop("headers")
    event = "push" if scheme == "github" else "order.paid"
    assert trigger == {"type": "webhook", "name": scheme, "id": "one", "event": event, "body": BODY}
    assert told.items() >= {"user_agent": "me/1", "content_type": JSON, "x_mine": "e"}.items()
    assert not {name.replace("-", "_") for name in SECRET_HEADERS} & told.keys()
    assert "x_other" not in told
    assert (run["status"], run["trigger_id"]) == ("queued", to.id)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_same_delivery_a_hundred_times_at_once_is_one_run(served: Served, scheme: str) -> None:
    to = await hook(served, scheme)
    answers = await asyncio.gather(*(to.post(RAW, to.headers(RAW, delivery="one")) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    (run,) = await runs(served)
    assert {answer.json()["run_id"] for answer in answers} == {str(run["id"])}
    assert sum(not answer.json()["repeated"] for answer in answers) == 1
    again = await to.post(RAW, to.headers(RAW, delivery="one"))
    assert again.json() == {"run_id": str(run["id"]), "repeated": True}
    other = RAW + b" "
    assert (await to.post(other, to.headers(other, delivery="two"))).json()["repeated"] is False
    counts = (await served.client.get("/metrics")).text
    for outcome, count in (("accepted", 2), ("repeated", 100), ("refused", 0)):
        assert f'brain_webhook_deliveries_total{{outcome="{outcome}"}} {count}.0\n' in counts
    assert 'brain_http_requests_total{method="POST",route="/hooks/{name}",status="202"} 102.0\n' in counts


async def test_deliveries_without_a_key_are_a_run_each(served: Served) -> None:
    to = await hook(served, "bearer")
    answers = [await to.post() for _ in range(3)]
    assert len({answer.json()["run_id"] for answer in answers}) == len(await runs(served)) == 3


async def test_a_thousand_deliveries_at_once_are_a_thousand_runs(served: Served) -> None:
    to = await hook(served)
    bodies = [json.dumps({"n": n}).encode() for n in range(1_000)]
    requests = [request_of("/hooks/standard", to.headers(body), body) for body in bodies]
    lanes = [requests[at : at + 5] for at in range(0, 1_000, 5)]
    answers = [
        answer for lane in await asyncio.gather(*(sent(served.address, lane) for lane in lanes)) for answer in lane
    ]
    assert {status for status, _ in answers} == {202}
    found = {str(run["id"]): run["trigger"]["body"]["n"] for run in await runs(served)}
    # Each is the run that its sender was told.
    assert found == {json.loads(body)["run_id"]: n for n, (_, body) in enumerate(answers)}
    assert len(found) == 1_000


async def test_all_that_is_refused_looks_the_same(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    to, paused, gone = [await hook(served, name=name) for name in ("there", "paused", "gone")]
    signed = to.headers()
    await served.brain.triggers.pause("paused")
    await served.brain.triggers.unregister("gone")
    await served.register("nightly")
    now = time.time()
    knocks = [
        Hook(served, "nothing", to.id, "standard", to.client).post(),
        Hook(served, "nightly", to.id, "standard", to.client).post(),
        paused.post(),
        paused.post(RAW, {"content-type": JSON}),
        gone.post(),
        to.post(RAW, paused.headers()),
        to.post(RAW + b" ", signed),
        to.post(RAW, {**signed, "webhook-signature": signed["webhook-signature"][:-3]}),
        to.post(RAW, {**signed, "webhook-id": "other"}),
        to.post(RAW, {**signed, "webhook-timestamp": str(int(now) + 1)}),
        *(to.post(RAW, to.headers(at=now - seconds)) for seconds in (310, 400)),
        to.post(RAW, to.headers(at=now + 310)),
        to.post(RAW, github(to.secret(), RAW)),
        to.post(RAW, {"content-type": JSON, "authorization": f"Bearer {to.secret()}"}),
        to.post(RAW, {"content-type": JSON}),
        to.post(b"{", {"content-type": JSON}),
        to.post(b"", {"content-type": "text/plain"}),
        to.post(RAW, [*signed.items(), ("webhook-id", signed["webhook-id"])]),
        to.post(RAW, [*signed.items(), ("webhook-signature", signed["webhook-signature"])]),
        to.post(RAW, [*list(signed.items())[1:], ("webhook-id", "ü")]),
        *(
            to.client.post(f"/hooks/{path}", content=RAW, headers=to.headers())
            for path in ("", "there/", "there%2F", "%F0%9F%92%A3", "x" * 5_000, "a/b", "There", "there%20")
        ),
    ]
    answers = [await knock for knock in knocks]
    status, headers, body = seen(answers[0])
    assert status == 401
    assert ("www-authenticate", "Bearer") in headers
    assert json.loads(body)["type"] == "urn:brain-core:problem:webhook-refused"
    for answer in answers[1:]:
        assert seen(answer) == (status, headers, body), answer.request
    assert await runs(served) == []
    # Who reads the log is told more, once a minute, and only of what is there.
    said = {record.getMessage() for record in caplog.records if record.name == "brain.http_api"}
    assert "webhook 'paused' has refused a delivery: it is paused" in said
    there = [record.getMessage() for record in caplog.records if "webhook 'there' has" in record.getMessage()]
    assert any(one.startswith("webhook 'there' has refused a delivery: no signature of it is right; ") for one in there)
    assert any("a delivery: its time is " in one for one in there)
    # However much off a time is, it is the same reason.
    assert len({re.sub("[0-9]+", "", one) for one in there}) == len(there) > 2
    assert not [one for one in said if "nothing" in one or "nightly" in one]
    assert (await to.post(RAW, signed)).status_code == 202


async def test_what_is_paused_or_unregistered_takes_nothing_from_then_on(served: Served) -> None:
    to = await hook(served)
    assert (await to.post()).status_code == 202
    await served.brain.triggers.pause("standard")
    # What is remembered of it for a moment makes no difference.
    assert (await to.post()).status_code == 401
    await served.brain.triggers.resume("standard")

    async def accepted() -> bool:
        return (await to.post()).status_code == 202

    await until(accepted, "it takes deliveries again")
    await served.brain.triggers.unregister("standard")
    assert (await to.post()).status_code == 401
    # The name has another secret when it is registered again.
    again = await hook(served)
    assert again.secret() != to.secret()
    to, old = again, to
    await until(accepted, "the new one takes deliveries")
    assert (await old.post()).status_code == 401


async def test_names_that_none_has_do_not_fill_the_memory(served: Served) -> None:
    client = await served.as_bearer(None)
    for letter in "ab":
        assert (await client.post(f"/hooks/{letter * 10_000}", headers={"content-type": JSON})).status_code == 401
    accepts = served.service.api.brain._accepts
    assert accepts is not None
    assert {len(name) for name in accepts._rows._values} == {201}


async def test_a_body_is_read_when_its_signature_was_found_right(served: Served) -> None:
    to = await hook(served)
    for body, kind, status in (
        (b"{", JSON, 400),
        (b'{"a": 1, "a": 2}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"9" * 10_000, JSON, 400),
        (b"\xff", "text/plain", 400),
        (b"NaN", JSON, 400),
        (RAW, "text/html", 415),
        (RAW, "application/json; charset=utf-16", 415),
        (b"a" * 1024 * 1024 + b"a", "text/plain", 413),
        (b"a" * 1024 * 1024, "text/plain", 202),
        (b"", "text/plain", 202),
        (b"\0", "text/plain", 202),
        (b'"\\u0000 \\ud83d\\ude00"', JSON, 202),
        (b"payload=%7B%7D", "application/x-www-form-urlencoded", 202),
    ):
        answer = await to.post(body, {**to.headers(body), "content-type": kind})
        assert answer.status_code == status, (body[:20], answer.text)
        if status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
    # What is said of a body nobody learns who has not signed it.
    unsigned = await to.post(b"{", {"content-type": JSON})
    assert unsigned.status_code == 401
    assert len(await runs(served)) == 5


async def test_what_is_larger_than_may_be_stored_is_told_so(serve: Serve) -> None:
    served = await serve(core={"max_output": 2_000})
    to = await hook(served)
    answer = await to.post(json.dumps({"a": "x" * 3_000}).encode())
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:brain-core:problem:input-refused")


async def test_who_waits_is_answered_with_the_run(served: Served) -> None:
    to = await hook(served)
    asked = asyncio.create_task(to.post(RAW, to.headers(delivery="a"), wait="true"))
    (run,) = await until(lambda: runs(served), "there is a run")
    await served.end(run["id"])
    answer = await asked
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    again = await to.post(RAW, to.headers(delivery="a"), wait="1", wait_timeout="0")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    late = await to.post(RAW, to.headers(delivery="b"), wait="True", wait_timeout="0.01")
    assert (late.status_code, late.json()["status"]) == (202, "queued")
    assert late.headers["location"] == f"/runs/{late.json()['id']}"
    assert (await to.post(wait="false")).json().keys() == {"run_id", "repeated"}


async def test_a_stop_lets_go_who_waits(served: Served) -> None:
    to = await hook(served)
    asked = asyncio.create_task(to.post(wait="true"))
    (run,) = await until(lambda: runs(served), "there is a run")
    await served.service.stop(0.0)
    answer = await asked
    assert (answer.status_code, answer.json()["id"]) == (202, str(run["id"]))


QUESTIONS = [
    "wait=maybe",
    "wait",
    "wait=true&wait_timeout=nan",
    "wait_timeout=-1",
    "wait_timeout=3601",
    "wait_timeout=x",
    "wiat=true",
    "wait=true&wait=true",
    "wait=%ff",
]


async def test_questions_that_are_none_are_told_so(served: Served) -> None:
    to = await hook(served)
    for query in QUESTIONS:
        answer = await to.client.post(f"/hooks/standard?{query}", content=RAW, headers=to.headers())
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:brain-core:problem:invalid")
    assert await runs(served) == []


async def test_the_log_is_written_after_the_answer(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    await hook(served)
    happened: list[str] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": RAW, "more_body": False}

    async def send(message: Any) -> None:
        happened.append(f"{message['type']} after {len(caplog.records)} lines")

    scope = {"path": "/hooks/standard", "query_string": b"", "headers": [(b"content-type", JSON.encode())]}
    await Receiver(served.service.api)(scope, receive, send)
    assert happened == ["http.response.start after 0 lines", "http.response.body after 0 lines"]
    await until(lambda: caplog.records, "the log was told")


async def test_the_time_is_that_of_the_database(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    to = await hook(served)
    headers = standard(to.secret(), RAW)
    # The clock of this machine is an hour off.
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3_600)
    assert (await to.post(RAW, headers)).status_code == 202
