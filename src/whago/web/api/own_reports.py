"""The caller's own months as reports."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.own_reports import UsageReport, own_lines, usage_report
from whago.domain.queries.report_files import csv_pieces
from whago.domain.rules.report_tables import OWN_DAYS
from whago.web.api.admin_reports import month_of
from whago.web.api.fields import Answer, Money, MonthDay
from whago.web.api.reports import ForSheets, MonthInPath, csv_response
from whago.web.deps import Now, Translate, User, Zone
from whago.web.errors import problems

router = APIRouter(prefix="/user/proxy/reports", tags=["usage"])

OWN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")


class OwnChipAnswer(Answer):
    chip_id: UUID
    alias: str
    bytes_used: int
    cost: Money


class OwnDayAnswer(Answer):
    """A day of the billing zone; days without traffic are left out."""

    day: MonthDay
    bytes_used: int
    cost: Money


class OwnReportAnswer(Answer):
    """Money in BRL; ``billed_cost`` is ``cost`` in cents. Projections go on as so far."""

    month: MonthDay
    is_running: bool
    plan: str
    bytes_used: int
    gb_used: float
    cost: Money
    billed_cost: Money
    projected_bytes: int
    projected_cost: Money
    chips: list[OwnChipAnswer]
    days: list[OwnDayAnswer]


@router.get("/{month}.csv", response_class=Response, responses=problems(*OWN))
def get_own_csv(month: MonthInPath, user: User, tz: Zone, translate: Translate, sheet: ForSheets = False) -> Response:
    """The month by day and chip."""
    day = month_of(month)
    pieces = csv_pieces(
        OWN_DAYS,
        lambda cursor: own_lines(user.id, day, cursor, tz=tz),
        language=translate.language if sheet else None,
        say=translate if sheet else None,
    )
    return csv_response(f"whago-usage-{day:%Y-%m}", (text.encode() for _count, text in pieces))


@router.get("/{month}", response_model=OwnReportAnswer, responses=problems(*OWN))
def get_own_report(month: MonthInPath, user: User, now: Now, tz: Zone) -> UsageReport:
    """The month by chip and by day."""
    return usage_report(user.id, month_of(month), now=now, tz=tz)
