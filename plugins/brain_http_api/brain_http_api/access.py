"""Access: what the bearer of a token may do, and the dependencies by which routes ask for it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple, get_args

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from brain_http_api.api import api_of
from brain_http_api.problems import Problem, unauthenticated

Scope = Literal["read", "run", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""From the least to the most; each holds those before it."""

_SCHEME = HTTPBearer(auto_error=False, description="A token: `brain token create`, or THE_BRAIN_API_TOKEN.")


class Access(NamedTuple):
    """What one token allows. `patterns` are of names of workflows (`*` any text, `?` one character); none means all.

    A workflow that they leave out does not exist for the bearer.
    """

    name: str
    scope: Scope
    patterns: tuple[str, ...] = ()

    def allows(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def sees(self, workflow: str) -> bool:
        return not self.patterns or any(_compiled(pattern).fullmatch(workflow) for pattern in self.patterns)


def bearer_of(request: Request) -> str:
    """Return the token that a request carries; a Problem when it carries none, or several, or no token at all."""
    given = request.headers.getlist("authorization")
    if not given:
        raise unauthenticated("this needs a token; send: Authorization: Bearer TOKEN")
    kind, _, token = given[0].partition(" ")
    token = token.strip(" ")
    if len(given) > 1 or kind.lower() != "bearer" or not token:
        raise unauthenticated("the credentials are malformed; send once: Authorization: Bearer TOKEN")
    return token


def needs(scope: Scope) -> object:
    """Return a dependency: the Access of whoever asks, who has to have this right."""

    async def access(request: Request, _: Annotated[object, Depends(_SCHEME)]) -> Access:
        found = await api_of(request).tokens.access(bearer_of(request))
        if found is None:
            raise unauthenticated("the token is not valid, or no longer")
        if not found.allows(scope):
            raise Problem(
                403, "forbidden", f"this needs a token with the right '{scope}'; this one has '{found.scope}'"
            )
        return found

    return Depends(access)


Reader = Annotated[Access, needs("read")]
Starter = Annotated[Access, needs("run")]
Admin = Annotated[Access, needs("admin")]


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(one, re.escape(one)) for one in pattern), re.DOTALL)
