"""Vendors' bills beside our own figures, for administrators; and the calibration of a vendor's meter."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from fastapi import APIRouter
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from whago.domain.actions.bills import BillingFields, record_vendor_days, set_billing
from whago.domain.actions.calibrations import apply_calibration, begin_calibration
from whago.domain.queries.bills import (
    BillingView,
    CalibrationView,
    UsageDayView,
    billing_view,
    calibrations,
    usage_days,
)
from whago.errors import InvalidInput, WhagoError
from whago.kit.addresses import is_private_host
from whago.providers.bill_csv import CHARS_MAX, BillUnreadable, read_bill
from whago.providers.billing import VENDORS
from whago.providers.transfer import PLACEHOLDER
from whago.web.api.fields import Answer, Body, Moment, Money, blank_is_none, encodable, printable
from whago.web.api.providers import ADMIN, CHANGED, CheckUrl
from whago.web.deps import Admin, BillKeeper, CostReader, Now, Parted, Translate, Zone
from whago.web.errors import problems

LAG_MAX_MIN: Final = 4_320
OVERHEAD_MAX: Final = 65_536
COLUMNS_MAX: Final = 20

router = APIRouter(prefix="/admin/proxies/providers/{provider_id}", tags=["admin: bills"])


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("This is no time zone of the IANA database, such as America/Sao_Paulo.")
    return name


Blank = BeforeValidator(blank_is_none)
Percent = Annotated[Decimal, Field(gt=0, le=100, max_digits=6, decimal_places=3)]
OptionalName = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=120), AfterValidator(printable)] | None, Blank
]
ColumnName = Annotated[str, StringConstraints(max_length=120)]
OptionalDay = Annotated[date | None, Blank]


class BillingBody(Body):
    """What is left out keeps its value; null empties it. ``low_balance_gb`` in GB of 10⁹."""

    usage_tz: Annotated[str, AfterValidator(_zone)] | None = None
    lag_min: Annotated[Annotated[int, Field(ge=0, le=LAG_MAX_MIN)] | None, Blank] = None
    threshold_percent: Percent | None = None
    account: OptionalName = None
    api_url: CheckUrl = None
    transfer_url: CheckUrl = None
    low_balance_gb: Annotated[Annotated[Decimal, Field(ge=0, max_digits=12)] | None, Blank] = None
    request_overhead_bytes: Annotated[int, Field(ge=0, le=OVERHEAD_MAX)] | None = None
    reconcile_from: OptionalDay = None


class BillBody(Body):
    """A vendor's bill as CSV. Columns that are not named are guessed from its heading."""

    text: Annotated[str, StringConstraints(max_length=CHARS_MAX), AfterValidator(encodable)]
    unit: Annotated[str, StringConstraints(max_length=3)] = "B"
    day_column: OptionalName = None
    byte_columns: Annotated[tuple[ColumnName, ...], Field(max_length=COLUMNS_MAX)] = ()


class BillingAnswer(Answer):
    """``has_usage_api``: the vendor has one that is understood. ``lag_min`` null: the vendor's own, ``vendor_lag_min``.
    ``last_error``: why the API gave nothing when it was asked last."""

    provider_id: UUID
    has_usage_api: bool
    usage_tz: str
    lag_min: int | None
    vendor_lag_min: int | None
    threshold_percent: Money
    account: str | None
    api_url: str | None
    transfer_url: str | None
    low_balance_bytes: int | None
    request_overhead_bytes: int
    reconcile_from: date
    asked_at: Moment | None
    last_error: str | None
    balance_bytes: int | None
    balance_at: Moment | None


class UsageDayAnswer(Answer):
    """Bytes of one day of the vendor's: what it bills, what chips and the house moved, what it should bill. The
    difference is vendor minus expected. ``verdict``: agrees, differs, or unjudged (too little, or too coarse)."""

    day: date
    source: str
    vendor_bytes: int
    chip_bytes: int
    house_bytes: int
    expected_bytes: int
    difference_bytes: int
    difference_percent: Money | None
    difference_cost: Money
    verdict: str
    compared_at: Moment


class ReconciliationAnswer(Answer):
    """The newest day first."""

    billing: BillingAnswer
    days: list[UsageDayAnswer]


class BadRowAnswer(Answer):
    number: int
    reason: str


class ImportedBillAnswer(Answer):
    """``day_column`` and ``byte_columns``: how the file was read."""

    days: int
    differing: int
    day_column: str
    byte_columns: list[str]
    bad_rows: list[BadRowAnswer]


class CalibrationAnswer(Answer):
    """``fit``: scale, bytes_per_gb, overhead_bytes per tunnel, residual_percent, is_known. ``steps_done`` of
    ``steps_total``. ``problem``: why nothing can be taken over, a code."""

    id: UUID
    state: str
    started_at: Moment
    ended_at: Moment | None
    applied_at: Moment | None
    steps_done: int
    steps_total: int
    fit: dict[str, Any] | None
    problem: str | None


class CalibrationsAnswer(Answer):
    """The newest first."""

    items: list[CalibrationAnswer]


@router.get("/reconciliation", response_model=ReconciliationAnswer, responses=problems(*ADMIN, "not_found"))
def get_reconciliation(provider_id: UUID, _admin: CostReader) -> ReconciliationAnswer:
    """What the vendor says of each day, and what we say."""
    days = [_day(one) for one in usage_days(provider_id)]
    return ReconciliationAnswer(billing=_billing(billing_view(provider_id)), days=days)


