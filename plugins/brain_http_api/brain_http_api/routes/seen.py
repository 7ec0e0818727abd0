"""Seen: runs and triggers as far as they exist for a bearer. What its patterns leave out is told of in no way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from brain_core import facade
from brain_http_api.problems import Problem

if TYPE_CHECKING:
    from brain_core import Run
    from brain_core.facade import Described, Listed
    from brain_http_api.access import Access
    from brain_http_api.api import Api


Found = TypeVar("Found", bound="Described")


def uuid_of(run_id: str) -> UUID:
    """Return the id of a run; a Problem for a text that is none. Beginnings of ids are for people at a terminal."""
    try:
        found = UUID(run_id)
    except ValueError:
        raise Problem(
            404, "not-found", f"there is no run {ascii(run_id[:80])[1:-1]}; ids are whole ones here"
        ) from None
    if str(found) != run_id.lower():
        raise no_run(run_id)
    return found


async def run_of(api: Api, access: Access, run_id: str, *, steps: bool = False) -> Run:
    """Return a run, without its steps unless they are asked for; a Problem when it is not there for the bearer."""
    try:
        run = await api.brain.run(uuid_of(run_id), steps=steps)
    except facade.RunNotFound:
        raise no_run(run_id) from None
    if not access.sees(run.workflow):
        raise no_run(run_id)
    return run


async def trigger_of(api: Api, access: Access, name: str, *, unregistered: bool = False) -> Described:
    """Return a trigger; a Problem when it is not there for the bearer. `unregistered` as in `brain.triggers.get`."""
    return await _seen(access, name, partial(api.brain.triggers.get, name, unregistered=unregistered))


async def listed_of(api: Api, access: Access, name: str) -> Listed:
    """Return a trigger with its last run; a Problem when it is not there for the bearer."""
    return await _seen(access, name, partial(api.brain.triggers.listed, name))


async def _seen(access: Access, name: str, ask: Callable[[], Awaitable[Found]]) -> Found:
    if "\0" in name:
        raise no_trigger(name)  # the database does not even take it
    try:
        found = await ask()
    except facade.TriggerNotFound as error:
        if access.patterns:
            # The error names the nearest one that there is.
            raise no_trigger(name) from None
        said = str(error).replace("`brain list` lists what is", "GET /triggers lists what is")
        raise Problem(404, "not-found", said) from None
    if not access.sees(found.row.workflow_name):
        raise no_trigger(name)
    return found


def no_run(run_id: str) -> Problem:
    """Return the answer to the id of a run that is not there."""
    return Problem(404, "not-found", f"there is no run {ascii(run_id[:80])[1:-1]}")


def no_trigger(name: str) -> Problem:
    """Return the answer to a name that nothing is registered under."""
    return Problem(404, "not-found", f"nothing is registered as '{ascii(name[:80])[1:-1]}'")
