"""The customer's chips: the list, one chip, and the dialogs that change them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse, RedirectResponse, Response

from whago.domain.models import Engine
from whago.domain.queries import history
from whago.domain.queries.chips import ChipSort, ChipView, chip_counts, get_chip, list_chips
from whago.domain.queries.regions import working_regions
from whago.domain.queries.timelines import exit_timeline, status_timeline
from whago.domain.rules.thrift import quiet_month_bytes
from whago.errors import WhagoError
from whago.web.api.fields import Cursor, Search
from whago.web.deps import Month, PageUser, Parted, Zone
from whago.web.pages.bands import band
from whago.web.pages.causes import cause_of
from whago.web.pages.labels import STATUS_TONES, STATUSES, label
from whago.web.pages.listing import address, next_page
from whago.web.pages.rendering import CustomerPage, Page
from whago.web.pages.series import last_days

PATH: Final = "/chips"
API: Final = "/api/v1/chips"
SHOWN_EVENTS: Final = 20
SHOWN_EXIT_IPS: Final = 10
PACES_S: Final = (20, 30, 45, 60)  # of the keep-alive; the API takes any second between the first and the last
PAST_SHOWN: Final = timedelta(days=30)
PAST_LEAST: Final = timedelta(hours=1)  # of a chip that was made a moment ago
SORTS: Final[tuple[ChipSort, ...]] = ("newest", "name", "status", "usage")

router = APIRouter(prefix=PATH)


@router.get("")
def chips_page(
    page: CustomerPage, month: Month, search: Search = None, status: str = "", sort: str = "", cursor: Cursor = None
) -> Response:
    """The list, or for htmx its table alone."""
    wanted, order = status if status in STATUSES else None, chosen_sort(sort, SORTS)
    found = list_chips(page.owner_id, month=month, search=search, status=wanted, sort=order, cursor=cursor)
    filters = {"search": search or "", "status": wanted or "", "sort": "" if order == "newest" else order}
    return page.draw(
        "chips/_table.html" if page.is_fragment else "chips/page.html",
        chips=found.items,
        has_chips=bool(chip_counts(page.owner_id)),
        filters=filters,
        sort=order,
        sort_href=lambda key: address(PATH, {**filters, "sort": "" if key == order else key}),
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


@router.get("/new")
def new_chip(page: CustomerPage) -> Response:
    if not page.is_fragment:
        return RedirectResponse(PATH, 303)
    return page.draw("chips/new.html", api=f"POST {API}", regions=working_regions())


@router.get("/{chip_id}")
def chip_page(chip_id: UUID, page: CustomerPage, parts: Parted, month: Month, tz: Zone) -> Response:
    """One chip, or for htmx its refreshing part alone. Another's chip does not exist."""
    chip = get_chip(page.owner_id, chip_id, month=month)
    facts: dict[str, Any] = {
        "chip": chip,
        "events": history.chip_events(page.owner_id, chip_id, limit=SHOWN_EVENTS).items,
        "exit_ips": history.exit_ips(page.owner_id, chip_id, limit=SHOWN_EXIT_IPS).items,
        "gateway_address": parts.config.gateway_address,
        "cause": cause_of(chip),
        **_past(page, chip),
    }
    if page.is_fragment:
        return page.draw("chips/_chip.html", **facts)
    return page.draw("chips/chip.html", **facts, **_series(page, chip_id, tz))


@router.get("/{chip_id}/series")
def chip_series(chip_id: UUID, page: CustomerPage, month: Month, tz: Zone) -> Response:
    _owned(page, chip_id, month)
    return page.draw("macros/_series.html", **_series(page, chip_id, tz))


@router.get("/{chip_id}/qr")
def chip_qr(chip_id: UUID, user: PageUser, parts: Parted, month: Month) -> JSONResponse:
    """The pairing code to draw, or null while there is none: the page asks again anyway."""
    chip = get_chip(user.id, chip_id, month=month)
    if chip.engine != Engine.BRIDGE:
        return JSONResponse({"qr": None})
    try:
        pairing = parts.bridge.qr(chip_id)
    except WhagoError as error:
        if error.code not in ("no_qr", "bridge_unavailable", "bridge_refused"):
            raise
        return JSONResponse({"qr": None})
    return JSONResponse({"qr": pairing.qr if pairing is not None else None})


@router.get("/{chip_id}/rotate")
def rotate_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"POST {API}/{chip_id}/rotate-proxy",
        title=say("Change the proxy of {alias}?", alias=chip.alias),
        text=say("The chip gets a new sticky identifier and so a new exit IP. Open connections close and come back."),
        act=say("Change proxy"),
        done=say("The chip has a new proxy."),
    )


