"""`brain llm check`: asks every configured model for one word. Imports the providers' libraries."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import NamedTuple

from brain_core import StepFailed
from brain_llm import faults
from brain_llm.asking import loaded
from brain_llm.endpoint import Endpoint, Wanted, endpoint_of
from brain_llm.faults import Fault
from brain_llm.keys import mask_of
from brain_llm.settings import LLMSettings

AT_ONCE = 8
TOKENS = 16
LISTING = 10.0


class Checked(NamedTuple):
    """What came of one model: `problem` is None when it answered."""

    name: str
    model: str | None
    server: str | None
    problem: str | None
    seconds: float | None


async def check_all(settings: LLMSettings, *, seconds: float) -> list[Checked]:
    """Ask the default model and each named one, several at once, and return what came of them in their order."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, called: str | None) -> Checked:
        async with slots:
            return await _check(name, called, settings, seconds)

    names: list[tuple[str, str | None]] = [(name, name) for name in sorted(settings.models)]
    if settings.model is not None or settings.provider_url is not None or not names:
        names.insert(0, ("(default)", None))
    return await asyncio.gather(*(one(name, called) for name, called in names))


async def _check(name: str, called: str | None, settings: LLMSettings, seconds: float) -> Checked:
    try:
        endpoint = endpoint_of(Wanted("", called), settings)
    except StepFailed as problem:
        return Checked(name, called or settings.model, settings.provider_url, str(problem), None)
    try:
        await loaded(endpoint)
    except StepFailed as problem:
        return Checked(name, endpoint.model, endpoint.url, str(problem), None)
    began = monotonic()
    try:
        await asyncio.wait_for(_answers(endpoint, seconds), seconds)
    except TimeoutError:
        problem_text: str | None = f"{endpoint.provider} did not answer within {seconds:g} s; set --timeout higher"
    except StepFailed as problem:
        problem_text = mask_of(endpoint.secret).error(str(problem))
    else:
        problem_text = None
    return Checked(name, endpoint.model, endpoint.url, problem_text, monotonic() - began)


async def _answers(endpoint: Endpoint, seconds: float) -> None:
    """Return when the model has answered anything, even if it was cut off; Fault says what is wrong."""
    from brain_llm.call import Hearing, Turn, call
    from brain_llm.catalog import models_at
    from brain_llm.clients import connection_to

    endpoint = endpoint._replace(max_tokens=TOKENS)
    with connection_to(endpoint) as connection:
        try:
            await call(
                endpoint,
                connection,
                [Turn("Answer with the word ok.")],
                None,
                shape=None,
                stall=seconds,
                hearing=Hearing(),
            )
        except Fault as fault:
            if fault.kind not in ("model", "missing"):
                raise
            try:
                there = await models_at(endpoint, connection, seconds=LISTING)
            except Fault:
                raise fault from None
            if there and endpoint.model not in there:
                raise faults.unknown_model(endpoint, there) from None
            raise
        # Many a local server answers to any name with the model that it has: that is worth a word.
        try:
            there = await models_at(endpoint, connection, seconds=LISTING)
        except Fault:
            return
        if there and endpoint.own_url and not any(_same(endpoint.model, other) for other in there):
            raise faults.unknown_model(endpoint, there)


def _same(wanted: str, there: str) -> bool:
    return wanted in (there, there.removesuffix(":latest"))
