"""API keys of the caller."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from whago.domain.actions.api_keys import create_api_key, revoke_api_key
from whago.domain.queries.api_keys import ApiKeyView, list_api_keys
from whago.domain.queries.paging import Page
from whago.domain.queries.users import UserView
from whago.domain.rules.scopes import EVERY_SCOPE, Scope, allows
from whago.errors import WhagoError
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Moment, Name
from whago.web.deps import Now, User, key_scopes
from whago.web.errors import problems

SIGNED_IN: Final = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")

router = APIRouter(prefix="/api-keys", tags=["api keys"])


class ApiKeyBody(Body):
    """``name`` says where the key is used. Without ``scopes`` it may do whatever the caller may."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(EVERY_SCOPE))] | None = None


class ApiKeyAnswer(Answer):
    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: Moment
    last_used_at: Moment | None


class CreatedApiKeyAnswer(ApiKeyAnswer):
    """``key`` is shown this once."""

    key: str


@router.get("", response_model=ListAnswer[ApiKeyAnswer], responses=problems(*SIGNED_IN))
def list_keys(user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ApiKeyView]:
    """The caller's keys, newest first."""
    return list_api_keys(user.id, limit=limit, cursor=cursor)


@router.post(
    "", status_code=201, response_model=CreatedApiKeyAnswer, responses=problems(*SIGNED_IN, "csrf", "scope_missing")
)
def create_key(body: ApiKeyBody, request: Request, user: User, now: Now) -> CreatedApiKeyAnswer:
    """A key for `X-API-Key`. A key that makes a key cannot give it more than it has."""
    scopes = _granted(request, user, body.scopes)
    made = create_api_key(user.id, body.name, scopes=scopes, now=now)
    return CreatedApiKeyAnswer(
        id=made.id,
        name=body.name,
        prefix=made.prefix,
        scopes=[scope.value for scope in scopes],
        created_at=now,
        last_used_at=None,
        key=made.key,
    )


@router.delete("/{key_id}", status_code=204, responses=problems(*SIGNED_IN, "csrf", "not_found"))
def revoke_key(key_id: UUID, user: User, now: Now) -> None:
    """The key stops working at once."""
    revoke_api_key(user.id, key_id, now=now)


def _granted(request: Request, user: UserView, wanted: list[Scope] | None) -> list[Scope]:
    """Raises WhagoError("scope_missing") for more than the caller has."""
    held = key_scopes(request) if user.is_staff else key_scopes(request) - {Scope.ADMIN}
    if wanted is None:
        return [scope for scope in EVERY_SCOPE if scope in held]
    for scope in wanted:
        if not allows(held, scope):
            raise WhagoError("scope_missing", scope=scope.value)
    return [scope for scope in EVERY_SCOPE if scope in wanted]
