"""`brain token`, `brain serve` and `brain openapi` as people call them, and what they say to what is wrong."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from brain_http_api.commands.token import Right
from brain_http_api.tokens import SCOPES, new_token

from .conftest import ADMIN, Command, House

Here = Callable[..., tuple[int, str, str]]
TOKEN = re.compile(r"brain_[a-z2-7]{16}_[A-Za-z0-9_-]{43}\n")


def listed(here: Here) -> list[dict[str, Any]]:
    code, out, err = here("token", "list", "--json")
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_a_token_is_printed_alone_and_once(here: Here, database_url: str) -> None:
    code, token, err = here("token", "create", "ci", "--scope", "run", "--workflow", "night*", "--workflow", "b?")
    assert code == 0
    assert TOKEN.fullmatch(token)
    assert err == "token 'ci': run, workflows night*, b?, always valid; it is shown this once, keep it\n"
    _, out, _ = here("token", "list")
    head, row = out.splitlines()
    assert head.split("  ")[0] == "NAME"
    assert re.fullmatch(r"ci +run +night\*, b\? +\d{4}-\S+ \S+ +never +never +active", row)
    assert token.strip() not in out
    (one,) = listed(here)
    assert list(one) == [
        *("name", "scope", "workflows", "created_at", "expires_at", "revoked_at", "last_used_at", "state")
    ]
    assert (one["name"], one["scope"], one["workflows"]) == ("ci", "run", ["night*", "b?"])

    async def dumped() -> str:
        connection = await asyncpg.connect(database_url)
        try:
            return str(await connection.fetch("SELECT * FROM brain_http_api.tokens"))
        finally:
            await connection.close()

    assert token.strip() not in asyncio.run(dumped())


def test_a_token_as_json(here: Here) -> None:
    code, out, err = here("token", "create", "ann's laptop", "--expires", "30d", "--json")
    made = json.loads(out)
    assert code == 0
    assert TOKEN.fullmatch(made.pop("token") + "\n")
    assert (made["scope"], made["workflows"], made["state"]) == ("read", [], "active")
    assert [made] == listed(here)
    assert re.search(r": read, all workflows, valid until \d{4}-", err)


def test_a_token_is_revoked_once_and_its_name_free_again(here: Here) -> None:
    here("token", "create", "ci")
    assert here("token", "revoke", "ci") == (0, "revoked 'ci': it is refused from now on\n", "")
    code, out, _ = here("token", "revoke", "ci")
    assert code == 0
    assert out.startswith("token 'ci' is revoked already, since 2")
    assert here("token", "create", "ci", "--scope", "admin")[0] == 0
    assert [(one["scope"], one["state"]) for one in listed(here)] == [("admin", "active"), ("read", "revoked")]


def test_a_token_that_has_expired_frees_its_name(here: Here, database_url: str) -> None:
    here("token", "create", "ci", "--expires", "1h")
    here("token", "create", "other", "--expires", "1h")

    async def an_hour_goes_by() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(
                "ALTER TABLE brain_http_api.tokens DISABLE TRIGGER USER; "
                "UPDATE brain_http_api.tokens SET created_at = created_at - interval '2 hours', "
                "expires_at = expires_at - interval '2 hours'; "
                "ALTER TABLE brain_http_api.tokens ENABLE TRIGGER USER"
            )
        finally:
            await connection.close()

    asyncio.run(an_hour_goes_by())
    assert [one["state"] for one in listed(here)] == ["expired", "expired"]
    assert here("token", "create", "ci")[0] == 0
    assert here("token", "revoke", "other")[1].startswith("revoked 'other', which had expired, 2")
    assert here("token", "revoke", "other")[1].startswith("token 'other' is expired already, since 2")
    assert sorted((one["name"], one["state"]) for one in listed(here)) == [
        ("ci", "active"),
        ("ci", "expired"),
        ("other", "expired"),
    ]


def test_without_tokens_the_list_says_how_to_make_one(here: Here) -> None:
    assert here("token", "list") == (0, "", "no tokens; make one: brain token create NAME --scope read|run|admin\n")
    assert here("token", "list", "--json") == (0, "[]\n", "")


A_TOKEN = "brain_" + "a" * 16 + "_" + "b" * 43
NO_NAME = "cannot be the name of a token: 80 printable characters at most, no spaces around them"
NO_PATTERN = "matches no name of a workflow: ASCII letters, digits,"
REFUSED: list[tuple[list[str], str]] = [
    (["create", ""], f"'' {NO_NAME}"),
    (["create", " ci"], f"' ci' {NO_NAME}"),
    (["create", "a\nb"], f"'a\\nb' {NO_NAME}"),
    (["create", "a\x1b[2J"], f"'a\\x1b[2J' {NO_NAME}"),
    (["create", "a\udcff"], f"'a\\udcff' {NO_NAME}"),
    (["create", "n" * 81], f"'{'n' * 79}…' {NO_NAME}"),
    (["create", "environment"], "'environment' is what the token of THE_BRAIN_API_TOKEN is called in records;"),
    (["create", A_TOKEN], "that is a token itself; give the name of one, see: brain token list"),
    (["revoke", A_TOKEN], "that is a token itself; give the name of one, see: brain token list"),
    (["create", "x", "--scope", "root"], "invalid value for '--scope': 'root' is not one of 'read', 'run', 'admin';"),
    (["create", "x", "--workflow", ""], f"--workflow '' {NO_PATTERN}"),
    (["create", "x", "--workflow", "a/b.py"], f"--workflow 'a/b.py' {NO_PATTERN}"),
    (["create", "x", "--workflow", "é*"], f"--workflow 'é*' {NO_PATTERN}"),
    (["create", "x", *["--workflow", "a"] * 21], "--workflow is given 21 times; 20 patterns are the most"),
    (["create", "x", "--expires", "soon"], "--expires 'soon' is neither a time from now (30s, 5m, 2h, 3d, 1w) nor"),
    (["create", "x", "--expires", "0d"], "--expires '0d' is over; give a time to come, such as 2h"),
    (["create", "x", "--expires", "2020-01-31"], "--expires '2020-01-31' is over; give a time to come, such as 2h"),
    (["create", "x", "--expires", "9999-12-31"], "--expires '9999-12-31' lies more than 100 years ahead; leave it out"),
    (["create", "x", "--expires", "999999w"], "--expires '999999w' lies after all time; give a shorter time"),
]


def test_what_is_wrong_is_said_in_one_line(here: Here) -> None:
    for arguments, line in REFUSED:
        code, out, err = here("token", *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith(f"brain: error: {line}"), arguments
        assert err.count("\n") == 1, arguments
        assert "b" * 43 not in err
    assert listed(here) == []


def test_names_that_are_taken_or_unknown(here: Here) -> None:
    here("token", "create", "Ann's")
    assert here("token", "create", "Ann's") == (
        1,
        "",
        "brain: error: there is a token 'Ann's' already; choose another name, or end that one: "
        "brain token revoke 'Ann'\"'\"'s'\n",
    )
    code, _, err = here("token", "revoke", "anns")
    assert (code, err) == (
        1,
        "brain: error: there is no token 'anns'; did you mean 'Ann's'?; see: brain token list\n",
    )
    assert here("token", "revoke", "nobody")[2] == ("brain: error: there is no token 'nobody'; see: brain token list\n")


def test_the_rights_on_the_command_line_are_those_that_there_are() -> None:
    assert tuple(Right) == SCOPES


def test_openapi_needs_no_database_and_may_be_switched_off(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_BRAIN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    code, out, err = here("openapi")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["openapi"].startswith("3.")
    assert "/health" in document["paths"]


@pytest.mark.parametrize(
    ("variables", "arguments", "line"),
    [
        ({}, [], "the HTTP API is switched off; set enabled = true under [plugins.http_api] in brain.toml, "),
        ({"ENABLED": "maybe"}, [], "setting plugins.http_api.enabled is 'maybe' (from THE_BRAIN_HTTP_API_ENABLED): "),
        ({"PORT": "70000"}, [], "setting plugins.http_api.port is '70000' (from THE_BRAIN_HTTP_API_PORT): "),
        ({"PORT": "http"}, [], "setting plugins.http_api.port is 'http' (from THE_BRAIN_HTTP_API_PORT): "),
        ({"MAX_BODY": "0"}, [], "setting plugins.http_api.max_body is '0' (from THE_BRAIN_HTTP_API_MAX_BODY): "),
        ({"ROOT_PATH": "brain/"}, [], "setting plugins.http_api.root_path is 'brain/'"),
        (
            {"PROT": "1"},
            [],
            "'plugins.http_api.prot' is no setting (from THE_BRAIN_HTTP_API_PROT); did you mean 'port'?",
        ),
        ({}, ["--port", "70000"], "invalid value for '--port': '70000' has to be less than or equal to 65535; "),
        ({}, ["--grace", "-1"], "invalid value for '--grace': '-1' has to be greater than or equal to 0; "),
    ],
    ids=str,
)
def test_a_server_that_is_not_set_right_says_so(
    here: Here, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], arguments: list[str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"THE_BRAIN_HTTP_API_{name}", value)
    code, out, err = here("serve", *arguments)
    assert (code, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


async def test_a_server_without_a_token_does_not_start(house: House) -> None:
    server = house.spawn("serve", "--port", "0", http_api_enabled="true", log_format="text")
    assert await server.ended() == 1
    (line,) = [line for line in server.log.splitlines() if "token" in line]
    assert "set THE_BRAIN_API_TOKEN (at least 16 characters), or make one: brain token create NAME" in line


async def test_a_server_lets_in_whom_the_command_has_given_a_token(house: House) -> None:
    code, token = await house.brain("token", "create", "ci", "--scope", "admin")
    assert code == 0
    # The options go before the settings.
    server = house.spawn("serve", "--host", "127.0.0.1", "--port", "0", http_api_enabled="true", http_api_port=1)

    async def address() -> str | None:
        found = re.search(r"http://127\.0\.0\.1:[0-9]+", server.log)
        return None if found is None else found[0]

    url = await house.until(address, "it listens", server)
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:

        async def asked(token: str) -> int:
            answer = await client.get("/workflows", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        assert [await asked(one) for one in (token.strip(), new_token(), ADMIN)] == [200, 401, 401]
        assert (await house.brain("token", "revoke", "ci"))[0] == 0
        assert await asked(token.strip()) == 401

    async def noted() -> bool:
        (row,) = await house.sql("SELECT last_used_at FROM brain_http_api.tokens")
        return row["last_used_at"] is not None

    await house.until(noted, "its use is noted", server)
    assert token.strip() not in server.log
    server.kill(signal.SIGTERM)
    assert await server.ended() == 0


def test_a_token_goes_into_a_variable_of_the_shell(brain: Command, environment: dict[str, str], tmp_path: Path) -> None:
    program = f"{sys.executable} -m brain_core"
    script = f'TOKEN=$({program} token create ci 2>/dev/null); printf "<%s>" "$TOKEN"'
    done = subprocess.run(["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert TOKEN.fullmatch(done.stdout.strip("<>") + "\n"), done


REPORT = (
    "import atexit, json, sys; atexit.register(lambda: sys.stderr.write(chr(10) + json.dumps(sorted(sys.modules))))"
)


@pytest.mark.parametrize("arguments", [["--help"], ["token", "list"], ["plugins", "list"]], ids=" ".join)
def test_what_serves_is_imported_by_a_server_alone(arguments: list[str], environment: dict[str, str]) -> None:
    code = f"{REPORT}\nfrom brain_core.cli.main import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stderr.rstrip().rpartition("\n")[2]))
    assert not loaded & {"fastapi", "starlette", "uvicorn", "httptools", "prometheus_client"}
    assert ("brain_http_api.plugin" in loaded) == (arguments != ["--help"])
