"""Plans, for everybody to see."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from whago.domain.queries.paging import Page
from whago.domain.queries.plans import PlanView, list_plans
from whago.web.api.fields import PAGE, Answer, Cursor, Limit, ListAnswer, Money
from whago.web.errors import problems

router = APIRouter(prefix="/plans", tags=["plans"])


class PlanAnswer(Answer):
    """``proxy_gb_limit`` in GB of 10⁹ bytes a month; null is unlimited."""

    id: UUID
    name: str
    slug: str
    price: Money
    currency: str
    max_chips: int
    proxy_gb_limit: Money | None
    on_limit: str
    is_default: bool


@router.get("", response_model=ListAnswer[PlanAnswer], responses=problems("invalid_input", "unavailable"))
def get_plans(limit: Limit = PAGE, cursor: Cursor = None) -> Page[PlanView]:
    """All plans, the cheapest first. Open to everybody: it is the price list."""
    return list_plans(limit=limit, cursor=cursor)
