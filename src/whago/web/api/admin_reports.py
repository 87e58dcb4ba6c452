"""What administrators look up: costs of customers, warnings, the audit log, and how the parts of the product are."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query

from whago.domain.queries.audit import AuditView, audit_log
from whago.domain.queries.paging import Page
from whago.domain.queries.system import clock_states, clocks, gateways
from whago.domain.queries.usage import CustomerCost, costs_of_customers
from whago.errors import InvalidInput
from whago.web.api.fields import PAGE, Answer, Cursor, Limit, ListAnswer, Moment, Money, MonthDay, Search
from whago.web.api.providers import ADMIN
from whago.web.deps import CostReader, Looker, Month, Now
from whago.web.errors import problems

FIRST_YEAR: Final = 2020
LAST_YEAR: Final = 2099

router = APIRouter(prefix="/admin", tags=["admin: reports"])


class CustomerCostAnswer(Answer):
    """One customer's month; ``cost`` is exact, in BRL."""

    user_id: UUID
    name: str
    email: str
    plan: str
    bytes_used: int
    gb_used: float
    cost: Money
    limit_gb: Money | None
    percentage_used: float
    state: str


class CostsAnswer(ListAnswer[CustomerCostAnswer]):
    month: str


class AuditAnswer(Answer):
    """``actor_id`` null: the product itself, or the command line."""

    id: int
    at: Moment
    actor_id: UUID | None
    actor_email: str | None
    action: str
    target_kind: str
    target_id: str | None
    data: dict[str, Any]


class GatewayAnswer(Answer):
    id: UUID
    host: str
    pid: int
    port: int
    started_at: Moment
    last_seen_at: Moment
    stopped_at: Moment | None
    open_tunnels: int


class ClockAnswer(Answer):
    clock: str
    started_at: Moment
    ended_at: Moment | None
    counts: dict[str, Any]
    error: str | None
    last_success_at: Moment | None


class ClockStateAnswer(Answer):
    """``period_kind`` null: an interval of ``every_s`` seconds; otherwise a run for each day or month that has ended.

    ``missed``: whether runs that did not happen are skipped or caught up. ``is_late``: too long without a good run.
    """

    clock: str
    every_s: int | None
    period_kind: str | None
    missed: str | None
    last_started_at: Moment | None
    last_ended_at: Moment | None
    last_counts: dict[str, Any]
    last_error: str | None
    last_success_at: Moment | None
    last_period: MonthDay | None
    is_running: bool
    is_late: bool


class SystemAnswer(Answer):
    gateways: list[GatewayAnswer]
    clocks: list[ClockAnswer]


MonthText = Annotated[str | None, Query(max_length=7, description="Such as 2026-11; the running month when left out.")]


@router.get("/reports/costs", response_model=CostsAnswer, responses=problems(*ADMIN))
def get_costs(
    _admin: CostReader, running: Month, month: MonthText = None, limit: Limit = PAGE, cursor: Cursor = None
) -> CostsAnswer:
    """What every customer used and costs in a billing month, the greatest first."""
    day = running if month is None else month_of(month)
    page: Page[CustomerCost] = costs_of_customers(day, limit=limit, cursor=cursor)
    items = [CustomerCostAnswer.model_validate(line) for line in page.items]
    return CostsAnswer(items=items, next_cursor=page.next_cursor, month=f"{day:%Y-%m}")


@router.get("/audit-log", response_model=ListAnswer[AuditAnswer], responses=problems(*ADMIN))
def get_audit_log(
    _admin: Looker, action: Search = None, target_id: Search = None, limit: Limit = PAGE, cursor: Cursor = None
) -> Page[AuditView]:
    """Who did what, newest first."""
    return audit_log(action=action, target_id=target_id, limit=limit, cursor=cursor)


@router.get("/system", response_model=SystemAnswer, responses=problems(*ADMIN))
def get_system(_admin: Looker) -> SystemAnswer:
    """Gateways that live, and the last run of every clock."""
    return SystemAnswer(
        gateways=[GatewayAnswer.model_validate(one) for one in gateways()],
        clocks=[ClockAnswer.model_validate(one) for one in clocks()],
    )


@router.get("/system/clocks", response_model=ListAnswer[ClockStateAnswer], responses=problems(*ADMIN))
def get_clocks(_admin: Looker, now: Now) -> ListAnswer[ClockStateAnswer]:
    """Every clock of the table, with its last run and its last success."""
    items = [ClockStateAnswer.model_validate(one) for one in clock_states(now=now)]
    return ListAnswer(items=items, next_cursor=None)


def month_of(text: str) -> date:
    """Day 1 of a month such as 2026-11. Raises InvalidInput."""
    try:
        found = date.fromisoformat(f"{text}-01")
    except ValueError:
        found = date.min
    if not FIRST_YEAR <= found.year <= LAST_YEAR or len(text) != len("2026-11"):
        raise InvalidInput(month="A month such as 2026-11 is expected here.")
    return found
