"""What a sender writes stays data (G22): in every quoting of a shell command, in Python and in prompts."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from plugins.brain_llm.tests.scripted import MODEL, ScriptedServer, says
from tests.placeholders.hostile import HOSTILE

from .conftest import ADMIN, House
from .deliveries import SIGN

SECRET = "a-value-that-no-step-is-asked-for"

FLOW = '''
from brain_core import FunctionStep, Workflow
from brain_llm import LLMStep
from brain_shell import ShellStep

def same(**values):
    return values

# What ends with a newline would lose it at the end of an output.
HERE = """cat <<EOF
{PLACE}
EOF
printf x"""
QUOTED = """cat <<'EOF'
{PLACE}
EOF
printf x"""

workflow = Workflow(name="hostile", inputs={"secret": "SECRET"}, steps=[
    ShellStep(name="bare", command="printf %sx {PLACE}"),
    ShellStep(name="double", command='printf %sx "{PLACE}"'),
    ShellStep(name="single", command="printf %sx '{PLACE}'"),
    ShellStep(name="inner", command='printf %s "$(printf %sx {PLACE})"'),
    ShellStep(name="here", command=HERE),
    ShellStep(name="quoted", command=QUOTED),
    ShellStep(name="through", command="cat; printf x", stdin="{PLACE}"),
    ShellStep(name="variable", command='printf %sx "$V"', env={"V": "{PLACE}"}),
    ShellStep(name="chosen", command="case {PLACE} in yes) touch hit;; *) echo other;; esac"),
    FunctionStep(name="python", function=same, args={"text": "{PLACE}"}),
    LLMStep(name="asked", prompt="They wrote: {PLACE}"),
])
'''.replace("SECRET", SECRET)

VALUES = [*HOSTILE.values(), "new lines at the end\n\n", "$(touch hit)'\"" * 8_000]
"""For fields of the body; headers take those that are one line of ASCII."""

Json = dict[str, Any]


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    """A model that says the same to everything."""
    with ScriptedServer() as running:
        running.will(says("done"))
        yield running


class Sender:
    """Registers webhooks with a daemon, delivers to them and waits for the run."""

    def __init__(self, house: House, client: httpx2.AsyncClient) -> None:
        self._house = house
        self._client = client
        self._secrets: dict[str, str] = {}

    async def register(self, name: str, text: str, scheme: str = "bearer") -> None:
        (self._house.folder / f"{name}.py").write_text(text)
        code, out = await self._house.brain(
            "register", f"{name}.py", "--webhook", "--scheme", scheme, "--name", name, "--json"
        )
        assert code == 0, self._house.processes[-1].log
        (self._secrets[name],) = re.findall(r'"secret: (.*)"', out)

    async def run(self, name: str, body: bytes, scheme: str = "bearer", **more: str) -> Json:
        """Deliver and return the run when it has ended."""
        given = {**SIGN[scheme](self._secrets[name], body), **more}
        answer = await self._client.post(f"/hooks/{name}?wait=true", content=body, headers=given)
        assert answer.status_code == 200, answer.text
        run: Json = answer.json()
        return run


@pytest.fixture
async def sender(house: House, model: ScriptedServer) -> Any:
    house.settings |= {
        "http_api_enabled": "true",
        "http_api_port": "0",
        "http_api_max_header": str(256 * 1024),
        "api_token": ADMIN,
        "llm_provider_url": model.url,
        "llm_model": MODEL,
    }
    daemon = await house.daemon("--concurrency", "4")

    async def address() -> str | None:
        found = re.search(r"http://127\.0\.0\.1:[0-9]+", daemon.log)
        return None if found is None else found[0]

    url = await house.until(address, "it listens", daemon)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=300) as client:
        yield Sender(house, client)


def told(text: str) -> str:
    """Return a text as it is stored: a NUL is made visible, and nothing else is changed."""
    return text.replace("\0", "\\x00")


def outputs(run: Json) -> Json:
    assert run["status"] == "success", run["error"]
    return {step["name"]: step["output"] for step in run["steps"]}


def check(house: House, model: ScriptedServer, run: Json, text: str) -> None:
    """Check that a value has come out everywhere as it went in, and has done nothing."""
    found, text = outputs(run), told(text)
    for name in ("bare", "double", "single", "inner", "through", "variable"):
        assert found[name] == text + "x", name
    # In a here-document the value ends before the document does.
    assert found["here"] == found["quoted"] == text + "\nx"
    assert found["chosen"].strip() == "other"
    assert found["python"] == {"text": text}
    assert f"They wrote: {text}" in [each for request in model.requests for each in request.texts]
    assert SECRET not in json.dumps(run["steps"])
    assert not list(house.folder.rglob("hit*"))


async def test_what_a_sender_writes_is_never_code(house: House, model: ScriptedServer, sender: Sender) -> None:
    for name, place in (
        ("body", "trigger.body.x"),
        ("deep", "trigger.body.list.1.x"),
        ("agent", "trigger.headers.user_agent"),
        ("id", "trigger.id"),
    ):
        await sender.register(name, FLOW.replace("PLACE", place))
    await sender.register("event", FLOW.replace("PLACE", "trigger.event"), "github")
    await sender.register("text", FLOW.replace("PLACE", "trigger.body"))
    deliveries: list[tuple[str, str, bytes, str, dict[str, str]]] = []
    for text in VALUES:
        deliveries.append((text, "body", json.dumps({"x": text}).encode(), "bearer", {}))
    for what in ("quotes", "end of a here-document", "placeholders"):
        text = HOSTILE[what]
        deliveries.append((text, "deep", json.dumps({"list": [0, {"x": text}]}).encode(), "bearer", {}))
        deliveries.append((text, "text", text.encode(), "bearer", {"content-type": "text/plain"}))
    for what in ("substitution", "quotes", "placeholders"):
        text, body = HOSTILE[what], json.dumps({"for": what}).encode()
        deliveries.append((text, "agent", body, "bearer", {"user-agent": text}))
        deliveries.append((text, "id", body, "bearer", {"idempotency-key": text}))
        deliveries.append((text, "event", body, "github", {"x-github-event": text}))
    runs = await asyncio.gather(*(sender.run(name, body, scheme, **more) for _, name, body, scheme, more in deliveries))
    for (text, *_), run in zip(deliveries, runs, strict=True):
        check(house, model, run, text)


SAYS = """
from brain_core import FunctionStep, Workflow

def same(**values):
    return values

workflow = Workflow(name="says", steps=[
    FunctionStep(name="first", function=same, args={"one": "{trigger.event|nothing}"}),
    FunctionStep(name="second", function=same, args={"x": "{trigger.body.x}"}),
])
"""


async def test_values_keep_their_types_and_a_run_without_a_delivery_fails_clearly(house: House, sender: Sender) -> None:
    await sender.register("says", SAYS)
    for value in (1, 1.5, None, True, [1, {"a": "b"}], {}):
        run = await sender.run("says", json.dumps({"type": "paid", "x": value}).encode())
        assert outputs(run) == {"first": {"one": "paid"}, "second": {"x": value}}
    run = await sender.run("says", b'{"y": 1}')
    assert run["status"] == "failed"
    assert "trigger.body.x" in run["error"]
    code, out = await house.brain("run", "--json", "says.py")
    assert code == 1
    run = json.loads(out)
    first, second = run["steps"]
    assert first["output"] == {"one": "nothing"}
    assert second["status"] == "failed"
    assert "trigger.body.x" in second["error"]
