"""Everybody's chips, and the proxy that each is put on by hand."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.chips import ChipSort, all_chips, any_chip
from whago.domain.queries.paging import MAX_LIMIT
from whago.domain.queries.proxies import ProxyView, list_pool, list_providers
from whago.web.api.fields import Cursor, Search
from whago.web.deps import Month, Parted
from whago.web.pages.chips import chosen_sort
from whago.web.pages.labels import PROXY_TYPES, STATUSES, label
from whago.web.pages.listing import address, id_or_none, next_page
from whago.web.pages.rendering import AdminPage, LookPage, Page
from whago.web.parts import Parts

PATH: Final = "/admin/chips"
API: Final = "/api/v1/admin/chips"
SORTS: Final[tuple[ChipSort, ...]] = ("newest", "name", "status", "usage", "owner")

router = APIRouter(prefix=PATH)


@router.get("")
def chips_page(
    page: LookPage,
    parts: Parted,
    month: Month,
    search: Search = None,
    status: str = "",
    provider: str = "",
    sort: str = "",
    cursor: Cursor = None,
) -> Response:
    """The list, or for htmx its table alone."""
    wanted, provider_id, order = status if status in STATUSES else None, id_or_none(provider), chosen_sort(sort, SORTS)
    found = all_chips(month=month, search=search, status=wanted, provider_id=provider_id, sort=order, cursor=cursor)
    filters = {
        "search": search or "",
        "status": wanted or "",
        "provider": str(provider_id or ""),
        "sort": "" if order == "newest" else order,
    }
    return page.draw(
        "admin/_chips.html" if page.is_fragment else "admin/chips.html",
        chips=found.items,
        filters=filters,
        sort=order,
        sort_href=lambda key: address(PATH, {**filters, "sort": "" if key == order else key}),
        provider_options=[(str(one.id), one.name) for one in list_providers(parts.vault, limit=MAX_LIMIT).items],
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


@router.get("/dialogs/proxy/{chip_id}")
def proxy_dialog(chip_id: UUID, page: AdminPage, parts: Parted, month: Month) -> Response:
    chip = any_chip(chip_id, month=month)
    if not page.is_fragment:
        return RedirectResponse(PATH, 303)
    return page.draw(
        "admin/dialogs/chip_proxy.html",
        api=f"POST {API}/{chip_id}/assignment",
        chip=chip,
        proxy_options=_options(page, parts, but=chip.proxy.proxy_id if chip.proxy else None),
    )


def _options(page: Page, parts: Parts, *, but: UUID | None) -> list[tuple[str, str]]:
    pool = list_pool(parts.vault, limit=MAX_LIMIT).items
    return [(str(one.id), _told(page, one)) for one in pool if one.id != but and one.is_active]


def _told(page: Page, one: ProxyView) -> str:
    """``Smartproxy · http://… · Rotativo · saúde 98 · 12 / 40``."""
    say = page.translate
    room = f"{one.chips} / {one.max_chips}" if one.max_chips else str(one.chips)
    health = say("health {score}", score=one.health_score)
    return " · ".join((one.provider, one.proxy_url, label(PROXY_TYPES, one.proxy_type, say), health, room))
