"""The API keys of a user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import ApiKey
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, page_of
from whago.kit.db import reading

NEWEST_FIRST = Order((ApiKey.created_at, ApiKey.id), (as_moment, as_id), descending=True)


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """``prefix`` is how the owner recognises a key; the key itself was shown once."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None


def list_api_keys(user_id: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ApiKeyView]:
    """The keys that hold, newest first."""
    query = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.created_at, one.id)
        )


def _view(row: Any) -> ApiKeyView:
    one = row.ApiKey
    return ApiKeyView(one.id, one.name, one.prefix, tuple(one.scopes), one.created_at, one.last_used_at)
