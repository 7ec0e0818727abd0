"""Tokens: stored hashed, compared by their bytes, refused from the moment on at which they end."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from brain_http_api import tokens as tokens_module
from brain_http_api.plugin import brain_migrations
from brain_http_api.tokens import Access, Tokens, digest_of, id_of, new_token
from hypothesis import given
from hypothesis import strategies as st

from brain_core import StepFailed
from brain_core.facade import DatabaseUnreachable
from brain_core.testing import check_tables

from .stored_tokens import ENVIRONMENT, Lab, open_lab


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    async with open_lab(database_url) as made:
        yield made


async def test_the_statements_are_as_they_have_to_be(database_url: str) -> None:
    assert await check_tables(database_url, brain_migrations()) == []


def test_a_token_has_a_form_that_scanners_can_look_for() -> None:
    made = {new_token() for _ in range(1_000)}
    assert len(made) == len({id_of(token) for token in made}) == 1_000
    for token in made:
        assert re.fullmatch(r"brain_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", token)
        assert len(token) == 66


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | st.from_regex(r"brain_[a-z2-7]{15,17}_.*"))
def test_what_has_not_the_form_has_no_id(text: str) -> None:
    found = id_of(text)
    assert found is None or re.fullmatch(r"brain_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", text)


async def test_a_token_is_nowhere_in_its_row(lab: Lab) -> None:
    token = await lab.token(patterns=("nightly-*", "b?"))
    secret = token.split("_", 2)[2]
    assert await lab.tokens.access(token) == Access("ci", "run", ("nightly-*", "b?"))
    await asyncio.gather(*lab.tokens._noting.values())
    (row,) = await lab.sql("SELECT t::text AS row, digest FROM brain_http_api.tokens AS t")
    listed = await lab.query("http_api_tokens")
    assert row["digest"] == digest_of(token)
    for told in (row["row"], repr(listed), repr(await lab.query("http_api_token", {"id": id_of(token)}))):
        assert token not in told
        assert secret not in told
    assert row["digest"] not in repr(listed)


async def test_a_revoked_token_is_refused_at_once(lab: Lab) -> None:
    token, other = await lab.token(), await lab.token("other")
    assert await lab.tokens.access(token) == Access("ci", "run")
    assert await lab.query("http_api_token_revoke", {"name": "ci"})
    assert await lab.tokens.access(token) is None
    assert await lab.tokens.access(other) == Access("other", "run")
    assert await lab.query("http_api_token_revoke", {"name": "ci"}) == []


async def test_a_token_expires_by_the_clock_of_the_database(lab: Lab) -> None:
    over = await lab.token("over", expires_at=timedelta(milliseconds=-1))
    valid = await lab.token("valid", expires_at=timedelta(hours=1))
    assert await lab.tokens.access(over) is None
    assert await lab.tokens.access(valid) == Access("valid", "run")
    states = {one["name"]: one["state"] for one in await lab.query("http_api_tokens")}
    assert states == {"over": "expired", "valid": "active"}


async def test_the_secret_counts_and_not_the_id(lab: Lab) -> None:
    token = await lab.token()
    public, secret = token[:23], token[23:]
    changed = ("a" if secret[0] != "a" else "b") + secret[1:]
    for wrong in (public + changed, new_token(), public + new_token()[23:], token[:-1], token + "a", token.upper()):
        assert await lab.tokens.access(wrong) is None
    assert await lab.tokens.access(token) is not None


async def test_only_a_comparison_in_constant_time_says_whether_a_token_is_right(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await lab.token()
    compared: list[int] = []

    def never(one: bytes, other: bytes) -> bool:
        compared.append(len(one) * len(other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", never)
    assert await lab.tokens.access(ENVIRONMENT) is None
    # As much is compared where there is no such id.
    for one in (token, new_token()):
        compared.clear()
        assert await lab.tokens.access(one) is None
        assert compared == [32 * 32] * 2
    monkeypatch.undo()
    assert await lab.tokens.access(token) == Access("ci", "run")


NOT_ONES = {
    "empty": "",
    "cut": "brain_",
    "one of github": "ghp_0123456789",
    "not ascii": "brain_\xe4\xff\x80",
    "nul": "a\0b",
    "digits of others": "brain_" + "٢" * 16 + "_" + "a" * 43,
    "a line more": "brain_" + "a" * 16 + "_" + "a" * 42 + "\n",
    "long": "x" * 100_000,
    "long and begun well": "brain_" + "a" * 100_000,
    "surrogate": "\ud800",
    "almost the one of the environment": ENVIRONMENT + " ",
}


@pytest.mark.parametrize("token", NOT_ONES.values(), ids=NOT_ONES)
async def test_what_is_no_token_never_reaches_the_database(token: str) -> None:
    async def query(name: str, values: Any = None) -> list[Any]:
        raise AssertionError(name)

    tokens = Tokens(query, ENVIRONMENT)
    assert await tokens.access(token) is None
    assert await tokens.access(ENVIRONMENT) == Access("environment", "admin")
    assert await Tokens(query, None).access(token) is None


@pytest.mark.parametrize("text", ["plain-and-long-enough", "naïve-Schlüssel-0123", "日本語のトークン-0123456"])
async def test_the_token_of_the_environment_is_compared_by_its_bytes(lab: Lab, text: str) -> None:
    tokens = Tokens(lab.query, text)
    # What a client sends as UTF-8 comes as latin-1.
    assert await tokens.access(text.encode().decode("latin-1")) == Access("environment", "admin")
    assert await tokens.access(text[:-1]) is None
    assert lab.asked == []


@pytest.mark.parametrize(
    ("ended", "anybody"),
    [(None, False), ({}, True), ({"expires_at": timedelta(hours=1)}, True), ({"expires_at": timedelta(0)}, False)],
    ids=["none", "valid", "to expire", "expired"],
)
async def test_whether_a_stored_token_is_valid(lab: Lab, ended: dict[str, Any] | None, anybody: bool) -> None:
    if ended is not None:
        await lab.token(**ended)
    assert await lab.tokens.any_stored() is anybody
    await lab.query("http_api_token_revoke", {"name": "ci"})
    assert await lab.tokens.any_stored() is False


async def test_the_use_is_noted_once_a_minute_and_by_nobody_waited_for(lab: Lab) -> None:
    token = await lab.token()
    async with lab.connection.transaction():
        await lab.sql("SELECT FROM brain_http_api.tokens FOR UPDATE")
        # The note waits for the row; who asks does not.
        for _ in range(3):
            assert await lab.tokens.access(token) is not None
    await asyncio.gather(*lab.tokens._noting.values())
    assert lab.asked.count("http_api_token_used") == 1
    (first,) = await lab.sql("SELECT last_used_at FROM brain_http_api.tokens")
    assert first["last_used_at"] is not None
    assert await lab.tokens.access(token) is not None
    assert not lab.tokens._noting
    await lab.sql("UPDATE brain_http_api.tokens SET last_used_at = last_used_at - interval '61 seconds'")
    assert await lab.tokens.access(token) is not None
    await asyncio.gather(*lab.tokens._noting.values())
    (second,) = await lab.sql("SELECT last_used_at FROM brain_http_api.tokens")
    assert second["last_used_at"] > first["last_used_at"]


async def test_a_note_that_waits_is_ended_with_the_server(lab: Lab) -> None:
    token = await lab.token()
    async with lab.connection.transaction():
        await lab.sql("SELECT FROM brain_http_api.tokens FOR UPDATE")
        assert await lab.tokens.access(token) is not None
        await lab.tokens.close()
    assert not lab.tokens._noting


async def test_a_database_that_does_not_answer_is_not_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await lab.token()
    monkeypatch.setattr(tokens_module, "PATIENCE", 0.1)
    async with lab.connection.transaction():
        await lab.sql("LOCK TABLE brain_http_api.tokens IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnreachable, match=r"no answer within 0\.1 s"):
            await lab.tokens.access(token)
        assert await lab.tokens.access(ENVIRONMENT) == Access("environment", "admin")
    monkeypatch.undo()
    assert await lab.tokens.access(token) == Access("ci", "run")


GOOD: dict[str, Any] = {
    "id": "a" * 16,
    "digest": "0" * 64,
    "name": "x",
    "scope": "read",
    "patterns": [],
    "expires_at": None,
}


REFUSED: list[tuple[str, Any, str]] = [
    ("id", "A" * 16, "tokens_id_public"),
    ("id", "a" * 17, "tokens_id_public"),
    ("digest", f"brain_{'a' * 16}_{'b' * 43}", "tokens_digest_only"),
    ("digest", "0" * 63, "tokens_digest_only"),
    ("digest", "0" * 64 + "\n", "tokens_digest_only"),
    ("digest", "A" * 64, "tokens_digest_only"),
    ("scope", "root", "tokens_scope_known"),
    ("name", "", "tokens_name_bounded"),
    ("name", "n" * 81, "tokens_name_bounded"),
    ("name", "environment", "tokens_name_bounded"),
    ("patterns", ["a"] * 21, "tokens_patterns_bounded"),
    ("patterns", ["a", ""], "tokens_patterns_bounded"),
    ("patterns", [None], "tokens_patterns_bounded"),
    ("patterns", ["a" * 9_000], "tokens_patterns_bounded"),
    ("expires_at", "infinity", "tokens_expire_later"),
    ("expires_at", "2020-01-01", "tokens_expire_later"),
]


async def test_the_table_holds_nothing_else(lab: Lab) -> None:
    for column, value, constraint in REFUSED:
        with pytest.raises(StepFailed, match=f'constraint "{constraint}"'):
            await lab.query("http_api_token_create", {**GOOD, column: value})
        told = await lab.sql("SELECT obj_description(oid) FROM pg_constraint WHERE conname = $1", constraint)
        assert told[0][0].startswith(("G21: ", "G24: "))
    assert await lab.query("http_api_token_create", GOOD)


async def test_a_token_never_gets_more_rights_and_stays_revoked(lab: Lab) -> None:
    await lab.query("http_api_token_create", {**GOOD, "patterns": ["a*"], "expires_at": "2100-01-01"})
    await lab.query("http_api_token_revoke", {"name": "x"})
    digest = f"digest = '{'1' * 64}'"
    for change in (
        "scope = 'admin'",
        "patterns = '{}'",
        "expires_at = NULL",
        "name = 'y'",
        "revoked_at = NULL",
        digest,
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="what it allows never changes"):
            await lab.sql(f"UPDATE brain_http_api.tokens SET {change}")


async def test_a_name_means_one_token_and_is_free_again_after_it(lab: Lab) -> None:
    token = await lab.token()
    taken = {**GOOD, "name": "ci"}
    assert await lab.query("http_api_token_create", taken) == []
    # The same one again, as after an answer that was lost.
    again = {**taken, "id": id_of(token), "digest": digest_of(token)}
    assert len(await lab.query("http_api_token_create", again)) == 1
    await lab.query("http_api_token_revoke", {"name": "ci"})
    assert len(await lab.query("http_api_token_create", taken)) == 1


async def test_a_name_is_free_when_its_token_has_expired(lab: Lab) -> None:
    old = await lab.token(expires_at=timedelta(seconds=-1))
    await lab.query("http_api_token_make_room", {"name": "ci"})
    new = await lab.token()
    assert await lab.tokens.access(old) is None
    assert await lab.tokens.access(new) is not None
    assert [one["state"] for one in await lab.query("http_api_tokens")] == ["active", "expired"]
    await lab.query("http_api_token_make_room", {"name": "ci"})
    assert await lab.tokens.access(new) is not None
