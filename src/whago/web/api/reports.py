"""Reports of a billing month for administrators, as JSON, as CSV, and as files that a worker makes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from whago.domain.actions.report_runs import cancel_report, request_report
from whago.domain.queries.archives import ArchiveView, archives
from whago.domain.queries.paging import Page
from whago.domain.queries.report_files import report_csv
from whago.domain.queries.report_lines import ChipLine, CustomerLine, MonthOverview, PriceLine
from whago.domain.queries.report_runs import RunView, report_file, report_run, report_runs
from whago.domain.queries.reports import (
    Reporting,
    chip_lines,
    customer_lines,
    month_overview,
    price_lines,
    provider_lines,
)
from whago.web.api.admin_reports import month_of
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Moment, Money, MonthDay
from whago.web.api.providers import ADMIN
from whago.web.deps import BillKeeper, CostReader, Now, Translate, Zone
from whago.web.errors import problems

CHUNK_BYTES: Final = 64 * 1024
CSV_TYPE: Final = "text/csv; charset=utf-8"

router = APIRouter(prefix="/admin/reports", tags=["admin: reports"])

MonthInPath = Annotated[str, Path(max_length=7, description="A billing month such as 2026-11.")]
ForSheets = Annotated[bool, Query(description="Titles and signs as spreadsheets in the caller's language expect them.")]
ReportKind = Literal["customers", "chips", "providers", "prices"]


class OverviewAnswer(Answer):
    """Money in BRL. ``billed_cost``: each customer rounded once. ``house_cost``: our own probes. ``result``: the rest.

    ``passed`` is the share of the running month that is over, null when it has ended; projections go on as so far.
    """

    month: MonthDay
    as_of: Moment
    passed: float | None
    closed_at: Moment | None
    customers: int
    customers_with_usage: int
    chips: int
    bytes_used: int
    gb_used: float
    cost: Money
    billed_cost: Money
    revenue: Money
    margin: Money
    margin_percent: float | None
    house_bytes: int
    house_cost: Money
    result: Money
    projected_cost: Money
    projected_margin: Money


class CustomerLineAnswer(Answer):
    """``is_final``: plan and price are those of the month's closing."""

    user_id: UUID
    name: str
    email: str
    plan: str
    plan_price: Money
    bytes_used: int
    gb_used: float
    cost: Money
    billed_cost: Money
    margin: Money
    margin_percent: float | None
    projected_bytes: int
    projected_cost: Money
    projected_margin: Money
    is_final: bool


class ChipLineAnswer(Answer):
    chip_id: UUID
    alias: str
    user_id: UUID
    customer: str
    email: str
    bytes_used: int
    gb_used: float
    cost: Money
    projected_cost: Money


class PriceLineAnswer(Answer):
    """``cost_per_gb`` of each ``bytes_per_gb`` bytes, as it was when they flowed."""

    chip_id: UUID
    alias: str
    user_id: UUID
    customer: str
    email: str
    provider: str
    proxy_id: UUID
    proxy_url: str
    price_id: int
    cost_per_gb: Money
    bytes_per_gb: int
    bytes_used: int
    cost: Money


class ProviderLineAnswer(Answer):
    provider_id: UUID
    provider: str
    price_id: int
    cost_per_gb: Money
    bytes_per_gb: int
    currency: str
    effective_from: Moment
    customers: int
    chips: int
    bytes_used: int
    gb_used: float
    cost: Money
    projected_cost: Money


class RunBody(Body):
    """``language``: for its spreadsheets; left out, the file is for programs."""

    kind: ReportKind
    month: Annotated[str, Field(max_length=7)]
    language: Literal["pt-BR", "en"] | None = None


class RunAnswer(Answer):
    """``state``: queued, running, done, failed, cancelled or expired."""

    id: UUID
    kind: str
    month: MonthDay
    language: str | None
    state: str
    rows_done: int
    rows_total: int | None
    percentage: int
    error: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    expires_at: Moment | None


class ArchiveAnswer(Answer):
    """A month of the ledger outside the database. ``late_bytes`` came after that and belong to no bill."""

    month: MonthDay
    state: str
    file_name: str | None
    sha256: str | None
    row_count: int | None
    total_bytes: int | None
    total_cost: Money | None
    late_reports: int
    late_bytes: int
    begun_at: Moment
    exported_at: Moment | None
    dropped_at: Moment | None


@router.get("/runs", response_model=ListAnswer[RunAnswer], responses=problems(*ADMIN))
def get_runs(admin: CostReader) -> Page[RunView]:
    """The caller's latest reports that a worker makes or made."""
    return Page(report_runs(admin.id), None)


