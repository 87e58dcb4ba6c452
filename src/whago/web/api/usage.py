"""What the caller has used: the month against its limit, and the course of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from whago.domain.queries.usage import By, Granularity, MonthUsage, UsagePoint, usage_of_month, usage_series
from whago.errors import InvalidInput
from whago.web.api.fields import Answer, GivenMoment, Moment, Money, MonthDay
from whago.web.deps import Now, User, Zone
from whago.web.errors import problems

LONGEST: Final = {"hour": timedelta(days=31), "day": timedelta(days=400)}  # at most 744 and 400 points a line
TOO_LONG: Final = {
    "hour": "At most 31 days fit into one answer by the hour.",
    "day": "At most 400 days fit into one answer by the day.",
}
USUAL: Final = {"hour": timedelta(days=1), "day": timedelta(days=30)}

FromMoment = Annotated[GivenMoment | None, Query(alias="from", description="The beginning, included.")]
ToMoment = Annotated[GivenMoment | None, Query(alias="to", description="The end, excluded; now when left out.")]

router = APIRouter(prefix="/user/proxy/usage", tags=["usage"])


class UsageAnswer(Answer):
    """The running billing month. GB are 10⁹ bytes; ``limit_gb`` null is unlimited; ``cost`` is exact, in BRL."""

    bytes_used: int
    gb_used: float
    cost: Money
    limit_gb: Money | None
    percentage_used: float
    month: MonthDay
    state: Literal["ok", "warning", "blocked"]
    as_of: Moment
    projected_gb: float
    resets_at: Moment


class UsagePointAnswer(Answer):
    """An hour, or a day of the billing zone, that begins ``at``. ``id`` and ``label`` name the chip or provider."""

    at: Moment
    id: UUID | None
    label: str | None
    bytes: int
    cost: Money


class SeriesAnswer(Answer):
    """What flowed from ``from`` to before ``to``; times without traffic are left out."""

    granularity: Granularity
    by: By | None
    start: Annotated[Moment, Field(serialization_alias="from")]
    end: Annotated[Moment, Field(serialization_alias="to")]
    items: list[UsagePointAnswer]
    next_cursor: None = None


@router.get("", response_model=UsageAnswer, responses=problems("not_authenticated", "account_suspended", "unavailable"))
def get_usage(user: User, now: Now, tz: Zone) -> MonthUsage:
    """The caller's running month."""
    return usage_of_month(user.id, now=now, tz=tz)


@router.get(
    "/series",
    response_model=SeriesAnswer,
    responses=problems("not_authenticated", "account_suspended", "invalid_input", "unavailable"),
)
def get_series(
    user: User,
    now: Now,
    tz: Zone,
    granularity: Granularity = "hour",
    start: FromMoment = None,
    end: ToMoment = None,
    by: By | None = None,
) -> SeriesAnswer:
    """The caller's traffic over time, all of it or by chip or provider."""
    first, last = checked_range(granularity, start, end, now)
    points = usage_series(user.id, granularity=granularity, start=first, end=last, by=by, tz=tz)
    return series_answer(granularity, by, first, last, points)


def checked_range(
    granularity: Granularity, start: datetime | None, end: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    """What was asked, or the usual stretch up to now. Raises InvalidInput for one that is empty or too long."""
    last = end or now
    first = start or last - USUAL[granularity]
    if first >= last:
        raise InvalidInput(to="The end must come after the beginning.")
    if last - first > LONGEST[granularity]:
        raise InvalidInput(to=TOO_LONG[granularity])
    return first, last


def series_answer(
    granularity: Granularity, by: By | None, start: datetime, end: datetime, points: list[UsagePoint]
) -> SeriesAnswer:
    items = [UsagePointAnswer.model_validate(point) for point in points]
    return SeriesAnswer(granularity=granularity, by=by, start=start, end=end, items=items)
