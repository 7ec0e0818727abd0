"""Asks a model, judges what it answers, asks again: what an LLM step does once it knows whom to ask.

Imports the providers' libraries late, in a thread: they take seconds, and a runner has other runs in hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from brain_core import BrainError, StepContext, StepFailed
from brain_llm import faults
from brain_llm.endpoint import Endpoint, Protocol
from brain_llm.faults import Fault
from brain_llm.keys import LiveMask, Mask, mask_of
from brain_llm.pricing import cost_of
from brain_llm.records import Row
from brain_llm.schema import BadAnswer, NotJudged, Shape

if TYPE_CHECKING:
    from brain_llm.call import Hearing, Reply, Turn
    from brain_llm.clients import Connection

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first repetition; each further one waits twice as long."""
SHORTEST_WAIT, LONGEST_SHORTEST = 0.05, 10.0
"""The least that is waited where a server asks for less; it doubles, so that nobody asks in a spin."""
CLOSING = 5.0
"""Seconds for writing how a call has ended when the step is cancelled."""
MAX_KEPT = 65_536
"""Characters of a bad answer that are kept beside the failed step."""
LISTING = 10.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a step wants to know, and how long it may take. `limit_is_ours`: the engine does not watch the time."""

    prompt: str
    system: str | None
    shape: Shape | None
    limit: float
    limit_is_ours: bool
    stall: float
    retries: int
    output_retries: int
    store: bool


async def ask(ctx: StepContext, question: Question, endpoint: Endpoint) -> Any:
    """Return the answer: text, or the value that `output=` asks for. StepFailed says what went wrong."""
    asking = _Asking(ctx, question, endpoint)
    try:
        async with asyncio.timeout(question.limit if question.limit_is_ours else None) as guard:
            return await asking.answer()
    except TimeoutError:
        if not guard.expired():
            raise
        raise StepFailed(
            f"the time limit of {question.limit:g} s was reached; set timeout= in the step, or timeout in [plugins.llm]"
        ) from None
    finally:
        asking.note()


async def loaded(endpoint: Endpoint) -> None:
    """Load what calls need, in a thread: meanwhile the event loop goes on, if slowly."""
    protocol, secure = needed = endpoint.protocol, endpoint.url.startswith("https:")
    if needed in _loaded:
        return

    def load() -> None:
        try:
            from brain_llm import call, catalog  # noqa: F401
            from brain_llm.clients import load_libraries

            load_libraries(protocol, secure=secure)
        except ImportError as error:
            extra = f'"brain-llm[{protocol}]"' if protocol == "anthropic" else "--force-reinstall brain-llm"
            raise StepFailed(
                f"a library for models cannot be imported ({faults.one_line(str(error))}); pip install {extra}"
            ) from None

    await asyncio.to_thread(load)
    _loaded.add(needed)


_loaded: set[tuple[Protocol, bool]] = set()


@dataclass
class _Totals:
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    counted: int = 0
    """How many of the calls had their tokens counted by the server."""


@dataclass
class _Asking:
    """One attempt of a step: its conversation with the model, call by call."""

    ctx: StepContext
    question: Question
    endpoint: Endpoint
    began: float = field(default_factory=monotonic)
    totals: _Totals = field(default_factory=_Totals)
    hearing: Hearing | None = None
    """What the last request of the call at hand has heard."""

    def __post_init__(self) -> None:
        self.mask = mask_of(self.endpoint.secret)

    def note(self) -> None:
        """Say beside the step's output who was asked, and what it came to."""
        facts: dict[str, Any] = {
            "model": self.endpoint.model,
            "provider": self.endpoint.provider,
            "calls": self.totals.calls,
        }
        if self.totals.counted and self.totals.counted == self.totals.calls:
            facts |= {"input_tokens": self.totals.input_tokens, "output_tokens": self.totals.output_tokens}
        self.ctx.details["llm"] = facts

    async def answer(self) -> Any:
        await loaded(self.endpoint)
        from brain_llm.call import Turn
        from brain_llm.clients import connection_to

        question = self.question
        turns = [Turn(question.prompt)]
        with connection_to(self.endpoint) as connection:
            while True:
                text, value, problem = await self._one_call(connection, turns)
                if problem is None:
                    return value
                if self.totals.calls > question.output_retries:
                    self._keep(text)
                    times = f" {self.totals.calls} times" if self.totals.calls > 1 else ""
                    raise StepFailed(
                        f"the model answered{times} what output= does not allow: {problem}; say in the prompt what is "
                        "wanted, set output_retries= higher, or set model= to a better one"
                    )
                self.ctx.live(f"\n[does not fit output=: {problem}; asking again]\n")
                turns += [Turn(text or "(nothing)", by_model=True), Turn(_again(problem))]

    async def _one_call(self, connection: Connection, turns: Sequence[Turn]) -> tuple[str, Any, str | None]:
        """Make one call, with its row: return the text, the value in it, and why it does not fit, if it does not."""
        self.totals.calls += 1
        row = Row(self.ctx.query, store=self.question.store)
        self.hearing = None
        try:
            await row.open(
                self.endpoint,
                run=self.ctx.run_id,
                step=self.ctx.step,
                attempt=self.ctx.attempt,
                ordinal=self.totals.calls,
                system=self.question.system,
                prompt=turns[-1].text,
            )
        except asyncio.CancelledError:
            # It may have been written all the same; nothing went out.
            await _shortly(self._close_unanswered(row, self._why_ended()))
            raise
        try:
            reply = await self._reply(connection, turns, row)
        except Fault as fault:
            await self._close_unanswered(row, str(fault))
            raise
        except asyncio.CancelledError:
            await _shortly(self._close_unanswered(row, self._why_ended()))
            raise
        except BaseException as error:
            await _shortly(self._close_unanswered(row, f"{type(error).__name__} in brain-llm"))
            raise
        return await self._judged(connection, reply, row)

    async def _close_unanswered(self, row: Row, error: str) -> None:
        """Close the row of a call that has no whole answer, with what had come of it."""
        heard = self.hearing
        text = None if heard is None else self.mask.ended(heard.text) or None
        first = None if heard is None else heard.first_token
        await self._closed(row.close("failed", error=error, answer=text, first_token=first))

    async def _closed(self, closing: Awaitable[None]) -> None:
        """Write how a call has ended. Where that cannot be written the row stays open, and the answer is not lost."""
        try:
            await closing
        except BrainError as error:
            self.ctx.log(f"\nthe end of a call could not be written: {error}\n")

    def _why_ended(self) -> str:
        over = monotonic() - self.began >= self.question.limit * 0.98 - 0.01
        return f"the time limit of {self.question.limit:g} s was reached" if over else "the step was cancelled"

    async def _judged(self, connection: Connection, reply: Reply, row: Row) -> tuple[str, Any, str | None]:
        """Close the row of a call that was answered: by what is wrong with the answer, or as a success."""
        shape, problem, value = self.question.shape, None, None
        text = self.mask.ended(reply.text)
        error = nothing_in(reply, self.endpoint, self.mask)
        if error is None and shape is not None:
            try:
                value = shape.read(text, loose=self.endpoint.model in connection.prompted, clean=self.mask.value)
            except NotJudged as failed:
                why = faults.one_line(self.mask.error(str(failed)))
                error = f"the check of the answer has itself failed: {why}; correct what output= is"
            except BadAnswer as bad:
                problem = self.mask.error(str(bad))
        elif error is None:
            value = text.strip()
        self._count(reply)
        wrong = error or (None if problem is None else f"the answer does not fit output=: {problem}")
        close = partial(
            row.close,
            "failed" if wrong else "success",
            error=wrong,
            answer=text,
            model=self.mask.error(reply.model)[:300],
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cost=None if reply.usage is None else cost_of(self.endpoint, reply.model, reply.usage),
            finish=self.mask.error(reply.finish or "")[:100] or None,
            first_token=reply.first_token,
        )
        try:
            await self._closed(close())
        except asyncio.CancelledError:
            await _shortly(self._closed(close()))
            raise
        if error is not None:
            self._keep(text)
            raise StepFailed(error)
        return text, value, problem

    def _count(self, reply: Reply) -> None:
        if reply.input_tokens is None or reply.output_tokens is None:
            return
        self.totals.counted += 1
        self.totals.input_tokens += reply.input_tokens
        self.totals.output_tokens += reply.output_tokens

    def _keep(self, text: str) -> None:
        """Keep the text of an answer that fails the step, unless its texts are not to be kept."""
        if self.question.store and text:
            self.ctx.details["answer"] = text if len(text) <= MAX_KEPT else text[:MAX_KEPT] + "…"

    async def _reply(self, connection: Connection, turns: Sequence[Turn], row: Row) -> Reply:
        """Send the request until it is answered, as often as it may be; Fault with the key taken out."""
        left, waits = self.question.retries, 0
        while True:
            row.attempts += 1
            try:
                return await self._once(connection, turns)
            except Fault as fault:
                fault = await self._explained(fault, connection)
                text = self.mask.error(str(fault))
                if self._told_in_words(fault, connection):
                    row.failed_attempt(text, 0.0)
                    continue
                if fault.wait is not None:
                    pause = max(fault.wait, min(SHORTEST_WAIT * 2**waits, LONGEST_SHORTEST))
                    waits += 1
                elif fault.transient and left > 0:
                    pause = min(FIRST_PAUSE * 2 ** (self.question.retries - left), LONGEST_PAUSE)
                    left -= 1
                else:
                    row.failed_attempt(text, None)
                    raise Fault(text + fault.remedy + _times(row.attempts)) from None
                rest = self.began + self.question.limit - monotonic()
                if pause >= rest:
                    row.failed_attempt(text, None)
                    raise Fault(
                        f"{text}; the next attempt is due in {pause:g} s and the time limit of "
                        f"{self.question.limit:g} s leaves {max(rest, 0):.3g} s: set timeout= higher"
                        + _times(row.attempts)
                    ) from None
                row.failed_attempt(text, pause)
                self.ctx.live(f"\n[{text}; asking again in {pause:g} s]\n")
                await asyncio.sleep(pause)

    async def _once(self, connection: Connection, turns: Sequence[Turn]) -> Reply:
        from brain_llm.call import Hearing, call
        from brain_llm.clients import model_of, takes_schema

        shape, system = self.question.shape, self.question.system
        if shape is not None and not takes_schema(model_of(self.endpoint, connection), self.endpoint, connection):
            connection.prompted.add(self.endpoint.model)
            system = f"{system}\n\n{_in_words(shape)}" if system else _in_words(shape)
            shape = None
        live = LiveMask(self.mask)
        self.hearing = Hearing(lambda text: self.ctx.live(live.feed(text)))
        try:
            return await call(
                self.endpoint,
                connection,
                turns,
                system,
                shape=shape,
                stall=self.question.stall,
                hearing=self.hearing,
            )
        finally:
            self.ctx.live(live.rest())

    def _told_in_words(self, fault: Fault, connection: Connection) -> bool:
        """Whether the fault is that the server takes no schema, and the model has not been told it in words yet."""
        if fault.kind != "format" or self.question.shape is None or self.endpoint.model in connection.prompted:
            return False
        connection.prompted.add(self.endpoint.model)
        return True

    async def _explained(self, fault: Fault, connection: Connection) -> Fault:
        """Return the fault, with the nearest name where the server does not have the model."""
        if fault.kind not in ("model", "missing"):
            return fault
        from brain_llm.catalog import models_at

        seconds = min(LISTING, max(self.began + self.question.limit - monotonic(), 0.1))
        try:
            there = await models_at(self.endpoint, connection, seconds=seconds)
        except Fault:
            return fault
        return fault if self.endpoint.model in there or not there else faults.unknown_model(self.endpoint, there)


