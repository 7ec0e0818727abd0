"""What a token allows, and what routes say to credentials of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from brain_http_api import tokens as tokens_module
from brain_http_api.access import Admin, Reader, Starter
from brain_http_api.api import Api
from brain_http_api.app import create_app
from brain_http_api.paths import Folders
from brain_http_api.settings import HttpApiSettings
from brain_http_api.tokens import SCOPES, Access, Scope, new_token

from .stored_tokens import ENVIRONMENT, Lab, open_lab


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    async with open_lab(database_url) as made:
        yield made


@pytest.mark.parametrize("has", SCOPES)
@pytest.mark.parametrize("wanted", SCOPES)
def test_each_right_holds_those_before_it(has: Scope, wanted: Scope) -> None:
    assert Access("x", has).allows(wanted) is (["read", "run", "admin"].index(has) >= SCOPES.index(wanted))


@pytest.mark.parametrize(
    ("patterns", "workflow", "sees"),
    [
        ((), "anything", True),
        (("flow",), "flow", True),
        (("flow",), "flows", False),
        (("flow",), "Flow", False),
        (("flow.*",), "flow.a", True),
        (("flow.*",), "flowxa", False),
        (("a?c",), "abc", True),
        (("a?c",), "ac", False),
        (("*",), "", True),
        (("**a**",), "bab", True),
        (("*ab",), "aab", True),
        (("a*a",), "a", False),
        (("a*b*c",), "a-b-b-c", True),
        (("a*b*c",), "a-c-b", False),
        (("x", "y*"), "yes", True),
        (("x", "y*"), "no", False),
        (("a%",), "ab", False),
        (("a_",), "ab", False),
        (("*a?*a*b",), "a" * 200, False),
        (("*a" * 90 + "b",), "a" * 200, False),
    ],
)
def test_patterns_say_which_workflows_there_are(patterns: tuple[str, ...], workflow: str, sees: bool) -> None:
    assert Access("x", "admin", patterns).sees(workflow) is sees


Ask = Callable[..., Any]


@pytest.fixture
async def ask(lab: Lab) -> Ask:
    """Ask three routes of the application as any server would, with headers of raw bytes."""
    app = create_app()
    app.state.api = Api(None, HttpApiSettings(), lab.tokens, Folders(()))  # type: ignore[arg-type]

    @app.get("/of-readers")
    async def reads(access: Reader) -> str:
        return access.name

    @app.get("/of-starters")
    async def starts(access: Starter) -> str:
        return access.name

    @app.get("/of-admins")
    async def changes(access: Admin) -> str:
        return access.name

    async def asked(*headers: tuple[bytes, bytes], path: str = "/of-readers") -> tuple[int, dict[str, str], str]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
        scope |= {"query_string": b"", "headers": list(headers), "http_version": "1.1", "scheme": "http"}
        await app(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:]).decode()

    return asked


GIVEN = ENVIRONMENT.encode()
BAD_HEADERS: dict[str, list[bytes]] = {
    "none": [],
    "empty": [b""],
    "no token": [b"Bearer"],
    "an empty token": [b"Bearer "],
    "blanks": [b"Bearer    "],
    "no scheme": [GIVEN],
    "basic": [b"Basic YTpi"],
    "basic with the token": [b"Basic " + GIVEN],
    "a tab": [b"Bearer\t" + GIVEN],
    "a tab more": [b"Bearer " + GIVEN + b"\t"],
    "glued": [b"Bearer" + GIVEN],
    "a colon": [b"Bearer: " + GIVEN],
    "quoted": [b'Bearer "' + GIVEN + b'"'],
    "two words": [b"Bearer " + GIVEN + b" more"],
    "twice": [b"Bearer " + GIVEN, b"Bearer " + GIVEN],
    "twice, the other wrong": [b"Bearer " + GIVEN, b"Bearer x"],
    "two in one": [b"Bearer " + GIVEN + b", Bearer " + GIVEN],
    "not ascii": [b"Bearer \xff\xfe\x80"],
    "utf-8": ["Bearer naïve-日本".encode()],
    "nul": [b"Bearer " + GIVEN + b"\0"],
    "long": [b"Bearer " + b"x" * 100_000],
    "a long scheme": [b"x" * 100_000 + b" " + GIVEN],
    "of nobody": [b"Bearer " + new_token().encode()],
    "upper case": [b"Bearer " + GIVEN.upper()],
}


async def test_credentials_that_are_none_are_401(ask: Ask) -> None:
    for name, values in BAD_HEADERS.items():
        status, headers, body = await ask(*((b"authorization", value) for value in values))
        assert (status, headers.get("www-authenticate")) == (401, "Bearer"), name
        assert headers["content-type"] == "application/problem+json", name
        assert '"urn:brain-core:problem:unauthenticated"' in body, name
        assert ENVIRONMENT not in body, name


async def test_the_scheme_may_be_written_in_any_case(ask: Ask) -> None:
    for scheme in (b"Bearer ", b"bearer ", b"BEARER   "):
        assert (await ask((b"authorization", scheme + GIVEN)))[::2] == (200, '"environment"')


async def test_a_token_without_the_right_is_403(lab: Lab, ask: Ask) -> None:
    for scope in SCOPES:
        token = await lab.token(scope, scope)
        answers = [
            await ask((b"authorization", b"Bearer " + token.encode()), path=path)
            for path in ("/of-readers", "/of-starters", "/of-admins")
        ]
        assert [status for status, _, _ in answers] == [200 if scope in SCOPES[n:] else 403 for n in range(3)]
        assert all('"urn:brain-core:problem:forbidden"' in body for status, _, body in answers if status == 403)


async def test_while_the_database_is_away_it_is_503(lab: Lab, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await lab.token()
    monkeypatch.setattr(tokens_module, "PATIENCE", 0.1)
    async with lab.connection.transaction():
        await lab.sql("LOCK TABLE brain_http_api.tokens IN ACCESS EXCLUSIVE MODE")
        status, headers, body = await ask((b"authorization", b"Bearer " + token.encode()))
        assert (status, headers["retry-after"]) == (503, "5")
        assert '"urn:brain-core:problem:database-away"' in body
        assert (await ask((b"authorization", b"Bearer " + GIVEN)))[0] == 200


async def test_a_database_that_refuses_is_no_fault_of_a_client_and_not_shown_to_it(
    lab: Lab, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    token = await lab.token()
    await lab.sql("ALTER TABLE brain_http_api.tokens RENAME TO moved")
    status, _, body = await ask((b"authorization", b"Bearer " + token.encode()))
    assert status == 503
    assert "brain_test_" not in body
    assert "statement" not in body
    assert "the table of tokens cannot be used: statement 'http_api_token' failed: " in caplog.text
