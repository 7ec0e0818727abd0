"""`brain register --webhook`, `brain webhook list` and `brain webhook rotate` as people call them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from brain_http_api.webhook.trigger import Webhook

from brain_core import TriggerRefused

Here = Callable[..., tuple[int, str, str]]
FLOW = """
from brain_core import FunctionStep, Workflow

def say():
    return "hello"

workflow = Workflow(name="flow", steps=[FunctionStep(name="say", function=say)])
"""
FORMS = {"standard": r"whsec_[A-Za-z0-9+/]{43}=", "github": r"[A-Za-z0-9_-]{43}", "bearer": r"[A-Za-z0-9_-]{43}"}


@pytest.fixture
def flow(files: Path) -> Path:
    file = files / "flow.py"
    file.write_text(FLOW)
    return file


def registered(here: Here, *arguments: str) -> list[str]:
    """Register a webhook and return the lines that its type has to show."""
    code, out, err = here("register", "flow.py", "--webhook", *arguments, "--json")
    assert code == 0, err
    lines: list[str] = json.loads(out)["lines"]
    return lines


def secret_in(lines: list[str]) -> str:
    (found,) = [line.removeprefix("secret: ") for line in lines if line.startswith("secret: ")]
    return found


@pytest.mark.parametrize("scheme", FORMS)
def test_a_webhook_is_registered_with_its_url_and_its_secret(
    here: Here, flow: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("THE_BRAIN_HTTP_API_PUBLIC_URL", "https://brain.example.org/in")
    code, out, err = here("register", "flow.py", "--webhook", "--scheme", scheme, "--name", "deploys")
    assert code == 0
    lines = out.splitlines()
    assert "URL: https://brain.example.org/in/hooks/deploys" in lines
    assert re.fullmatch(FORMS[scheme], secret_in(lines))
    assert "the secret is not shown again; a new one: brain webhook rotate deploys" in lines
    said = " ".join(out.split() + err.split())
    assert ("application/json" in said) == (scheme == "github")
    assert "the HTTP API is switched off, so nothing takes deliveries; set enabled = true" in said
    assert "public_url" not in said
    assert "for each delivery to its URL" in here("list")[1]


def test_each_webhook_has_a_secret_of_its_own_and_no_notes_when_all_is_well(
    here: Here, flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_BRAIN_HTTP_API_ENABLED", "true")
    one, two = (registered(here, "--name", name) for name in ("one", "two"))
    assert one[0] == "URL: http://127.0.0.1:8001/hooks/one"
    assert secret_in(one) != secret_in(two)
    assert here("unregister", "one")[0] == 0
    assert secret_in(registered(here, "--name", "one")) != secret_in(one)


def test_the_help_names_the_schemes(here: Here) -> None:
    for command in ("register", "edit"):
        assert "--scheme standard|github|bearer" in here(command, "--help")[1]


def test_an_edit_shows_the_url_and_how_a_secret_is_had(here: Here, flow: Path) -> None:
    assert here("register", "flow.py", "--cron", "0 9 * * *")[0] == 0
    for option in (["--webhook"], ["--scheme", "github"]):
        code, out, err = here("edit", "flow", *option)
        assert code == 0, err
        lines = out.splitlines()
        assert "URL: http://127.0.0.1:8001/hooks/flow" in lines
        assert "its secret: brain webhook rotate flow --now prints a new one" in lines
        # The first secret might have been changed since.
        assert "\nsecret: " not in out
        code, out, _ = here("webhook", "rotate", "flow", "--now")
        assert code == 0
    assert re.fullmatch(FORMS["github"] + "\n", out)
    assert "URL:" not in here("edit", "flow", "--overlap", "allow")[1]


def test_a_key_that_cannot_be_read_leaves_nothing_registered(
    here: Here, flow: Path, environment: dict[str, str]
) -> None:
    registered(here)
    (Path(environment["THE_BRAIN_HOME"]) / "master.key").write_text("damaged")
    code, _, err = here("register", "flow.py", "--webhook", "--name", "two")
    assert code == 1
    assert "is damaged" in err
    assert [one["name"] for one in json.loads(here("webhook", "list", "--json")[1])] == ["flow"]
    assert "the master key here is none that can be used (" in here("webhook", "list")[2]
    # Nor is a secret changed that nobody can be told.
    assert "is damaged" in here("webhook", "rotate", "flow")[2]
    assert json.loads(here("webhook", "list", "--json")[1])[0]["secret_generation"] == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--scheme", "gitlab"], "--scheme 'gitlab': it has to be 'standard', 'github' or 'bearer'"),
        (["--overlap", "skip"], "--overlap skip is not for a trigger of the type webhook"),
        (["--catch-up", "none"], "--catch-up is about missed instants"),
    ],
)
def test_what_a_webhook_cannot_be_is_told_in_one_line(here: Here, flow: Path, arguments: list[str], line: str) -> None:
    code, out, err = here("register", "flow.py", "--webhook", *arguments)
    assert code != 0
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


def test_a_webhook_that_is_none_is_refused() -> None:
    with pytest.raises(TriggerRefused, match="webhook is false"):
        Webhook(webhook=False).check()


def test_the_list_shows_all_but_the_secrets(here: Here, flow: Path, environment: dict[str, str]) -> None:
    assert here("webhook", "list") == (0, "", "no webhooks; make one: brain register FILE --webhook\n")
    assert not (Path(environment["THE_BRAIN_HOME"]) / "master.key").exists()
    assert here("register", "flow.py", "--cron", "0 9 * * *", "--name", "nightly")[0] == 0
    secret = secret_in(registered(here, "--name", "b"))
    registered(here, "--name", "a", "--scheme", "github")
    assert here("pause", "b")[0] == 0
    code, out, err = here("webhook", "list", "--json")
    assert (code, err) == (0, "")
    plain = {"secret_generation": 1, "rotated_at": None, "old_until": None}
    url = "http://127.0.0.1:8001/hooks/"
    assert json.loads(out) == [
        {"name": "a", "url": f"{url}a", "scheme": "github", "state": "active", **plain},
        {"name": "b", "url": f"{url}b", "scheme": "standard", "state": "paused", **plain},
    ]
    _, out, err = here("webhook", "list")
    assert re.fullmatch(
        r"the master key here is [0-9a-f]{8} \(\S+/master\.key\); "
        r"a server with another one refuses what is signed with these secrets\n",
        err,
    )
    head, first, second = out.splitlines()
    assert head.split() == ["NAME", "URL", "SCHEME", "STATE", "SECRET", "OLD", "SECRET", "UNTIL"]
    assert first.split() == ["a", f"{url}a", "github", "active", "1", "-"]
    assert second.split() == ["b", f"{url}b", "standard", "paused", "1", "-"]
    assert secret not in out


def test_a_secret_is_changed_and_the_old_one_lives_for_a_day(here: Here, flow: Path) -> None:
    first = secret_in(registered(here))
    code, out, err = here("webhook", "rotate", "flow")
    assert code == 0
    assert re.fullmatch(FORMS["standard"] + "\n", out)
    assert out.strip() != first
    assert re.fullmatch(
        r"the new secret of http://127\.0\.0\.1:8001/hooks/flow, shown this once; "
        r"the old one is valid until \d{4}-\S+ \S+, too\n",
        err,
    )
    (one,) = json.loads(here("webhook", "list", "--json")[1])
    assert one["secret_generation"] == 2
    code, out, err = here("webhook", "rotate", "flow")
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"brain: error: webhook 'flow' has two secrets already, the old one until \d{4}-\S+ \S+; "
        r"wait for that, or end both at once with --now\n",
        err,
    )
    code, out, err = here("webhook", "rotate", "flow", "--now", "--json")
    assert code == 0
    shape = json.loads(out)
    assert (shape["secret_generation"], shape["old_until"]) == (3, None)
    assert err.endswith("shown this once; the old one is refused from now on\n")
    # None is valid beside the new one: the next change may have a day again.
    assert here("webhook", "rotate", "flow", "--keep", "7d")[0] == 0


WRONG: list[tuple[list[str], str]] = [
    (["flwo"], "nothing is registered as 'flwo'; did you mean 'flow'?"),
    (["nightly"], "'nightly' is a trigger of the type cron, which has no secret; see: brain webhook list"),
    (["flow", "--keep", "1h", "--now"], "--keep and --now exclude each other; give one of them"),
    (["flow", "--keep", "soon"], "--keep 'soon' is neither a time from now (30s, 5m, 2h, 3d, 1w) nor a time "),
    (["flow", "--keep", "2020-01-01"], "--keep '2020-01-01' is over; give a time to come, such as 2h"),
    (["flow", "--keep", "400d"], "--keep '400d' lies more than a year ahead; give a time within one"),
]


def test_what_cannot_be_changed_is_told_in_one_line(here: Here, flow: Path) -> None:
    registered(here)
    assert here("register", "flow.py", "--cron", "0 9 * * *", "--name", "nightly")[0] == 0
    for arguments, line in WRONG:
        code, out, err = here("webhook", "rotate", *arguments)
        assert code in (1, 2)
        assert out == ""
        assert line in err
        assert err.count("\n") == 1
        assert json.loads(here("webhook", "list", "--json")[1])[0]["secret_generation"] == 1


def test_the_database_takes_no_secret_back(here: Here, flow: Path, database_url: str) -> None:
    registered(here)
    assert here("webhook", "rotate", "flow", "--now")[0] == 0

    async def tried() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for change in ("generation = 1", "generation = 2", "generation = 4", "trigger_id = gen_random_uuid()"):
                with pytest.raises(asyncpg.CheckViolationError):
                    await connection.execute(f"UPDATE brain_http_api.webhook_secrets SET {change}")
            with pytest.raises(asyncpg.CheckViolationError, match="webhook_secrets_old_ends"):
                await connection.execute(
                    "UPDATE brain_http_api.webhook_secrets SET generation = 3, old_until = 'infinity'"
                )
        finally:
            await connection.close()

    asyncio.run(tried())