def nothing_in(reply: Reply, endpoint: Endpoint, mask: Mask) -> str | None:
    """Return why an answer is none, None when it is one: it was refused, cut off, or is empty."""
    if reply.refusal is not None:
        said = faults.one_line(mask.error(reply.refusal), 200).rstrip(".")
        return f"model '{endpoint.model}' refuses to answer: {said}; change the prompt, or set model= to another"
    if reply.finish == "content_filter":
        return (
            f"the filter of {endpoint.provider} withheld the answer of model '{endpoint.model}'; change the prompt, or "
            "set model= to another"
        )
    empty = not reply.text.strip()
    if reply.finish == "length":
        if empty and reply.reasoning:
            return (
                f"model '{endpoint.model}' spent all its tokens on reasoning and answered nothing; "
                f"set max_tokens= higher{_limit_of(endpoint)}, or turn its reasoning off"
            )
        return (
            f"the answer was cut off after {_tokens(reply)}; set max_tokens= higher{_limit_of(endpoint)}, or ask for a "
            "shorter answer"
        )
    if empty and reply.reasoning:
        return (
            f"model '{endpoint.model}' reasoned and answered nothing; say in the prompt what the answer is to be, or "
            "set model= to another"
        )
    if empty:
        stopped = (
            f" (it stopped with '{faults.said(endpoint, reply.finish, 60)}')"
            if reply.finish not in (None, "stop")
            else ""
        )
        return f"model '{endpoint.model}' answered nothing{stopped}; change the prompt, or set model= to another"
    return None


def _limit_of(endpoint: Endpoint) -> str:
    return " than the server's own limit" if endpoint.max_tokens is None else f" than {endpoint.max_tokens:,}"


def _tokens(reply: Reply) -> str:
    return f"{len(reply.text):,} characters" if reply.output_tokens is None else f"{reply.output_tokens:,} tokens"


def _times(attempts: int) -> str:
    return f" (tried {attempts} times)" if attempts > 1 else ""


def _in_words(shape: Shape) -> str:
    schema = json.dumps(shape.schema, ensure_ascii=False, separators=(",", ":"))
    return f"Answer with one JSON object that fits this JSON schema, and with nothing else:\n{schema}"


def _again(problem: str) -> str:
    return f"That answer cannot be used: {problem}\nAnswer again, with the corrected JSON object and nothing else."


async def _shortly(closing: Any) -> None:
    """Write how a call has ended though the step is being ended; a database that is away does not hold that up."""
    # Where that fails the row stays open, which says that nobody knows.
    with suppress(Exception):
        await asyncio.wait_for(closing, CLOSING)