@router.post("/runs", response_model=RunAnswer, status_code=202, responses=problems(*ADMIN, "report_limit"))
def post_run(body: RunBody, admin: BillKeeper, now: Now) -> RunView:
    """Asks a worker for a report, for months too large to wait for; the same one is not made twice at a time."""
    month = month_of(body.month)
    return report_run(admin.id, request_report(admin.id, kind=body.kind, month=month, language=body.language, now=now))


@router.get("/runs/{run_id}", response_model=RunAnswer, responses=problems(*ADMIN, "not_found"))
def get_run(run_id: UUID, admin: CostReader) -> RunView:
    """How far it is."""
    return report_run(admin.id, run_id)


@router.post("/runs/{run_id}/cancel", response_model=RunAnswer, responses=problems(*ADMIN, "not_found"))
def post_cancel(run_id: UUID, admin: BillKeeper, now: Now) -> RunView:
    """Stops it; one that has ended stays as it is."""
    cancel_report(admin.id, run_id, now=now)
    return report_run(admin.id, run_id)


@router.get("/runs/{run_id}/file", response_class=Response, responses=problems(*ADMIN, "not_found", "report_not_ready"))
def get_run_file(run_id: UUID, admin: CostReader) -> Response:
    """The finished report as CSV."""
    run, content = report_file(admin.id, run_id)
    return csv_response(f"whago-{run.kind}-{run.month:%Y-%m}", _unpacked(content))


@router.get("/archives", response_model=ListAnswer[ArchiveAnswer], responses=problems(*ADMIN))
def get_archives(_admin: CostReader) -> Page[ArchiveView]:
    """Months whose raw ledger is a file in the data folder; their reports stay the same."""
    return Page(archives(), None)


def asked_report(month: MonthInPath, now: Now, tz: Zone) -> Reporting:
    """The month in the path. Raises InvalidInput."""
    return Reporting(month_of(month), now, tz)


Asked = Annotated[Reporting, Depends(asked_report)]


@router.get("/{month}", response_model=OverviewAnswer, responses=problems(*ADMIN))
def get_overview(_admin: CostReader, asked: Asked) -> MonthOverview:
    """The month as one line."""
    return month_overview(asked)


@router.get("/{month}/customers", response_model=ListAnswer[CustomerLineAnswer], responses=problems(*ADMIN))
def get_customer_lines(
    _admin: CostReader, asked: Asked, limit: Limit = PAGE, cursor: Cursor = None
) -> Page[CustomerLine]:
    """Every customer with cost, plan, margin and projection; the greatest first."""
    return customer_lines(asked, limit=limit, cursor=cursor)


@router.get("/{month}/chips", response_model=ListAnswer[ChipLineAnswer], responses=problems(*ADMIN))
def get_chip_lines(_admin: CostReader, asked: Asked, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ChipLine]:
    """Every chip with its cost, the greatest first."""
    return chip_lines(asked, limit=limit, cursor=cursor)


@router.get("/{month}/prices", response_model=ListAnswer[PriceLineAnswer], responses=problems(*ADMIN))
def get_price_lines(_admin: CostReader, asked: Asked, limit: Limit = PAGE, cursor: Cursor = None) -> Page[PriceLine]:
    """Each chip's bytes by proxy and price snapshot: what everything else adds up from."""
    return price_lines(asked, limit=limit, cursor=cursor)


@router.get("/{month}/providers", response_model=ListAnswer[ProviderLineAnswer], responses=problems(*ADMIN))
def get_provider_lines(_admin: CostReader, asked: Asked) -> ListAnswer[ProviderLineAnswer]:
    """Each provider at each price that it had."""
    items = [ProviderLineAnswer.model_validate(line) for line in provider_lines(asked)]
    return ListAnswer(items=items, next_cursor=None)


@router.get("/{month}/{kind}.csv", response_class=Response, responses=problems(*ADMIN))
def get_csv(
    kind: ReportKind, _admin: CostReader, asked: Asked, translate: Translate, sheet: ForSheets = False
) -> Response:
    """The whole report, however long, sent as it is read."""
    language = translate.language if sheet else None
    pieces = report_csv(kind, asked, language=language, say=translate if sheet else None)
    return csv_response(f"whago-{kind}-{asked.month:%Y-%m}", (text.encode() for _count, text in pieces))


def csv_response(name: str, pieces: Iterable[bytes]) -> Response:
    """A download of that name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(iter(pieces), media_type=CSV_TYPE, headers=headers)


def _unpacked(content: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
