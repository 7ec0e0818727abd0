"""Receiver: takes deliveries, `POST /hooks/{name}`. Accepted means committed; everything else goes on after it (G14).

Whoever knocks is told one and the same, whether a name is not there, is paused, or the signature is wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from brain_core import facade
from brain_http_api.problems import Problem, problem_of, send_problem
from brain_http_api.strict_json import LARGE
from brain_http_api.tokens import PATIENCE
from brain_http_api.waiting import ended, location, run_answer
from brain_http_api.webhook.delivery import kind_of, parsed, payload_of
from brain_http_api.webhook.known import Known
from brain_http_api.webhook.secrets import master_key_of
from brain_http_api.webhook.verify import Refused, WrongSignature, verified

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from brain_http_api.api import Api

logger = logging.getLogger("brain.http_api")

ROUTE = "/hooks/{name}"
SAID_AGAIN = 60.0
"""Seconds after which the log tells again why a webhook refuses, or why none takes anything."""
_MOST_SAID = 1_000
_NUMBER = re.compile("[0-9]+")
_LONGEST_NAME = 200
"""No trigger has a longer one. Of such a name a character more is looked up like any other: names are remembered."""
_PARAMETERS = {"wait", "wait_timeout"}
_WAITS = {"true": True, "1": True, "false": False, "0": False}


class Receiver:
    """An ASGI application for deliveries; the body comes with the first message, as the front hands it on."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known = Known(api.brain, api.brain.tables.query())
        self._prefix = len(f"{api.settings.root_path}/hooks/")
        self._said: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.monotonic(), 500

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._deliver(scope, receive, watched)
        except (Problem, facade.BrainError) as error:
            problem = error if isinstance(error, Problem) else self._problem(error)
            await send_problem(watched, problem)
        finally:
            self._api.metrics.answered(ROUTE, "POST", status, time.monotonic() - began)

    async def _deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds = _seconds(scope["query_string"], self._api.settings.max_wait)
        kind = kind_of(scope["headers"])
        body = (await receive())["body"]
        name = scope["path"][self._prefix :][: _LONGEST_NAME + 1]
        try:
            accepted = await self._accept(name, kind, scope["headers"], body)
        except Refused as refused:
            self._api.metrics.delivered("refused")
            raise _refused() from refused
        self._api.metrics.delivered("repeated" if accepted.repeated else "accepted")
        if seconds is None:
            await _send(send, accepted, location(self._api, accepted.run_id))
            return
        run = await ended(self._api, receive, accepted.run_id, seconds)
        if run is not None:
            answer = await run_answer(self._api, run, {"Idempotency-Replayed": "true"} if accepted.repeated else None)
            await answer(scope, receive, send)

    async def _accept(self, name: str, kind: Any, headers: Any, body: bytes) -> facade.Accepted:
        """Commit a delivery, whose body is read when its signature was found right; Refused when nothing takes it."""
        try:
            async with asyncio.timeout(PATIENCE):
                hook = await self._known.hook(name)
        except TimeoutError:
            raise facade.DatabaseUnreachable(f"the database had no answer within {PATIENCE:g} s") from None
        try:
            proof = verified(hook.scheme, hook.keys, headers, body, hook.now)
            if hook.why is not None:
                raise Refused(hook.why)
        except Refused as refused:
            # What is not there has no line: who tries out names must not fill the log.
            # After the answer: how long the log takes is not for whoever knocks to measure.
            if hook.there:
                asyncio.get_running_loop().call_soon(self._say, name, Refused(hook.why) if hook.why else refused)
            raise
        # Not by itself where it is large: it may hold hundreds of thousands of values.
        value = parsed(kind, body) if len(body) < LARGE else await asyncio.to_thread(parsed, kind, body)
        payload = payload_of(hook.scheme, proof, headers, value, self._api.settings.webhook_headers)
        try:
            return await self._api.brain.accept(name, "webhook", payload, proof.key, size=len(body))
        except facade.TriggerNotFound:
            raise Refused("it was paused or unregistered at this moment") from None

    def _say(self, name: str, refused: Refused) -> None:
        """Log why a webhook refuses, once a minute for each webhook and reason."""
        why = str(refused)
        if self._was_said(name, why):
            return
        if isinstance(refused, WrongSignature):
            why += f"; the master key here is {master_key_of(self._api.brain)}: `brain webhook list` tells which one"
            why += " there is where the secret was made"
        logger.warning("webhook '%s' has refused a delivery: %s", name, why)

    def _problem(self, error: facade.BrainError) -> Problem:
        problem = problem_of(error)
        if problem is not None and isinstance(error, facade.InputError | facade.DatabaseError):
            return problem
        # Such as a master key that cannot be read: nothing that a sender could change, or should know.
        if not self._was_said("", str(error)):
            logger.error("deliveries cannot be taken: %s", error)
        return Problem(503, "database-away", "deliveries cannot be taken at the moment; try again")

    def _was_said(self, name: str, why: str) -> bool:
        """Whether the log was told the same within a minute; from now on it was."""
        now = time.monotonic()
        # Without its numbers: who makes up times would otherwise have a line for each.
        said = name, _NUMBER.sub("", why)
        if now < self._said.get(said, 0.0):
            return True
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[said] = now + SAID_AGAIN
        return False


def _refused() -> Problem:
    detail = "nothing takes this delivery; its address, its signature or its time is not right"
    return Problem(401, "webhook-refused", detail, {"WWW-Authenticate": "Bearer"})


def _seconds(query: bytes, longest: float) -> float | None:
    """Return for how long the sender wants to wait for the end of the run; None for not at all."""
    if not query:
        return None
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=len(_PARAMETERS))
        given = dict(pairs)
        if len(given) < len(pairs) or not given.keys() <= _PARAMETERS:
            raise ValueError(query)
        wait = _WAITS[given.get("wait", "false").lower()]
        seconds = float(given.get("wait_timeout", longest))
    except (KeyError, ValueError):
        detail = "a delivery takes the parameters wait (true or false) and wait_timeout (seconds), each once"
        raise Problem(422, "invalid", detail) from None
    if not 0 <= seconds <= longest:
        raise Problem(422, "invalid", f"wait_timeout: 0 to {longest:g} seconds here (the setting max_wait)")
    return seconds if wait else None


async def _send(send: Send, accepted: facade.Accepted, where: str) -> None:
    body = json.dumps({"run_id": str(accepted.run_id), "repeated": accepted.repeated}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"location", where.encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})
