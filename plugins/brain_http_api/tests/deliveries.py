"""Deliveries as senders make them, and webhooks to send them to."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
from brain_http_api.webhook.secrets import purpose_of, secret_of

from .conftest import Served

BODY = {"type": "order.paid", "repository": {"full_name": "ann/brain"}, "number": 7, "nothing": None}
RAW = json.dumps(BODY).encode()
JSON = "application/json"


def standard(secret: str, body: bytes, *, delivery: str = "", at: float | None = None) -> dict[str, str]:
    """Return the headers of a delivery as Standard Webhooks has them."""
    msg, stamp = delivery or f"msg_{uuid4().hex}", str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, b".".join((msg.encode(), stamp.encode(), body)), "sha256")
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": msg, "webhook-timestamp": stamp, "webhook-signature": signature, "content-type": JSON}


def github(secret: str, body: bytes, *, delivery: str = "", event: str = "push") -> dict[str, str]:
    """Return the headers of a delivery as GitHub has them."""
    return {
        "x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}",
        "x-github-event": event,
        "x-github-delivery": delivery or str(uuid4()),
        "x-github-hook-id": "292430182",
        "content-type": JSON,
        "user-agent": "GitHub-Hookshot/044aadd",
    }


def bearer(secret: str, body: bytes, *, delivery: str = "") -> dict[str, str]:
    """Return the headers of a delivery that shows the secret."""
    key = {"idempotency-key": delivery} if delivery else {}
    return {"authorization": f"Bearer {secret}", "content-type": JSON, **key}


SIGN = {"standard": standard, "github": github, "bearer": bearer}


@dataclass
class Hook:
    """A webhook of a server, and whoever delivers to it."""

    served: Served
    name: str
    id: UUID
    scheme: str
    client: httpx2.AsyncClient

    def secret(self, generation: int = 1) -> str:
        return secret_of(self.scheme, self.served.brain.derive_key(purpose_of(self.id, self.scheme, generation)))

    def headers(self, body: bytes = RAW, *, generation: int = 1, **more: Any) -> dict[str, str]:
        """Return the headers of a signed delivery."""
        return SIGN[self.scheme](self.secret(generation), body, **more)

    async def post(
        self, body: bytes = RAW, headers: dict[str, str] | list[tuple[str, str]] | None = None, **query: Any
    ) -> httpx2.Response:
        """Deliver a body, signed unless headers are given."""
        given = self.headers(body) if headers is None else headers
        pairs = given.items() if isinstance(given, dict) else given
        raw = [(name.encode(), value.encode()) for name, value in pairs]
        return await self.client.post(f"/hooks/{self.name}", content=body, headers=raw, params=query or None)


async def sent(address: tuple[str, int], requests: Iterable[bytes]) -> list[tuple[int, bytes]]:
    """Send requests one after the other on one connection; return the status and body of each answer.

    A client that costs next to nothing, for very many.
    """
    reader, writer = await asyncio.open_connection(*address)
    answers = []
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: ([0-9]+)", head)
        assert size is not None, head
        answers.append((int(head[9:12]), await reader.readexactly(int(size[1]))))
    writer.close()
    await writer.wait_closed()
    return answers


def request_of(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a request as its bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def hook(served: Served, scheme: str = "standard", name: str = "") -> Hook:
    """Register a webhook, and return it with a client that has no token."""
    name = name or scheme
    config = {"webhook": True, "scheme": scheme}
    row = await served.register(name, type="webhook", config=config, overlap="allow", next_due_at=None)
    return Hook(served, name, row.id, scheme, await served.as_bearer(None))


def seen(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all that a sender sees, but for the date."""
    return answer.status_code, [one for one in answer.headers.multi_items() if one[0] != "date"], answer.content
