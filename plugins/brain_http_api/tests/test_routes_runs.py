"""The history over HTTP: pages, one run, cancelling; and what a token that is bound to workflows sees of it."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from brain_http_api import waiting
from brain_http_api.answers import WholeRunOut

from brain_core.facade import run_shape
from brain_core.store import queue, runs
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

from .bare import connected
from .conftest import ADMIN, Served, until

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WORKER = WorkerIdentity(uuid4(), "daemon", "host", "boot", "pids", 1, "1", "0", 3_600.0)


async def bound_to(served: Served, *patterns: str, scope: str = "run") -> httpx2.AsyncClient:
    """Return a client with a stored token that is bound to workflows."""
    return await served.as_bearer(await served.token(scope, *patterns))


async def ended(served: Served, output: str, **more: Any) -> UUID:
    """Return a run of two steps that has succeeded; `output` is JSON."""
    run_id = await served.queued(**more)
    await queue.claim(served.brain.db, WORKER, 1)
    recorder = Recorder(served.brain.db, WORKER)
    await recorder.finish_step(StepEnd(run_id, 1, 0, "one", "x", 1, "success", output, None, "said", "{}", 0.1, 0.0))
    last = StepEnd(run_id, 1, 1, "two", "x", 1, "success", '"2"', None, "", '{"exit_code": 0}', 0.1, 0.0)
    await recorder.finish_run(RunEnd(run_id, 1, "success", None, last))
    return run_id


async def test_one_run_is_what_show_prints(served: Served) -> None:
    run_id = await ended(served, '{"a": [1, "é\\n\\u2028", null, 1.5]}')
    answer = await served.client.get(f"/runs/{run_id}")
    assert answer.status_code == 200
    run = answer.json()
    shape = run_shape(await runs.get(served.brain.db, run_id), steps=True)
    assert run == {**json.loads(json.dumps(shape, default=datetime.isoformat)), "plugins": {}}
    assert run["steps"][0]["output"] == {"a": [1, "é\n\u2028", None, 1.5]}
    assert (run["steps"][0]["log"], run["steps"][1]["details"]) == ("said", {"exit_code": 0})
    WholeRunOut.model_validate(run)
    assert datetime.fromisoformat(run["created_at"]) == shape["created_at"]
    assert (await served.client.get(f"/runs/{str(run_id).upper()}")).json() == run


async def test_large_and_deep_outputs_are_whole(served: Served) -> None:
    deep = "[" * 200 + "]" * 200
    for output, what in ((f'"{"x" * 16_000_000}"', "x" * 16_000_000), (deep, json.loads(deep))):
        run_id = await ended(served, output)
        answer = await served.client.get(f"/runs/{run_id}")
        assert answer.json()["steps"][0]["output"] == what


async def test_an_id_is_whole(served: Served) -> None:
    there = await served.queued()
    for run_id in ("x", str(there)[:8], there.hex, str(UUID(int=0)), "%C3%A9", f"{there}%20", "9" * 5_000):
        for method, of in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            answer = await served.client.request(method, f"/runs/{run_id}{of}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:brain-core:problem:not-found")


async def pages(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/runs", params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [run["id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_pages_by_every_filter_and_of_what_a_token_sees(served: Served) -> None:
    row = await served.register("mine", "w1")
    ids = [await served.queued(f"w{n % 3}", trigger_id=row.id if n % 3 == 1 else None) for n in range(9)]
    await served.sql("UPDATE brain.runs SET created_at = $1", LONG_AGO)
    later = LONG_AGO + timedelta(hours=1)
    await served.sql("UPDATE brain.runs SET created_at = $1 WHERE id = ANY($2)", later, ids[6:])
    await served.end(ids[0])
    of = {workflow: {str(one) for one in ids[at::3]} for at, workflow in enumerate(("w0", "w1", "w2"))}
    client, bound = served.client, await bound_to(served, "w1", "*2", scope="read")
    for limit in (1, 4, 1_000):
        found = await pages(client, limit=limit)
        assert (len(found), set(found)) == (9, {str(one) for one in ids})
        assert set(await pages(client, limit=limit, workflow="w2")) == of["w2"]
        assert set(await pages(client, limit=limit, trigger="mine")) == of["w1"]
        assert await pages(client, limit=limit, status="cancelled") == [str(ids[0])]
        assert set(await pages(client, limit=limit, since=later.isoformat())) == {str(one) for one in ids[6:]}
        assert set(await pages(client, limit=limit, until="2020-01-01T02:00:00+01:00")) == {str(one) for one in ids[:6]}
        assert set(await pages(bound, limit=limit)) == of["w1"] | of["w2"]
        assert set(await pages(bound, limit=limit, workflow="w0")) == set()
    # A `+` that nobody has written as %2B, and a time without an offset, which is UTC.
    for text in ("2020-01-01T02:00:00+01:00", "2020-01-01T01:00", "2020-01-01T01:00:00Z"):
        assert len((await client.get(f"/runs?since={text}")).json()["runs"]) == 3


WRONG = [
    ("limit=0", 422),
    ("limit=1001", 422),
    ("limit=x", 422),
    ("limit=" + "9" * 5_000, 422),
    ("status=done", 422),
    ("since=yesterday", 422),
    ("since=1700000000", 422),
    ("since=0001-01-01T00:00:00%2B14:00", 422),
    ("until=9999-12-31T23:59:59-14:00", 422),
    ("stauts=failed", 422),
    ("cursor=x", 400),
    ("cursor=%C3%A9", 400),
    ("trigger=nothing", 404),
    ("trigger=%00", 400),
    ("workflow=%00", 400),
    ("workflow=%ff", 200),
    ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59.999999Z", 200),
]


async def test_what_is_asked_wrongly_is_said(served: Served) -> None:
    for query, status in WRONG:
        for path in ("/runs", "/fires"):
            if path == "/runs" or not query.startswith(("status", "workflow")):
                answer = await served.client.get(f"{path}?{query}")
                assert (answer.status_code, query[:80]) == (status, query[:80]), answer.text


async def test_what_patterns_leave_out_does_not_exist(served: Served) -> None:
    await served.register("mine", "w1", inputs={"n": 1})
    await served.register("hidden", "w2", inputs={"n": 1})
    bound = await bound_to(served, "w1", scope="admin")
    mine, hidden = await served.queued("w1"), await served.queued("w2")
    nobody = uuid4()
    for method, path in (
        ("GET", "/runs/{}"),
        ("GET", "/runs/{}/events"),
        ("POST", "/runs/{}/cancel"),
    ):
        answers = [await bound.request(method, path.format(one)) for one in (hidden, nobody)]
        assert [one.status_code for one in answers] == [404, 404]
        assert answers[0].text.replace(str(hidden), "…") == answers[1].text.replace(str(nobody), "…")
    for method, path, body in (
        ("GET", "/triggers/{}", None),
        ("POST", "/triggers/{}/fire", {}),
        ("POST", "/triggers/{}/pause", {}),
        ("POST", "/triggers/{}/resume", {}),
        ("GET", "/runs?trigger={}", None),
        ("GET", "/fires?trigger={}", None),
        ("POST", "/run", {"workflow": "{}"}),
    ):
        # The third is near to a name that there is: it is not guessed aloud.
        texts = set()
        for name in ("hidden", "nobody", "hiddem"):
            sent = None if body is None else {key: value.format(name) for key, value in body.items()}
            answer = await bound.request(method, path.format(name), json=sent)
            assert answer.status_code == 404
            texts.add(answer.text.replace(name, "…"))
        assert len(texts) == 1
    assert [one["name"] for one in (await bound.get("/triggers")).json()["triggers"]] == ["mine"]
    assert [one["name"] for one in (await bound.get("/workflows")).json()["workflows"]] == ["w1"]
    assert (await bound.get("/metrics")).status_code == 403
    assert (await bound.post("/run", json={"workflow": "flow.py"})).status_code == 403
    assert (await bound.get(f"/runs/{mine}")).status_code == 200
    assert (await runs.get(served.brain.db, hidden)).status == "queued"


async def test_a_key_of_another_workflow_tells_a_bound_token_nothing(served: Served) -> None:
    await served.register("mine", "w1")
    await served.register("hidden", "w2")
    first = await served.client.post("/triggers/hidden/fire", headers={"Idempotency-Key": "k"})
    assert first.status_code == 202
    bound = await bound_to(served, "w1")
    answer = await bound.post("/triggers/mine/fire", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 409
    assert first.json()["id"] not in answer.text


async def test_a_bound_token_is_told_no_other_name_than_its_own(served: Served) -> None:
    await served.register("mine", "w1")
    await served.register("mind", "w2")
    await served.brain.triggers.unregister("mine")
    bound = await bound_to(served, "w1")
    for answer in (
        await bound.post("/run", json={"workflow": "mine", "wait": False}),
        await bound.post("/triggers/mine/fire"),
    ):
        assert (answer.status_code, answer.json()["detail"]) == (404, "nothing is registered as 'mine'")
    assert "mind" in (await served.client.post("/triggers/mine/fire")).json()["detail"]


async def test_cancelling(served: Served) -> None:
    over = await ended(served, "1")
    waits, runs_now = await served.queued(), await served.queued()
    path = f"/runs/{waits}/cancel"
    done = await served.client.post(path, json={"reason": "no longer needed"})
    assert (done.status_code, done.json()) == (200, {"run": str(waits), "answer": "cancelled", "status": "cancelled"})
    assert (await runs.get(served.brain.db, waits)).error == "no longer needed"
    again = await served.client.post(path)
    assert (again.status_code, again.json()) == (200, done.json())
    late = await served.client.post(f"/runs/{over}/cancel", json={})
    assert (late.status_code, late.json()) == (200, {"run": str(over), "answer": "over", "status": "success"})
    await queue.claim(served.brain.db, WORKER, 1)
    asked = await served.client.post(f"/runs/{runs_now}/cancel")
    assert (asked.status_code, asked.json()["answer"]) == (202, "requested")
    (row,) = await served.sql("SELECT cancel_reason FROM brain.runs WHERE id = $1", runs_now)
    assert "environment" in row["cancel_reason"]


async def test_large_answers_that_nobody_reads_do_not_fill_the_memory(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "UNREAD", 10_000_000)
    run_id = await served.queued(inputs={"x": "x" * 8_000_000})
    request = f"GET /runs/{run_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode()
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(served.address)) for _ in range(20)]
        for client in silent:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request)
        said = await until(lambda: _refused(served, run_id), "no more are made")
        assert (said.status_code, said.json()["type"]) == (503, "urn:brain-core:problem:busy")
        assert said.headers["retry-after"]
        # What is small is answered all the same.
        assert (await served.client.get("/runs?workflow=none")).status_code == 200
    await until(lambda: not served.service.api.unread(), "nobody is there who does not read")
    assert (await served.client.get(f"/runs/{run_id}")).status_code == 200


async def _refused(served: Served, run_id: UUID) -> Any:
    answer = await served.client.get(f"/runs/{run_id}")
    return answer if answer.status_code == 503 else None