@router.get("/{chip_id}/accept")
def accept_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"POST {API}/{chip_id}/accept-exit-ip",
        title=say("Accept the new exit IP of {alias}?", alias=chip.alias),
        text=say("From now on the chip leaves from {after}, and connects again.", after=_exit_ip(chip)),
        act=say("Accept the new IP"),
        done=say("The chip may leave again."),
    )


@router.get("/{chip_id}/disconnect")
def disconnect_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"POST {API}/{chip_id}/disconnect",
        title=say("Disconnect {alias}?", alias=chip.alias),
        text=say("The chip stops receiving messages until it is connected again. It keeps its proxy and its pairing."),
        act=say("Disconnect"),
        done=say("The chip is disconnected."),
    )


@router.get("/{chip_id}/credential")
def credential_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"POST {API}/{chip_id}/gateway/rotate",
        title=say("New gateway credential for {alias}?", alias=chip.alias),
        text=say("The old credential dies at once, with the connections that use it."),
        act=say("Make a new one"),
        done="",
        shows_credential=True,
    )


@router.get("/{chip_id}/logout")
def logout_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"POST {API}/{chip_id}/logout",
        title=say("Unlink the phone of {alias}?", alias=chip.alias),
        text=say("The linked device is removed from the phone and its keys are forgotten. Chip and proxy stay."),
        act=say("Unlink"),
        done=say("The phone is unlinked."),
        danger=True,
    )


@router.get("/{chip_id}/pairing-code")
def pairing_code_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip = _owned(page, chip_id, month)
    if not page.is_fragment:
        return RedirectResponse(f"{PATH}/{chip_id}", 303)
    return page.draw("chips/pairing_code.html", api=f"POST {API}/{chip_id}/pairing-code", chip=chip)


@router.get("/{chip_id}/thrift")
def thrift_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    """How the chip spares bytes, with what each choice costs a quiet chip."""
    chip = _owned(page, chip_id, month)
    if not page.is_fragment:
        return RedirectResponse(f"{PATH}/{chip_id}", 303)
    return page.draw(
        "chips/thrift.html",
        api=f"PATCH {API}/{chip_id}",
        chip=chip,
        paces=[(seconds, quiet_month_bytes(seconds)) for seconds in PACES_S],
    )


@router.get("/{chip_id}/delete")
def delete_dialog(chip_id: UUID, page: CustomerPage, month: Month) -> Response:
    chip, say = _owned(page, chip_id, month), page.translate
    return _confirm(
        page,
        chip,
        api=f"DELETE {API}/{chip_id}",
        title=say("Delete {alias}?", alias=chip.alias),
        text=say("Its connections close and its proxy becomes free. The usage of the month stays on the bill."),
        act=say("Delete chip"),
        done=say("The chip is deleted."),
        go=PATH if page.request.query_params.get("from") == "chip" else "",
        danger=True,
    )


def chosen_sort(wanted: str, possible: Collection[ChipSort]) -> ChipSort:
    """How a reader wants a list of chips sorted; anything unknown: newest first."""
    return next((one for one in possible if one == wanted), "newest")


def _past(page: Page, chip: ChipView) -> dict[str, Any]:
    """The last days of a chip, or its whole life while that is shorter."""
    begins = max(page.now - PAST_SHOWN, min(chip.created_at, page.now - PAST_LEAST))
    exits = exit_timeline(page.owner_id, chip.id, start=begins, end=page.now)
    statuses = status_timeline(page.owner_id, chip.id, start=begins, end=page.now)
    return {
        "exit_band": band(exits, begins=begins, ends=page.now),
        "plain": str,
        "status_word": lambda code: label(STATUSES, code, page.translate),
        "status_band": band(statuses, begins=begins, ends=page.now, tones=STATUS_TONES),
    }


def _series(page: Page, chip_id: UUID, tz: Zone) -> dict[str, Any]:
    days = last_days(page.owner_id, now=page.now, tz=tz, chip_id=chip_id)
    return days | {"series_href": f"{PATH}/{chip_id}/series"}


def _exit_ip(chip: ChipView) -> str:
    return (chip.proxy.exit_ip if chip.proxy is not None else None) or ""


def _owned(page: Page, chip_id: UUID, month: Month) -> ChipView:
    return get_chip(page.owner_id, chip_id, month=month)


def _confirm(page: Page, chip: ChipView, **words: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(f"{PATH}/{chip.id}", 303)
    usual: dict[str, Any] = {"danger": False, "go": "", "shows_credential": False, "refresh": "#chips, #chip"}
    return page.draw("chips/confirm.html", **usual | words)
