"""What is registered, over HTTP: looked at, fired, paused and resumed; the ledger, workflows, plugins and metrics."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from brain_http_api import answers

from brain_core.facade import changed_shape, fire_shape, listed_shape, plugin_shape
from brain_core.store import fires

from .conftest import Served


def as_json(shape: Any) -> Any:
    return json.loads(json.dumps(shape, default=datetime.isoformat))


async def test_triggers_are_what_list_prints(served: Served) -> None:
    for name, workflow in (("b.2", "w1"), ("_a-1", "w2"), ("c" * 200, "w1")):
        await served.register(name, workflow, inputs={"n": 1})
    await served.client.post("/triggers/b.2/fire")
    expected = as_json([listed_shape(one) for one in await served.brain.triggers.listing()])
    answer = (await served.client.get("/triggers")).json()
    assert answer == {"triggers": expected}
    assert len(expected) == 3
    answers.TriggersOut.model_validate(answer)
    for one in expected:
        assert (await served.client.get(f"/triggers/{one['name']}")).json() == one


async def test_firing_queues_a_run_whatever_the_state(served: Served) -> None:
    served.flow()
    await served.register("nightly", inputs={"n": 1})
    await served.client.post("/triggers/nightly/pause")
    answer = await served.client.post("/triggers/nightly/fire", json={"inputs": {"n": 2}})
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["location"] == f"/runs/{run['id']}"
    assert (run["status"], run["inputs"]["n"]) == ("queued", 2)
    assert run["trigger"] == {"type": "http", "token": "environment", "name": "nightly"}
    for sent, status in (({"inputs": {"n": "2"}}, 422), ({"inputs": {"m": 2}}, 422), ({"input": {}}, 422), ([], 422)):
        assert (await served.client.post("/triggers/nightly/fire", json=sent)).status_code == status
    assert len(await served.sql("SELECT FROM brain.runs")) == 1


async def test_pausing_and_resuming(served: Served) -> None:
    await served.register("nightly", inputs={"n": 1})
    until = (datetime.now(UTC) + timedelta(days=3_650)).replace(microsecond=0)
    answer = await served.client.post("/triggers/nightly/pause", json={"resume_at": until.isoformat()})
    assert answer.status_code == 200
    paused = answer.json()
    answers.ChangedTriggerOut.model_validate(paused)
    assert (paused["state"], paused["next"], datetime.fromisoformat(paused["resume_at"])) == ("paused", [], until)
    again = await served.client.post("/triggers/nightly/pause")
    assert again.json() == paused
    resumed = (await served.client.post("/triggers/nightly/resume")).json()
    assert (resumed["state"], resumed["resume_at"], len(resumed["next"])) == ("active", None, 3)
    assert list(resumed) == list(changed_shape(await served.brain.triggers.get("nightly")))
    assert (await served.client.post("/triggers/nightly/resume")).json()["state"] == "active"
    for resume_at in ("2020-01-01T00:00:00Z", "tomorrow", 1_700_000_000, True):
        wrong = await served.client.post("/triggers/nightly/pause", json={"resume_at": resume_at})
        assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:brain-core:problem:invalid")
        assert "resume_at" in wrong.json()["detail"]
    assert (await served.brain.triggers.get("nightly")).row.state == "active"


async def test_a_trigger_of_a_plugin_that_is_gone_stays_as_it_is(served: Served) -> None:
    await served.register("odd", type="pigeon", config={"speed": 3}, next_due_at=None)
    assert (await served.client.get("/triggers/odd")).json()["type"] == "pigeon"
    assert (await served.client.post("/triggers/odd/pause")).status_code == 200
    answer = await served.client.post("/triggers/odd/resume")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:brain-core:problem:trigger-refused")


async def test_pages_of_the_ledger(served: Served) -> None:
    first = datetime(2026, 5, 1, tzinfo=UTC)
    rows = [await served.register(f"t{n}", f"w{n}", next_due_at=first) for n in range(3)]
    for row in rows:
        day = timedelta(days=1)
        due = [first + day * n for n in range(3)]
        fire = fires.Fire(row.id, row.revision, first, due, None, first + day * 10, "")
        await fires.fire(served.brain.db, [fire], first + day * 4)
    await served.client.post("/triggers/t2/pause")
    query: dict[str, Any] = {"limit": 4}
    found: list[dict[str, Any]] = []
    while True:
        page = (await served.client.get("/fires", params=query)).json()
        answers.FiresOut.model_validate(page)
        found += page["fires"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    (pause,) = [one for one in found if one["open"]]
    assert (pause["trigger"], pause["outcome"], pause["until"]) == ("t2", "skipped_paused", None)
    fired = [one for one in found if one["outcome"] == "fired"]
    assert sorted((one["trigger"], one["due_at"][:10]) for one in fired) == [
        (f"t{n}", f"2026-05-0{day}") for n in range(3) for day in (1, 2, 3)
    ]
    ledger = as_json([fire_shape(row) for row in await served.brain.triggers.fires("t1")])
    of_one = (await served.client.get("/fires?trigger=t1&outcome=fired&since=2026-05-02&until=2026-05-03")).json()
    assert of_one["fires"] == [{"trigger": "t1", "workflow": "w1", **ledger[1]}]
    bound = await served.as_bearer(await served.token("read", "w0"))
    assert {one["trigger"] for one in (await bound.get("/fires")).json()["fires"]} == {"t0"}


async def test_workflows_are_those_that_something_is_registered_for(served: Served) -> None:
    for name, workflow in (("b", "w1"), ("a", "w1"), ("c", "w2")):
        await served.register(name, workflow)
    fired = (await served.client.post("/triggers/b/fire")).json()
    answer = (await served.client.get("/workflows")).json()
    answers.WorkflowsOut.model_validate(answer)
    assert [(one["name"], one["triggers"]) for one in answer["workflows"]] == [("w1", ["a", "b"]), ("w2", ["c"])]
    assert answer["workflows"][0]["last_run"]["id"] == fired["id"]
    assert answer["workflows"][0]["steps"] == [{"name": "say", "type": "function"}]
    assert answer["workflows"][1]["last_run"] is None


async def test_plugins_are_what_plugins_list_prints(served: Served) -> None:
    answer = (await served.client.get("/plugins")).json()
    assert answer["plugins"] == [plugin_shape(one) for one in served.brain.plugins.plugins]
    assert "http_api" in {one["name"] for one in answer["plugins"]}


async def test_metrics_hold_figures_and_nothing_that_a_client_sent(served: Served) -> None:
    prometheus = pytest.importorskip("prometheus_client.parser")
    await served.register("secret-name", "secret-flow")
    await served.register("paused")
    await served.client.post("/triggers/paused/pause")
    run_id = (await served.client.post("/triggers/secret-name/fire")).json()["id"]
    await served.client.get(f"/runs/{run_id}")
    await served.client.get("/secret-path")
    await served.client.request("SECRET", "/runs")
    answer = await served.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {one.name: one for one in prometheus.text_string_to_metric_families(answer.text)}
    values = {(one.name, *one.labels.values()): one.value for each in families.values() for one in each.samples}
    assert values[("brain_runs", "queued")] == values[("brain_queue_depth",)] == 1
    assert values[("brain_triggers", "active")] == values[("brain_triggers", "paused")] == 1
    assert values[("brain_daemons_fresh",)] == 0
    assert 0 < values[("brain_queue_oldest_seconds",)] < 600
    assert values[("brain_database_up",)] == 1
    assert values[("brain_http_requests_total", "GET", "/runs/{id}", "200")] == 1
    assert values[("brain_http_requests_total", "POST", "/triggers/{name}/fire", "202")] == 1
    assert values[("brain_http_requests_total", "GET", "none", "404")] == 1
    assert values[("brain_http_request_seconds_count", "/runs/{id}")] == 1
    assert values[("process_resident_memory_bytes",)] > 1_000_000
    assert "ecret" not in answer.text.casefold().replace("secrets", "")
    assert run_id not in answer.text
    # No more series, however many different requests there are.
    counts = []
    for n in range(4):
        for path in (f"/runs/{n}", f"/x{n}", f"/triggers/t{n}"):
            await served.client.get(path)
        counts.append(len((await served.client.get("/metrics")).text.splitlines()))
    assert counts[1:] == [counts[1]] * 3


async def test_a_method_that_a_path_has_not_is_said(served: Served) -> None:
    answer = await served.client.request("DELETE", "/runs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:brain-core:problem:method-not-allowed"
    assert (await served.client.get("/runs/")).status_code == 404
