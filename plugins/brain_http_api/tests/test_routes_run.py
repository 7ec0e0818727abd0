"""POST /run: started, waited for, answered once for each key, whatever becomes of the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

from .conftest import ADMIN, Serve, Served, until

Json = dict[str, Any]


async def run_of(served: Served) -> UUID:
    """Return the only run, as soon as it is there."""
    (row,) = await until(lambda: served.sql("SELECT id FROM brain.runs"), "there is a run")
    found: UUID = row["id"]
    return found


async def test_who_waits_is_answered_with_the_whole_run_when_it_has_ended(served: Served) -> None:
    served.flow()
    asked = asyncio.create_task(served.client.post("/run", json={"workflow": "flow.py", "inputs": {"n": 3}}))
    run_id = await run_of(served)
    assert not asked.done()
    await served.end(run_id)
    answer = await asked
    assert answer.status_code == 200
    run = answer.json()
    assert (run["id"], run["status"], run["inputs"]) == (str(run_id), "cancelled", {"who": "ann", "n": 3})
    assert run["trigger"] == {"type": "http", "token": "environment"}
    assert (run["steps"], run["never_ran"]) == ([], ["say"])
    assert answer.headers["location"] == f"/runs/{run['id']}"


async def test_who_does_not_wait_any_longer_is_told_where_to_look(serve: Serve) -> None:
    served = await serve(root_path="/brain")
    served.flow()
    for more in ({"wait": False}, {"wait_timeout": 0.05}, {"wait_timeout": 0}):
        await not_waited_for(served, more)


async def not_waited_for(served: Served, more: Json) -> None:
    answer = await served.client.post("/run", json={"workflow": "./flow.py", "inputs": {"n": 3}, **more})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/brain/runs/{answer.json()['id']}"
    assert answer.json()["status"] == "queued"
    looked = await served.client.get(answer.headers["location"])
    assert looked.json() == answer.json()


async def test_a_key_gives_its_run_though_the_file_has_gone(served: Served) -> None:
    file = served.flow()
    asked = {"workflow": "flow.py", "inputs": {"n": 3}, "idempotency_key": "k", "wait": False}
    first = await served.client.post("/run", json=asked)
    file.unlink()
    again = await served.client.post("/run", json=asked)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = await served.client.post("/run", json={**asked, "idempotency_key": "l"})
    assert (other.status_code, other.json()["type"]) == (404, "urn:brain-core:problem:not-found")


async def test_what_is_registered_is_run_by_its_name(served: Served) -> None:
    served.flow()
    await served.register("nightly", inputs={"n": 1, "who": "bob"})
    answer = await served.client.post("/run", json={"workflow": "nightly", "inputs": {"n": 5}, "wait": False})
    assert answer.json()["inputs"] == {"who": "bob", "n": 5}
    assert answer.json()["trigger"] == {"type": "http", "token": "environment", "name": "nightly"}


async def test_the_same_key_is_the_same_run_by_field_or_by_header(served: Served) -> None:
    served.flow()
    await served.register("nightly", inputs={"n": 1})
    asked = {"workflow": "nightly", "wait": False}
    first = await served.client.post("/run", json={**asked, "idempotency_key": "k"})
    again = await served.client.post("/run", json=asked, headers={"Idempotency-Key": "k"})
    both = await served.client.post("/run", json={**asked, "idempotency_key": "k"}, headers={"Idempotency-Key": "k"})
    fired = await served.client.post("/triggers/nightly/fire", headers={"Idempotency-Key": "k"})
    assert {one.json()["id"] for one in (first, again, both, fired)} == {first.json()["id"]}
    assert [one.headers.get("idempotency-replayed") for one in (first, again, both, fired)] == [None] + ["true"] * 3
    other = await served.client.post("/run", json={**asked, "inputs": {"n": 2}}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:brain-core:problem:idempotency-conflict")
    differ = await served.client.post("/run", json={**asked, "idempotency_key": "l"}, headers={"Idempotency-Key": "k"})
    assert differ.status_code == 400
    # When it has ended it is answered at once.
    await served.end(UUID(first.json()["id"]))
    ended = await served.client.post("/run", json={**asked, "wait": True}, headers={"Idempotency-Key": "k"})
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
    assert len(await served.sql("SELECT FROM brain.runs")) == 1


async def test_a_client_that_goes_away_leaves_the_run_and_no_waiter(served: Served) -> None:
    await served.register("nightly", inputs={"n": 1})
    _, writer = await asyncio.open_connection(*served.address)
    body = b'{"workflow": "nightly"}'
    head = f"POST /run HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    run_id = await run_of(served)
    beside = served.service.api.brain
    await until(lambda: beside._waiters is not None and beside._waiters._waiting, "somebody waits")
    writer.close()
    await writer.wait_closed()
    await until(lambda: beside._waiters is not None and not beside._waiters._waiting, "nobody waits")
    (row,) = await served.sql("SELECT status FROM brain.runs")
    assert row["status"] == "queued"
    await served.end(run_id)


async def test_when_the_grace_is_over_waiters_get_the_run_as_it_is(served: Served) -> None:
    await served.register("nightly", inputs={"n": 1})
    asked = asyncio.create_task(served.client.post("/run", json={"workflow": "nightly"}))
    run_id = await run_of(served)
    served.service.api.cut.set()
    answer = await asked
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["location"] == f"/runs/{run_id}"


WRONG: list[tuple[Any, int, str]] = [
    ({"workflow": "nothing"}, 404, "not-found"),
    ({"workflow": "nothing.py"}, 404, "not-found"),
    ({"workflow": "../flow.py"}, 403, "path-refused"),
    ({"workflow": "/etc/passwd"}, 403, "path-refused"),
    ({"workflow": "a\0b"}, 404, "not-found"),
    ({"workflow": "broken.py"}, 422, "workflow-refused"),
    ({"workflow": "flow.py"}, 422, "input-refused"),
    ({"workflow": "flow.py", "inputs": {"n": "3"}}, 422, "input-refused"),
    ({"workflow": "flow.py", "inputs": {"n": 3, "m": 3}}, 422, "input-refused"),
    ({"workflow": ""}, 422, "invalid"),
    ({"workflow": 7}, 422, "invalid"),
    ({"workflow": "flow.py", "wait": 1}, 422, "invalid"),
    ({"workflow": "flow.py", "wait_timeout": -1}, 422, "invalid"),
    ({"workflow": "flow.py", "wait_timeout": 3_601}, 422, "invalid"),
    ({"workflow": "flow.py", "wait_timeout": 10**400}, 422, "invalid"),
    ({"workflow": "flow.py", "waits": True}, 422, "invalid"),
    ({"workflow": "flow.py", "idempotency_key": ""}, 422, "invalid"),
    ({"workflow": "flow.py", "idempotency_key": "x" * 256}, 422, "invalid"),
    ({}, 422, "invalid"),
    ([], 422, "invalid"),
    (None, 422, "invalid"),
]


async def test_what_is_wrong_is_said_and_nothing_is_written(served: Served) -> None:
    served.flow()
    served.flow("broken", "1 / 0")
    for asked, status, kind in WRONG:
        text = json.dumps(asked)
        answer = await served.client.post("/run", content=text, headers={"Content-Type": "application/json"})
        told = answer.json()["type"].rpartition(":")[2]
        assert (answer.status_code, told, text[:80]) == (status, kind, text[:80]), answer.text
    assert not await served.sql("SELECT FROM brain.runs")


BODIES: list[tuple[bytes, str | None, int]] = [
    (b"", None, 415),
    (b"", "application/json", 400),
    (b"{", "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": NaN}}', "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": 1e999}}', "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": "\\ud800"}}', "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": "\xff"}}', "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": ' + b"9" * 5_000 + b"}}", "application/json", 400),
    (b'{"workflow": "nightly", "inputs": {"n": ' + b"[" * 100_000 + b"}}", "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b"\xef\xbb\xbf{}", "application/json", 400),
    (b'{"workflow": "nightly"}', None, 415),
    (b'{"workflow": "nightly"}', "text/plain", 415),
    (b'{"workflow": "nightly"}', "application/problem+json", 415),
    (b'{"workflow": "nightly"}', "application/json; charset=latin-1", 415),
    (b'{"workflow": "nightly"}', "application/json, text/plain", 415),
    (b'{"workflow": "nightly"}', "\xe9", 415),
    (b"workflow=nightly", "application/x-www-form-urlencoded", 415),
]


async def test_bodies_that_are_no_json_of_ours(served: Served) -> None:
    await served.register("nightly", inputs={"n": 1})
    for body, kind, status in BODIES:
        headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
        answer = await served.client.post("/run", content=body, headers=headers)
        assert (answer.status_code, body[:60], kind) == (status, body[:60], kind), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
    assert not await served.sql("SELECT FROM brain.runs")
    for kind in ("application/json", "application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"'):
        good = '{"workflow": "nightly", "wait": false, "inputs": {}}'
        assert (await served.client.post("/run", content=good, headers={"Content-Type": kind})).status_code == 202


async def test_a_body_that_is_no_object_is_told_so_in_words_of_json(served: Served) -> None:
    for text in ("[]", "null", "7"):
        answer = await served.client.post("/run", content=text, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (422, "the body has to be a JSON object")


async def test_who_may_not_learns_nothing_of_the_body(served: Served) -> None:
    nobody = await served.as_bearer(None)
    for body, kind, _ in BODIES:
        headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
        answer = await nobody.post("/run", content=body, headers=headers)
        assert answer.status_code == 401


async def test_a_key_in_the_header_is_visible_text(served: Served) -> None:
    await served.register("nightly", inputs={"n": 1})
    said = {
        "": "it has to have at least 1 character (it is '')",
        "é": "it has to be visible ASCII, spaces only within (it is '\\xc3\\xa9')",
        "x" * 256: f"it has to have at most 255 characters (it is '{'x' * 79})",
    }
    for key, why in said.items():
        headers = {"Idempotency-Key": key.encode()}
        answer = await served.client.post("/run", json={"workflow": "nightly"}, headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (422, f"the header Idempotency-Key: {why}")
    twice = [("Idempotency-Key", "k"), ("Idempotency-Key", "k")]
    for address in ("/run", "/triggers/nightly/fire"):
        answer = await served.client.post(
            address, json={"workflow": "nightly"} if address == "/run" else {}, headers=twice
        )
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "there are several headers Idempotency-Key; send one of them",
        )
    assert not await served.sql("SELECT FROM brain.runs")
