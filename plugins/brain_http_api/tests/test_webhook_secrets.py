"""Secrets of webhooks: which are valid, where they are not to be found, and servers with another master key."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from brain_http_api.settings import SECRET_HEADERS
from brain_http_api.webhook.secrets import master_key_of
from brain_http_api.webhook.trigger import Webhook

from .conftest import Serve, Served, until
from .deliveries import RAW, SIGN, Hook, github, hook, seen

SCHEMES = list(SIGN)


async def rotated(to: Hook, generation: int, seconds: float | None) -> None:
    until_when = None
    if seconds is not None:
        (row,) = await to.served.sql("SELECT clock_timestamp() + make_interval(secs => $1) AS at", seconds)
        until_when = row["at"].isoformat()
    values = {"trigger": str(to.id), "generation": generation, "old_until": until_when}
    assert await to.served.brain.tables.query()("http_api_webhook_rotate", values)


async def status(to: Hook, generation: int) -> int:
    return (await to.post(RAW, to.headers(generation=generation))).status_code


@pytest.mark.parametrize("scheme", ["standard", "bearer"])
async def test_two_secrets_are_valid_while_they_are_changed(served: Served, scheme: str) -> None:
    to = await hook(served, scheme)

    async def taken(*wanted: int) -> None:
        async def as_wanted() -> bool:
            return tuple([await status(to, generation) for generation in (1, 2, 3)]) == wanted

        await until(as_wanted, f"{wanted}")

    await taken(202, 401, 401)
    await rotated(to, 2, 3_600)
    await taken(202, 202, 401)
    await rotated(to, 3, None)
    await taken(401, 401, 202)


async def test_two_that_change_a_secret_at_once_are_not_told_what_is_not_so(served: Served) -> None:
    to = await hook(served)
    rotate = partial(served.brain.tables.query(), "http_api_webhook_rotate")
    day: dict[str, Any] = {"trigger": str(to.id), "generation": 2, "old_until": "2100-01-01T00:00:00+00:00"}
    # The second time as after an answer that was lost.
    assert [len(await rotate(day)) for _ in range(2)] == [1, 1]
    # Who wanted both to end at once, or at another time, is told that somebody else was first.
    assert await rotate({**day, "old_until": None}) == []
    assert await rotate({**day, "old_until": "2100-01-02T00:00:00+00:00"}) == []
    assert [len(await rotate({**day, "generation": 3, "old_until": None})) for _ in range(2)] == [1, 1]
    assert await rotate({**day, "generation": 3}) == []


async def test_an_old_secret_ends_by_itself(served: Served) -> None:
    to = await hook(served)
    await rotated(to, 2, 3_600)

    async def both() -> bool:
        return [await status(to, 1), await status(to, 2)] == [202, 202]

    async def new_alone() -> bool:
        return [await status(to, 1), await status(to, 2)] == [401, 202]

    await until(both, "both are valid")
    # Past any rule of the table: the hour goes by in no other way.
    await served.sql("ALTER TABLE brain_http_api.webhook_secrets DISABLE TRIGGER USER")
    await served.sql("UPDATE brain_http_api.webhook_secrets SET old_until = clock_timestamp()")
    await until(new_alone, "the old one has ended")


async def test_a_bearer_secret_that_was_on_the_wire_never_signs(served: Served) -> None:
    to = await hook(served, "bearer")
    seen_on_the_wire = to.secret()
    await served.brain.triggers.edit(
        (await served.brain.triggers.get("bearer")).row, trigger=Webhook(webhook=True, scheme="github")
    )
    to.scheme = "github"

    async def signs() -> bool:
        return (await to.post()).status_code == 202

    await until(signs, "the new scheme counts")
    assert (await to.post(RAW, github(seen_on_the_wire, RAW))).status_code == 401


async def test_no_secret_is_in_the_database_nor_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts, hooks = [], [await hook(served, scheme) for scheme in SCHEMES]
    for to in hooks:
        await rotated(to, 2, 3_600)
        for generation in (1, 2):
            headers = to.headers(generation=generation)
            assert (await to.post(RAW, headers)).status_code in (202, 401)
            await to.post(b"{}", headers)
            key = served.brain.derive_key(f"webhook/{to.id}/{to.scheme}/{generation}")
            texts += [key.hex(), to.secret(generation), to.secret(generation).removeprefix("whsec_")]
            texts += [
                value.rpartition(",")[2].rpartition("=")[2]
                for name, value in headers.items()
                if name in SECRET_HEADERS and "=" in value.rstrip("=")
            ]
            texts += [repr(key)[2:-1]]
    tables = await served.sql(
        "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS name FROM information_schema.tables"
        " WHERE table_schema LIKE 'brain%'"
    )
    assert len(tables) > 10
    dump = ""
    for table in tables:
        dump += "\n".join(row["t"] for row in await served.sql(f"SELECT t::text FROM {table['name']} AS t"))
    assert str(hooks[0].id) in dump
    assert "order.paid" in dump
    for text in texts:
        assert len(text) > 20
        assert text not in dump
        assert text not in caplog.text


async def test_a_server_with_another_master_key_says_which_it_has(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = [await serve(core={"master_key": letter * 32}) for letter in "ab"]
    to = await hook(one)
    assert (await to.post()).status_code == 202
    assert not caplog.records
    signed = to.headers()
    assert (await (await other.as_bearer(None)).post("/hooks/standard", content=RAW, headers=signed)).status_code == 401
    (said,) = [record.getMessage() for record in caplog.records]
    key, another = (master_key_of(served.brain) for served in (other, one))
    assert key != another
    assert re.fullmatch(r"[0-9a-f]{8} \(flag\)", key)
    assert f"no signature of it is right; the master key here is {key}: `brain webhook list` tells" in said
    # What tells keys apart is none of those that sign.
    assert key[:8] not in {one.brain.derive_key(f"webhook/{to.id}/standard/{n}").hex()[:8] for n in range(3)}


async def test_a_master_key_that_cannot_be_read_is_nothing_that_a_sender_learns(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    to = await hook(served)
    headers = to.headers()
    (served.folder / "home" / "master.key").chmod(0o644)
    answers = [
        await to.post(RAW, headers),
        await Hook(served, "nothing", UUID(int=1), "standard", to.client).post(RAW, headers),
    ]
    assert seen(answers[0]) == seen(answers[1])
    assert answers[0].status_code == 503
    assert "master.key" not in answers[0].text
    # Whoever knocks, with a secret or without, must not fill the log.
    (said,) = [record.getMessage() for record in caplog.records]
    assert "may be read or changed by others" in said
