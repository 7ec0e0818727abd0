"""The row of a call: written before it goes out, closed when it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Literal
from uuid import uuid4

from brain_llm.endpoint import Endpoint

MAX_TEXT = 262_144
"""Characters of a prompt, a system text and an answer that are kept."""
MAX_TRIED = 20
"""How many attempts are kept by themselves: the first ones and the last one."""

Query = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


class Row:
    """One call in the table `brain_llm.calls`. Every statement of it can be repeated harmlessly."""

    def __init__(self, query: Query, *, store: bool) -> None:
        self._query = query
        self._store = store
        self._id = str(uuid4())
        self._began = monotonic()
        self.attempts = 0
        self.tried: list[dict[str, Any]] = []

    async def open(
        self, endpoint: Endpoint, *, run: str, step: str, attempt: int, ordinal: int, system: str | None, prompt: str
    ) -> None:
        """Write the row, before anything is sent."""
        await self._query(
            "llm_call_open",
            {
                "id": self._id,
                "run_id": run,
                "step": step,
                "attempt": attempt,
                "ordinal": ordinal,
                "model": endpoint.model[:300],
                "provider": endpoint.provider[:300],
                "system": self._kept(system),
                "prompt": self._kept(prompt),
            },
        )
        self._began = monotonic()

    def failed_attempt(self, fault: str, waited: float | None) -> None:
        """Note what was tried and did not succeed, and how long the next attempt waits."""
        entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "fault": fault, "waited": waited}
        if len(self.tried) < MAX_TRIED:
            self.tried.append(entry)
        else:
            self.tried[-1] = entry

    async def close(
        self,
        status: Literal["success", "failed"],
        *,
        error: str | None = None,
        answer: str | None = None,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: str | None = None,
        finish: str | None = None,
        first_token: float | None = None,
    ) -> None:
        """Write how the call has ended."""
        await self._query(
            "llm_call_close",
            {
                "id": self._id,
                "status": status,
                "error": None if error is None else error[:8192],
                "answer": self._kept(answer),
                "answered_by": model,
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "cost": cost,
                "finish_reason": finish,
                "latency_ms": round((monotonic() - self._began) * 1000, 1),
                "first_token_ms": None if first_token is None else round(first_token * 1000, 1),
                "attempts": self.attempts,
                "tried": self.tried,
            },
        )

    def _kept(self, text: str | None) -> str | None:
        if text is None or not self._store:
            return None
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT:,} more characters)"
