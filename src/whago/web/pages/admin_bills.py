"""A provider's bill beside our own figures: its days, how it is read, and the calibration of its meter."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.bills import BillingView, billing_view, calibrations, usage_days
from whago.domain.rules.bills import total
from whago.providers.bill_csv import UNITS
from whago.providers.billing import VENDORS
from whago.web.pages.rendering import AdminPage, BillsPage, CostsPage, Page

PATH: Final = "/admin/proxies/bills"
API: Final = "/api/v1/admin/proxies/providers"
ZONES: Final = ("UTC", "America/Sao_Paulo", "Asia/Shanghai", "Europe/Vilnius", "Asia/Jerusalem", "America/New_York")

router = APIRouter(prefix=PATH)


@router.get("/{provider_id}")
def bills_page(provider_id: UUID, page: CostsPage) -> Response:
    """The page, or for htmx the part of it that refreshes."""
    billing = billing_view(provider_id)
    days = usage_days(provider_id)
    return page.draw(
        "admin/_bills.html" if page.is_fragment else "admin/bills.html",
        billing=billing,
        vendor=VENDORS.get(billing.preset),
        days=days,
        sums=total(days),
        calibrations=calibrations(provider_id),
        here=f"{PATH}/{provider_id}",
    )


@router.get("/{provider_id}/dialogs/import")
def import_dialog(provider_id: UUID, page: BillsPage) -> Response:
    api = f"POST {API}/{provider_id}/bills/import"
    return _dialog(page, billing_view(provider_id), "bill_import", api=api, units=[(unit, unit) for unit in UNITS])


@router.get("/{provider_id}/dialogs/reading")
def reading_dialog(provider_id: UUID, page: AdminPage) -> Response:
    billing = billing_view(provider_id)
    api = f"PUT {API}/{provider_id}/billing"
    return _dialog(page, billing, "bill_reading", api=api, vendor=VENDORS.get(billing.preset), zones=ZONES)


@router.get("/{provider_id}/dialogs/calibrate")
def calibrate_dialog(provider_id: UUID, page: AdminPage) -> Response:
    billing = billing_view(provider_id)
    vendor = VENDORS.get(billing.preset)
    return _dialog(page, billing, "calibrate", api=f"POST {API}/{provider_id}/calibrations", vendor=vendor)


@router.get("/{provider_id}/dialogs/apply/{calibration_id}")
def apply_dialog(provider_id: UUID, calibration_id: UUID, page: AdminPage) -> Response:
    one = next((one for one in calibrations(provider_id) if one.id == calibration_id), None)
    api = f"POST {API}/{provider_id}/calibrations/{calibration_id}/apply"
    return _dialog(page, billing_view(provider_id), "apply_calibration", api=api, one=one)


def _dialog(page: Page, billing: BillingView, template: str, **context: Any) -> Response:
    """A dialog's address is no page of its own: opened alone it leads to the page."""
    if not page.is_fragment:
        return RedirectResponse(f"{PATH}/{billing.provider_id}", 303)
    return page.draw(f"admin/dialogs/{template}.html", billing=billing, **context)
