"""The API within a whole daemon: runs that really run, and what they say while they do."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from .conftest import ADMIN, House

SAYS = """
class Says(Step):
    '''Says something, and goes on as soon as the test lets it.'''
    async def run(self, ctx):
        ctx.live("halfway")
        while not (FOLDER / "go-on").exists():
            await asyncio.sleep(0.01)
        return {"large": "x" * 3_000_000}
"""


FAILS = """
from brain_core import Template

class Fails(Step):
    text: Template

    def run(self, ctx):
        raise ValueError(len(self.text))
"""


@pytest.fixture
async def client(house: House) -> httpx2.AsyncClient:
    """A client of a daemon that serves the API."""
    text = "[plugins.http_api]\nenabled = true\nport = 0\nmax_body = 8_000_000\n"
    (house.folder / "brain.toml").write_text(text)
    daemon = await house.daemon(api_token=ADMIN)

    async def address() -> str | None:
        said = [line["event"] for line in daemon.lines if line["event"].startswith("http api on ")]
        return said[0].rpartition(" ")[2] if said else None

    url = await house.until(address, "the API is served", daemon)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=180, trust_env=False)


async def test_a_run_is_watched_live_and_answered_when_it_has_ended(house: House, client: httpx2.AsyncClient) -> None:
    async with client:
        assert (await client.get("/health")).json() == {"ok": True, "database": True, "daemon": True}
        house.flow("Says(name='one'), Note(name='two')", body=SAYS)
        asked = asyncio.create_task(client.post("/run", json={"workflow": "flow.py"}))

        async def begun() -> str | None:
            runs = (await client.get("/runs?status=running")).json()["runs"]
            return runs[0]["id"] if runs else None

        run_id = await house.until(begun, "it runs")
        seen = []
        async with client.stream("GET", f"/runs/{run_id}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    seen.append(line.removeprefix("event: "))
                if line.startswith("data: ") and seen[-1] == "live":
                    assert json.loads(line.removeprefix("data: ")) == {"step": "one", "text": "halfway"}
                    assert not asked.done()
                    house.go("on")
        assert (seen[0], seen[-4:]) == ("state", ["step", "step", "state", "end"])
        answer = await asked
        assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (200, run_id, "success")
        assert [step["output"] for step in answer.json()["steps"]] == [{"large": "x" * 3_000_000}, "two"]


async def test_a_large_input_and_a_run_that_fails(house: House, client: httpx2.AsyncClient) -> None:
    async with client:
        house.flow("Fails(name='one', text='{inputs.text}')", body=FAILS, inputs="{'text': ''}")
        inputs = {"text": "x" * 3_000_000}
        answer = await client.post("/run", json={"workflow": "flow.py", "inputs": inputs})
        assert (answer.status_code, answer.json()["status"]) == (200, "failed"), answer.text[:300]
        assert "3000000" in answer.json()["error"]


async def test_the_metrics_count_the_ends_of_runs(house: House, client: httpx2.AsyncClient) -> None:
    async with client:
        await house.queue(house.flow("Fails(name='one', text='')", name="fails", body=FAILS))
        await house.queue(house.flow("Note(name='one')", name="good"))
        broken = house.folder / "broken.py"
        broken.write_text("no python")
        await house.queue(broken)

        async def ended() -> dict[str, float] | None:
            lines = (await client.get("/metrics")).text.splitlines()
            told = [line.rpartition(" ") for line in lines if line.startswith("brain_runs_ended_total{")]
            found = {name.partition('"')[2].partition('"')[0]: float(value) for name, _, value in told}
            return found if sum(found.values()) == 3 else None

        assert await house.until(ended, "all have ended") == {"success": 1, "failed": 2, "cancelled": 0}
