"""Every route with every kind of token: what each is answered, by one table."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx2
from brain_http_api.app import create_app
from brain_http_api.tokens import SCOPES, Scope, id_of, new_token

from .conftest import ADMIN, Served


class Row(NamedTuple):
    """One route: the right that it needs (None: no token at all), what it takes and answers.

    `bound` is the answer to a token with all rights for other workflows than the one that is asked for.
    """

    right: Scope | None
    good: int
    bound: int
    body: Any = None


TABLE = {
    "GET /health": Row(None, 503, 503),
    "GET /runs": Row("read", 200, 200),
    "GET /runs/{id}": Row("read", 200, 404),
    "GET /runs/{id}/events": Row("read", 200, 404),
    "GET /triggers": Row("read", 200, 200),
    "GET /triggers/{name}": Row("read", 200, 404),
    "GET /fires": Row("read", 200, 200),
    "GET /workflows": Row("read", 200, 200),
    "GET /plugins": Row("read", 200, 200),
    "GET /metrics": Row("read", 200, 403),
    "POST /run": Row("run", 202, 404, {"workflow": "mine", "wait": False}),
    "POST /runs/{id}/cancel": Row("run", 200, 404, {}),
    "POST /triggers/{name}/fire": Row("run", 202, 404, {}),
    "POST /triggers/{name}/pause": Row("admin", 200, 404, {}),
    "POST /triggers/{name}/resume": Row("admin", 200, 404),
    # Its senders prove themselves otherwise; a token is nothing to it.
    "POST /hooks/{name}": Row(None, 401, 401, {}),
}
MORE = {
    # By its path, and not by its name.
    "POST /run": [Row("admin", 202, 403, {"workflow": "flow.py", "inputs": {"n": 1}, "wait": False})],
}
LISTS = {"GET /runs": "runs", "GET /triggers": "triggers", "GET /fires": "fires", "GET /workflows": "workflows"}


def expected(row: Row, scope: Scope | None) -> int:
    """Return the answer to a token that is bound to nothing; None is no valid one."""
    if row.right is None:
        return row.good
    if scope is None:
        return 401
    return row.good if SCOPES.index(scope) >= SCOPES.index(row.right) else 403


def routes() -> set[str]:
    paths = create_app(None).openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_route_is_in_the_table() -> None:
    assert routes() == set(TABLE)


async def bearers(served: Served) -> dict[str, tuple[str | None, Scope | None]]:
    """Return what is sent as Authorization, by what it is, and the right that it has."""
    expired = await served.token("admin")
    # Past any rule of the table: time goes by in no other way.
    await served.sql("ALTER TABLE brain_http_api.tokens DISABLE TRIGGER USER")
    past = "UPDATE brain_http_api.tokens SET created_at = '2020-01-01Z', expires_at = '2020-01-02Z' WHERE id = $1"
    await served.sql(past, id_of(expired))
    await served.sql("ALTER TABLE brain_http_api.tokens ENABLE TRIGGER USER")
    revoked = await served.token("admin")
    await served.brain.tables.query()("http_api_token_revoke", {"name": id_of(revoked)})
    found: dict[str, tuple[str | None, Scope | None]] = {
        "none": (None, None),
        "empty": ("Bearer", None),
        "malformed": (f"Basic {ADMIN}", None),
        "bare": (ADMIN, None),
        "wrong": (f"Bearer {ADMIN}x", None),
        "unknown": (f"Bearer {new_token()}", None),
        "expired": (f"Bearer {expired}", None),
        "revoked": (f"Bearer {revoked}", None),
        "environment": (f"Bearer {ADMIN}", "admin"),
        "lower case": (f"bearer {ADMIN}", "admin"),
    }
    for scope in SCOPES:
        found[scope] = (f"Bearer {await served.token(scope)}", scope)
        found[f"bound to it, {scope}"] = (f"Bearer {await served.token(scope, 'no', 'fl*')}", scope)
    return found


async def ask(served: Served, nobody: httpx2.AsyncClient, route: str, row: Row, authorization: str | None) -> Any:
    method, _, path = route.partition(" ")
    run_id = await served.queued()
    if path.endswith("/events"):
        await served.end(run_id)
    headers = {} if authorization is None else {"Authorization": authorization}
    sent = {} if row.body is None else {"json": row.body}
    return await nobody.request(method, path.format(id=run_id, name="mine"), headers=headers, **sent)


async def test_every_route_with_every_kind_of_token(served: Served) -> None:
    served.flow()
    await served.register("mine", inputs={"n": 1})
    nobody = await served.as_bearer(None)
    rows = [(route, row) for route in sorted(routes()) for row in (TABLE[route], *MORE.get(route, []))]
    for what, (authorization, scope) in (await bearers(served)).items():
        for route, row in rows:
            answer = await ask(served, nobody, route, row, authorization)
            status = expected(row, scope)
            if what.startswith("bound") and status == row.good and row.bound == 403:
                status = 403  # what no bound token may, whatever it is bound to
            assert (what, route, answer.status_code) == (what, route, status), answer.text
            if status == 401 and row.right is not None:
                assert answer.headers["www-authenticate"] == "Bearer"
            if status in (401, 403, 404):
                assert answer.headers["content-type"] == "application/problem+json"


async def test_what_a_token_for_other_workflows_sees(served: Served) -> None:
    served.flow()
    await served.register("mine", inputs={"n": 1})
    authorization = f"Bearer {await served.token('admin', 'other', '*x')}"
    nobody = await served.as_bearer(None)
    for route in sorted(routes()):
        for row in (TABLE[route], *MORE.get(route, [])):
            answer = await ask(served, nobody, route, row, authorization)
            assert (route, answer.status_code) == (route, row.bound), answer.text
            if route in LISTS:
                assert answer.json()[LISTS[route]] == []
    assert len(await served.sql("SELECT FROM brain.runs WHERE trigger IS NOT NULL")) == 0