@router.put("/billing", response_model=BillingAnswer, responses=problems(*CHANGED, "not_found", "private_upstream"))
def put_billing(provider_id: UUID, body: BillingBody, admin: Admin, parts: Parted, now: Now, tz: Zone) -> BillingAnswer:
    """How the vendor's bill is read, and when it counts as different."""
    for url in (body.api_url, body.transfer_url):
        _refuse_private(url, allow_private=parts.config.allow_private_upstreams)
    if body.transfer_url is not None and PLACEHOLDER not in body.transfer_url:
        raise InvalidInput(transfer_url="The address needs {bytes} where the size goes.")
    set_billing(admin.id, provider_id, _fields(body, billing_view(provider_id)), now=now, tz=tz)
    return _billing(billing_view(provider_id))


@router.post(
    "/bills/import", status_code=201, response_model=ImportedBillAnswer, responses=problems(*CHANGED, "not_found")
)
def import_bill(
    provider_id: UUID, body: BillBody, admin: BillKeeper, now: Now, tz: Zone, translate: Translate
) -> ImportedBillAnswer:
    """Takes over a bill; its days count instead of what the vendor's API says of them."""
    try:
        bill = read_bill(body.text, unit=body.unit, day_column=body.day_column, byte_columns=body.byte_columns)
    except BillUnreadable as wrong:
        raise InvalidInput(**{wrong.field: str(wrong)}) from wrong
    differing = record_vendor_days(
        provider_id, bill.days, source="csv", resolution_bytes=bill.resolution_bytes, actor_id=admin.id, now=now, tz=tz
    )
    return ImportedBillAnswer(
        days=len(bill.days),
        differing=differing,
        day_column=bill.day_column,
        byte_columns=list(bill.byte_columns),
        bad_rows=[BadRowAnswer(number=row.number, reason=translate(row.reason)) for row in bill.bad_rows],
    )


@router.get("/calibrations", response_model=CalibrationsAnswer, responses=problems(*ADMIN, "not_found"))
def get_calibrations(provider_id: UUID, _admin: CostReader) -> CalibrationsAnswer:
    """The last ones."""
    return CalibrationsAnswer(items=[_calibration(one) for one in calibrations(provider_id)])


@router.post(
    "/calibrations",
    status_code=201,
    response_model=CalibrationAnswer,
    responses=problems(*CHANGED, "not_found", "calibration_runs"),
)
def post_calibration(provider_id: UUID, admin: Admin, now: Now) -> CalibrationAnswer:
    """Begins one: about 5 MB in 100 tunnels, on the house's account, in steps of the vendor's delay."""
    begin_calibration(admin.id, provider_id, now=now)
    return _calibration(calibrations(provider_id)[0])


@router.post(
    "/calibrations/{calibration_id}/apply",
    response_model=CalibrationAnswer,
    responses=problems(*CHANGED, "not_found", "calibration_refused"),
)
def post_application(provider_id: UUID, calibration_id: UUID, admin: Admin, now: Now) -> CalibrationAnswer:
    """Takes over what was found: the size of a GB for prices from now on, the overhead for comparisons."""
    if calibration_id not in {one.id for one in calibrations(provider_id)}:
        raise WhagoError("not_found")
    apply_calibration(admin.id, calibration_id, now=now)
    return next(_calibration(one) for one in calibrations(provider_id) if one.id == calibration_id)


def _fields(body: BillingBody, current: BillingView) -> BillingFields:
    given = body.model_fields_set

    def value(name: str, *, clearable: bool = False) -> Any:
        wanted = getattr(body, name)
        return wanted if name in given and (clearable or wanted is not None) else getattr(current, name)

    low = current.low_balance_bytes
    if "low_balance_gb" in given:
        low = int(body.low_balance_gb * 10**9) if body.low_balance_gb is not None else None
    return BillingFields(
        usage_tz=ZoneInfo(value("usage_tz")).key,
        lag_min=value("lag_min", clearable=True),
        threshold_percent=value("threshold_percent"),
        account=value("account", clearable=True),
        api_url=value("api_url", clearable=True),
        transfer_url=value("transfer_url", clearable=True),
        low_balance_bytes=low,
        request_overhead_bytes=value("request_overhead_bytes"),
        reconcile_from=value("reconcile_from", clearable=True),
    )


def _refuse_private(url: str | None, *, allow_private: bool) -> None:
    host = urlsplit(url).hostname if url is not None else None
    if host is not None and not allow_private and is_private_host(host):
        raise WhagoError("private_upstream", host=host)


def _billing(one: BillingView) -> BillingAnswer:
    vendor = VENDORS.get(one.preset)
    lag_min = vendor.lag_min if vendor is not None else None
    of_the_vendor: dict[str, Any] = {"has_usage_api": vendor is not None, "vendor_lag_min": lag_min}
    known = {name: getattr(one, name) for name in BillingAnswer.model_fields if name not in of_the_vendor}
    return BillingAnswer(**of_the_vendor, **known)


def _day(one: UsageDayView) -> UsageDayAnswer:
    return UsageDayAnswer.model_validate(one)


def _calibration(one: CalibrationView) -> CalibrationAnswer:
    known = {name: getattr(one, name) for name in CalibrationAnswer.model_fields if name != "steps_done"}
    return CalibrationAnswer(steps_done=len(one.steps), **known)
