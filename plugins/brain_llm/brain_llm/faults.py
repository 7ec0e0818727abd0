"""What may go wrong between a step and a model's server, each as one line that says what to set. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from typing import Any

from brain_core import StepFailed
from brain_llm.endpoint import Endpoint
from brain_llm.keys import mask_of

MAX_WORDS = 300
"""Characters of the server's own words that an error repeats."""
LONGEST_WAIT = 10.0**9
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_CONTEXT = re.compile(
    r"context[_ ](?:length|window|size)|exceed\w* (?:the )?(?:available |maximum )?context|maximum context"
    r"|prompt is too long|too many tokens|input (?:is )?too long|exceed_context_size",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"response_format|json_schema|json schema|structured[ _]output|grammar|output_config|output_format", re.IGNORECASE
)
_NO_MODEL = re.compile(r"model[_ ]not[_ ]found|model\b.*\b(?:not found|does not exist|not exist|unknown|not loaded)")


class Fault(StepFailed):
    """A call has failed. `transient` ones may succeed when tried again; `wait`: seconds that the server asks for.

    `remedy` is what to do once it is not tried again; before that it would mislead.
    """

    def __init__(
        self, message: str, *, transient: bool = False, wait: float | None = None, kind: str = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.wait = wait
        self.kind = kind
        self.remedy = remedy


def said(endpoint: Endpoint, text: str, limit: int = MAX_WORDS) -> str:
    """Return what a server says on one line, without the key that it was sent: taken out first, cut afterwards."""
    return one_line(mask_of(endpoint.secret).error(text), limit)


def words_of(endpoint: Endpoint, body: str) -> str:
    """Return what a body says is wrong: the message of a JSON error, or its beginning, as one bounded line."""
    text = body
    try:
        found: Any = json.loads(body)
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
                if isinstance(found, dict) and "message" in found:
                    found = found["message"]
                break
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return said(endpoint, text).rstrip(".")


def one_line(text: str, limit: int = MAX_WORDS) -> str:
    """Return a text on one line, without what a terminal would obey, cut at a limit."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 8]).split())
    return line if len(line) <= limit else line[:limit] + "…"


def wait_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, as a number or as a date; None where it says nothing usable."""
    try:
        if (text := headers.get("retry-after-ms")) is not None:
            return _bounded(float(text) / 1000)
    except ValueError:
        pass
    text = (headers.get("retry-after") or "").strip()
    if not text or len(text) > 100:
        return None
    try:
        return _bounded(float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return _bounded(((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def _bounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT)


def looks_like_html(body: str, content_type: str = "") -> bool:
    return "html" in content_type.lower() or body.lstrip()[:15].lower().startswith(("<!doctype", "<html", "<head"))


def web_page(endpoint: Endpoint, body: str, status: int) -> Fault:
    begins = said(endpoint, body, 60)
    return Fault(
        f"{endpoint.url} answers with a web page ({status}: {begins}) where JSON belongs; set provider_url "
        "to the base URL of the API, which usually ends in /v1",
        kind="html",
    )


def refused(endpoint: Endpoint, status: int, headers: Mapping[str, str], body: str, now: datetime) -> Fault:
    """Return the fault for an answer with an error status."""
    page = looks_like_html(body, headers.get("content-type", ""))
    words = "" if page else words_of(endpoint, body)
    told = f": {words}" if words else ""
    if 300 <= status < 400:
        to = said(endpoint, headers.get("location", "another address"), 200)
        return Fault(f"{endpoint.url} sends its callers on to {to} ({status}); set provider_url to that server's API")
    if status == 401 or (status == 400 and re.search(r"api[ _]?key", words, re.IGNORECASE)):
        return Fault(_wrong_key(endpoint, status) + told, kind="key")
    if status == 402 or (status == 429 and re.search(r"insufficient_quota|exceeded your current quota", body)):
        return Fault(f"the account at {endpoint.provider} has nothing left ({status}){told}; see to its plan or limits")
    if status == 403:
        return Fault(
            f"{endpoint.provider} does not allow this ({status}){told}; set api_key= to a key with the right to use "
            f"model '{endpoint.model}'",
            kind="key",
        )
    if status in (400, 413, 422) and _CONTEXT.search(body):
        return Fault(
            f"the prompt is too long for model '{endpoint.model}' ({status}){told}; shorten the prompt, lower "
            "max_tokens=, or set model= to one with a larger context",
            kind="context",
        )
    if status in (400, 404, 422) and _NO_MODEL.search(body.lower()):
        return Fault(f"{endpoint.provider} has no model '{endpoint.model}' ({status}){told}; set model=", kind="model")
    if status in _TRANSIENT:
        if page and status not in (429, 502, 503, 504):
            return web_page(endpoint, body, status)
        what = "is asked too often" if status == 429 else "cannot answer now" if status >= 500 else "did not answer"
        return Fault(
            f"{endpoint.provider} {what} ({status}){told}",
            transient=True,
            wait=wait_of(headers, now) if status in (429, 503) else None,
            kind="busy" if status in (429, 503) else "server",
            remedy=f"; {'ask less often' if status == 429 else 'see to the server'}, or set retries= higher",
        )
    if page:
        return web_page(endpoint, body, status)
    if status in (400, 422, 501) and _FORMAT.search(body):
        return Fault(
            f"{endpoint.provider} refuses the schema of output= for model '{endpoint.model}' ({status}){told}; "
            "set model= to one that takes it, or leave output= out",
            kind="format",
        )
    if status in (404, 405):
        return Fault(
            f"{endpoint.url} knows no chat completions ({status}){told}; set provider_url to the base URL of the API, "
            "which usually ends in /v1",
            kind="missing",
        )
    return Fault(f"{endpoint.provider} refuses the call ({status}){told}; see to the step's arguments", kind="refused")


def _wrong_key(endpoint: Endpoint, status: int) -> str:
    if endpoint.key is None:
        return f"{endpoint.provider} wants a key ({status}) and none is set; set api_key='env:NAME'"
    where = endpoint.key_from.removeprefix("env:")
    what = f"the variable {where}" if endpoint.key_from.startswith("env:") else f"api_key in {where or 'the settings'}"
    return f"{endpoint.provider} refuses the key ({status}); correct {what}"


def unknown_model(endpoint: Endpoint, there: list[str]) -> Fault:
    """Return the fault for a model that a server does not list, with the nearest that it does."""
    # Names of any length may come; matching takes long over long ones.
    close = get_close_matches(endpoint.model, [name for name in there if len(name) <= MAX_WORDS], n=1, cutoff=0.4)
    guess = f"; did you mean '{said(endpoint, close[0], 100)}'?" if close else ""
    listed = ", ".join(said(endpoint, name, 100) for name in there[:8]) + (", …" if len(there) > 8 else "")
    return Fault(
        f"{endpoint.provider} has no model '{endpoint.model}'{guess} (it has: {listed or 'none'}); set model=",
        kind="model",
    )


def unreachable(endpoint: Endpoint, why: str) -> Fault:
    reason = said(endpoint, why, 120)
    what = "start it, or set provider_url to where it is" if endpoint.own_url else "see to this machine's network"
    return Fault(
        f"no server answers at {endpoint.url} ({reason}); {what}",
        transient=True,
        kind="unreachable",
    )


def dropped(endpoint: Endpoint, why: str) -> Fault:
    reason = said(endpoint, why, 120).rstrip(".")
    return Fault(
        f"{endpoint.provider} ended the connection before the answer was complete ({reason}); "
        "see to the server, or set retries= higher",
        transient=True,
        kind="dropped",
    )


def not_json(endpoint: Endpoint, body: str) -> Fault:
    if looks_like_html(body):
        return web_page(endpoint, body, 200)
    return _other(endpoint, "what is not JSON", body)


def other_json(endpoint: Endpoint, body: str, wanted: str) -> Fault:
    """Return the fault for JSON that is not what was asked for."""
    return _other(endpoint, f"JSON that is no {wanted}", body)


def _other(endpoint: Endpoint, what: str, body: str) -> Fault:
    begins = said(endpoint, body, 80)
    api = "an Anthropic-compatible API" if endpoint.protocol == "anthropic" else "an OpenAI-compatible API"
    return Fault(f"{endpoint.url} answers with {what} ({begins!r}); set provider_url to {api}", kind="json")


def stalled(endpoint: Endpoint, seconds: float, first: bool) -> Fault:
    what = "sent no token" if first else "sent no further token"
    return Fault(
        f"{endpoint.provider} {what} for {seconds:g} s; set stall= higher, or see why model '{endpoint.model}' is slow",
        transient=True,
        kind="stall",
    )


def too_large(endpoint: Endpoint, what: str, limit: int, unit: str) -> Fault:
    return Fault(
        f"{endpoint.provider} sends {what} of over {limit:,} {unit} and was cut off; set max_tokens= to bound the "
        "answer",
        kind="large",
    )


def in_stream(endpoint: Endpoint, status: int | None, body: str) -> Fault:
    """Return the fault for an error that a server reports in the middle of a stream."""
    if (status is not None and status not in _TRANSIENT) or _CONTEXT.search(body) or _FORMAT.search(body):
        return refused(endpoint, status if status and status not in _TRANSIENT else 400, {}, body, datetime.now(UTC))
    return Fault(
        f"{endpoint.provider} reports an error: {words_of(endpoint, body)}",
        transient=True,
        kind="server",
        remedy="; see to the server, or set retries= higher",
    )
