"""Everybody's chips, for administrators."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from whago.domain.actions.assignments import force_proxy
from whago.domain.models import ChipStatus
from whago.domain.queries.chips import ChipView, all_chips, any_chip
from whago.domain.queries.paging import Page
from whago.web.api.chips import ChipAnswer
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Search
from whago.web.api.providers import ADMIN, CHANGED
from whago.web.deps import Admin, Looker, Month, Now
from whago.web.errors import problems

router = APIRouter(prefix="/admin/chips", tags=["admin: chips"])


class OwnerAnswer(Answer):
    id: UUID
    name: str
    email: str


class AdminChipAnswer(ChipAnswer):
    owner: OwnerAnswer


class AssignmentBody(Body):
    """The proxy that the chip is to use."""

    proxy_id: UUID


@router.get("", response_model=ListAnswer[AdminChipAnswer], responses=problems(*ADMIN))
def get_all_chips(
    _admin: Looker,
    month: Month,
    search: Search = None,
    status: ChipStatus | None = None,
    proxy_id: Annotated[UUID | None, Query()] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Page[ChipView]:
    """Newest first; `search` looks into alias, phone number, and the owner's name and e-mail."""
    return all_chips(month=month, search=search, status=status, proxy_id=proxy_id, limit=limit, cursor=cursor)


@router.get("/{chip_id}", response_model=AdminChipAnswer, responses=problems(*ADMIN, "not_found"))
def get_any_chip(chip_id: UUID, _admin: Looker, month: Month) -> ChipView:
    """One chip."""
    return any_chip(chip_id, month=month)


@router.post(
    "/{chip_id}/assignment",
    response_model=AdminChipAnswer,
    responses=problems(*CHANGED, "not_found", "proxy_full", "no_healthy_proxy"),
)
def force_assignment(chip_id: UUID, body: AssignmentBody, admin: Admin, now: Now, month: Month) -> ChipView:
    """Puts a chip on this proxy, whatever its health; the chip reconnects from a new exit IP."""
    force_proxy(admin.id, chip_id, body.proxy_id, now=now)
    return any_chip(chip_id, month=month)
