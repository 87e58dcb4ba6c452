"""Plans, for administrators. A changed limit holds at every gateway at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from whago.domain.actions.plans import PlanFields, create_plan, delete_plan, update_plan
from whago.domain.queries.paging import Page
from whago.domain.queries.plans import PlanView, get_plan, list_plans
from whago.errors import InvalidInput
from whago.web.api.fields import PAGE, Body, Cursor, Limit, ListAnswer, Moment, Name
from whago.web.api.plans import PlanAnswer
from whago.web.api.providers import ADMIN, CHANGED
from whago.web.deps import Admin, CostReader, Now, Zone
from whago.web.errors import problems

SLUG_MAX_CHARS: Final = 60
CHIPS_MAX: Final = 1_000_000
LIMIT_MAX_GB: Final = 9_000_000_000  # its bytes still fit into 64 bits

router = APIRouter(prefix="/admin/plans", tags=["admin: plans"])

Slug = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=SLUG_MAX_CHARS, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$"
    ),
]
Price = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
GbLimit = Annotated[Decimal, Field(ge=0, le=LIMIT_MAX_GB, max_digits=18, decimal_places=9)]


class PlanBody(Body):
    """What is left out keeps its value. ``proxy_gb_limit`` in GB of 10⁹ bytes a month; null is unlimited."""

    name: Name | None = None
    slug: Slug | None = None
    price: Price | None = None
    max_chips: Annotated[int, Field(ge=0, le=CHIPS_MAX)] | None = None
    proxy_gb_limit: GbLimit | None = None
    on_limit: Literal["block", "block_new", "bill"] | None = None
    is_default: bool | None = None


class NewPlanBody(PlanBody):
    """``proxy_gb_limit`` must be said, be it null: an unlimited plan is never made by forgetting."""

    name: Name
    slug: Slug
    price: Price
    max_chips: Annotated[int, Field(ge=0, le=CHIPS_MAX)]
    proxy_gb_limit: GbLimit | None


class AdminPlanAnswer(PlanAnswer):
    """``users``: everybody on it, those without a plan counted with the default one."""

    users: int
    created_at: Moment
    updated_at: Moment


@router.get("", response_model=ListAnswer[AdminPlanAnswer], responses=problems(*ADMIN))
def get_admin_plans(_admin: CostReader, limit: Limit = PAGE, cursor: Cursor = None) -> Page[PlanView]:
    """The cheapest first."""
    return list_plans(limit=limit, cursor=cursor)


@router.post("", status_code=201, response_model=AdminPlanAnswer, responses=problems(*CHANGED, "slug_taken"))
def post_plan(body: NewPlanBody, admin: Admin, now: Now) -> PlanView:
    """Makes a plan."""
    wanted = PlanFields(
        name=body.name,
        slug=body.slug,
        price=body.price,
        max_chips=body.max_chips,
        proxy_gb_limit=body.proxy_gb_limit,
        on_limit=body.on_limit or "block",
        is_default=bool(body.is_default),
    )
    return get_plan(create_plan(admin.id, wanted, now=now))


@router.get("/{plan_id}", response_model=AdminPlanAnswer, responses=problems(*ADMIN, "not_found"))
def get_one_plan(plan_id: UUID, _admin: CostReader) -> PlanView:
    """One plan."""
    return get_plan(plan_id)


@router.put(
    "/{plan_id}",
    response_model=AdminPlanAnswer,
    responses=problems(*CHANGED, "slug_taken", "not_found"),
)
def put_plan(plan_id: UUID, body: PlanBody, admin: Admin, now: Now, tz: Zone) -> PlanView:
    """Changes what is given; raising the limit frees blocked customers at once."""
    update_plan(admin.id, plan_id, _merged(body, get_plan(plan_id)), now=now, tz=tz)
    return get_plan(plan_id)


@router.patch("/{plan_id}", response_model=AdminPlanAnswer, responses=problems(*CHANGED, "slug_taken", "not_found"))
def patch_plan(plan_id: UUID, body: PlanBody, admin: Admin, now: Now, tz: Zone) -> PlanView:
    """The same as PUT."""
    return put_plan(plan_id, body, admin, now, tz)


@router.delete(
    "/{plan_id}", status_code=204, responses=problems(*CHANGED, "not_found", "plan_in_use", "plan_is_default")
)
def remove_plan(plan_id: UUID, admin: Admin, now: Now) -> None:
    """Removes a plan that nobody is on."""
    delete_plan(admin.id, plan_id, now=now)


def _merged(body: PlanBody, current: PlanView) -> PlanFields:
    if not body.model_fields_set:
        raise InvalidInput(body="Nothing to change was given.")
    given = {
        name: getattr(body, name)
        for name in body.model_fields_set
        if getattr(body, name) is not None or name == "proxy_gb_limit"
    }
    names = ("name", "slug", "price", "max_chips", "proxy_gb_limit", "on_limit", "is_default")
    return PlanFields(**{name: given.get(name, getattr(current, name)) for name in names})
