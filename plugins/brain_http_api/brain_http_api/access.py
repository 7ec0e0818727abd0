"""Who may do what: the dependencies by which routes ask for a token and its right."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from brain_http_api.api import api_of
from brain_http_api.parameters import check_parameters
from brain_http_api.problems import Problem, unauthenticated
from brain_http_api.tokens import SCOPES, Access, Scope

__all__ = ["SCOPES", "Access", "Admin", "Reader", "Scope", "Starter", "bearer_of", "needs"]

_SCHEME = HTTPBearer(auto_error=False, description="A token: `brain token create`, or THE_BRAIN_API_TOKEN.")


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
        check_parameters(request)
        return found

    return Depends(access)


Reader = Annotated[Access, needs("read")]
Starter = Annotated[Access, needs("run")]
Admin = Annotated[Access, needs("admin")]
