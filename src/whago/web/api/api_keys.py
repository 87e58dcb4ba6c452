"""API keys of the caller."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from whago.domain.actions.api_keys import create_api_key, revoke_api_key
from whago.domain.queries.api_keys import ApiKeyView, list_api_keys
from whago.domain.queries.paging import Page
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Moment, Name
from whago.web.deps import Now, User
from whago.web.errors import problems

SIGNED_IN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")

router = APIRouter(prefix="/api-keys", tags=["api keys"])


class ApiKeyBody(Body):
    """``name`` says where the key is used."""

    name: Name


class ApiKeyAnswer(Answer):
    id: UUID
    name: str
    prefix: str
    created_at: Moment
    last_used_at: Moment | None


class CreatedApiKeyAnswer(ApiKeyAnswer):
    """``key`` is shown this once."""

    key: str


@router.get("", response_model=ListAnswer[ApiKeyAnswer], responses=problems(*SIGNED_IN))
def list_keys(user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ApiKeyView]:
    """The caller's keys, newest first."""
    return list_api_keys(user.id, limit=limit, cursor=cursor)


@router.post("", status_code=201, response_model=CreatedApiKeyAnswer, responses=problems(*SIGNED_IN, "csrf"))
def create_key(body: ApiKeyBody, user: User, now: Now) -> CreatedApiKeyAnswer:
    """A key for `X-API-Key`, with everything that its owner may do."""
    made = create_api_key(user.id, body.name, now=now)
    return CreatedApiKeyAnswer(
        id=made.id, name=body.name, prefix=made.prefix, created_at=now, last_used_at=None, key=made.key
    )


@router.delete("/{key_id}", status_code=204, responses=problems(*SIGNED_IN, "csrf", "not_found"))
def revoke_key(key_id: UUID, user: User, now: Now) -> None:
    """The key stops working at once."""
    revoke_api_key(user.id, key_id, now=now)
