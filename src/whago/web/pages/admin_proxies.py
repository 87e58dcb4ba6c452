"""Providers, the pool and its statistics, with the dialogs that change them. Tabs are in the address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.dashboard import stats_dashboard
from whago.domain.queries.paging import MAX_LIMIT
from whago.domain.queries.proxies import ProviderView, ProxyView, get_provider, get_proxy, list_pool, list_providers
from whago.domain.queries.proxy_health import proxy_health
from whago.domain.rules.roles import Permit
from whago.errors import WhagoError
from whago.providers.presets import PRESETS, Preset
from whago.web.api.fields import Cursor, Search
from whago.web.deps import Parted, Zone
from whago.web.health_terms import term_sentence
from whago.web.pages import labels
from whago.web.pages.listing import address, id_or_none, next_page
from whago.web.pages.rendering import AdminPage, CostsPage, LookPage, Page
from whago.web.pages.series import ALL_SPLITS, chosen_by, last_days
from whago.web.parts import Parts

PATH: Final = "/admin/proxies"
API: Final = "/api/v1/admin/proxies"
TABS: Final = ("providers", "pool", "stats")

router = APIRouter(prefix=PATH)


@router.get("")
def proxies_page(
    page: CostsPage,
    parts: Parted,
    tz: Zone,
    tab: str = "providers",
    search: Search = None,
    provider: str = "",
    by: str = "",
    cursor: Cursor = None,
) -> Response:
    """One tab, or for htmx the part of it that refreshes."""
    if tab == "pool":
        if not page.may(Permit.LOOK):
            raise WhagoError("forbidden")
        return _pool(page, parts, search or "", provider, cursor)
    if tab == "stats":
        return _stats(page, parts, tz, by)
    return _providers(page, parts, cursor)


@router.get("/series")
def series(page: CostsPage, tz: Zone, by: str = "") -> Response:
    """What all customers used in the last days, for its own refreshing."""
    return page.draw("macros/_series.html", **_series(page, tz, by))


@router.get("/dialogs/provider-new")
def new_provider(page: AdminPage) -> Response:
    return _provider_dialog(page, None, f"POST {API}/providers")


@router.get("/dialogs/provider-edit/{provider_id}")
def edit_provider(provider_id: UUID, page: AdminPage, parts: Parted) -> Response:
    return _provider_dialog(page, get_provider(parts.vault, provider_id), f"PUT {API}/providers/{provider_id}")


@router.get("/dialogs/provider-test/{provider_id}")
def test_provider(provider_id: UUID, page: AdminPage, parts: Parted) -> Response:
    name = get_provider(parts.vault, provider_id).name
    return _dialog(page, "providers", "test", api=f"POST {API}/providers/{provider_id}/test", name=name)


@router.get("/dialogs/provider-delete/{provider_id}")
def delete_provider(provider_id: UUID, page: AdminPage, parts: Parted) -> Response:
    one = get_provider(parts.vault, provider_id)
    return _dialog(
        page,
        "providers",
        "delete",
        api=f"DELETE {API}/providers/{provider_id}",
        name=one.name,
        text=page.translate("Its proxies go with it. What they moved stays in the ledger and on the bills."),
        refresh="#providers",
        force="provider_in_use",
    )


@router.get("/dialogs/proxy-new")
def new_proxy(page: AdminPage, parts: Parted) -> Response:
    return _proxy_dialog(page, parts, None, f"POST {API}/pool")


@router.get("/dialogs/proxy-import")
def import_proxies(page: AdminPage, parts: Parted) -> Response:
    return _dialog(page, "pool", "import", api=f"POST {API}/pool/import", provider_options=_provider_options(parts))


@router.get("/dialogs/proxy-edit/{proxy_id}")
def edit_proxy(proxy_id: UUID, page: AdminPage, parts: Parted) -> Response:
    return _proxy_dialog(page, parts, get_proxy(parts.vault, proxy_id), f"PUT {API}/pool/{proxy_id}")


@router.get("/dialogs/provider-drain/{provider_id}")
def drain_provider(provider_id: UUID, page: AdminPage, parts: Parted) -> Response:
    one = get_provider(parts.vault, provider_id)
    return _dialog(page, "providers", "drain", api=f"PUT {API}/providers/{provider_id}", name=one.name, one=one)


@router.get("/dialogs/proxy-drain/{proxy_id}")
def drain_proxy(proxy_id: UUID, page: AdminPage, parts: Parted) -> Response:
    one = get_proxy(parts.vault, proxy_id)
    return _dialog(page, "pool", "drain", api=f"PUT {API}/pool/{proxy_id}", name=one.proxy_url, one=one)


@router.get("/dialogs/proxy-health/{proxy_id}")
def show_health(proxy_id: UUID, page: LookPage) -> Response:
    one = proxy_health(proxy_id, now=page.now)
    sentences = {term.code: term_sentence(term, page.translate) for term in one.terms}
    return _dialog(page, "pool", "health", one=one, sentences=sentences)


@router.get("/dialogs/proxy-test/{proxy_id}")
def test_proxy(proxy_id: UUID, page: AdminPage, parts: Parted) -> Response:
    name = get_proxy(parts.vault, proxy_id).proxy_url
    return _dialog(page, "pool", "test", api=f"POST {API}/pool/{proxy_id}/test", name=name)


@router.get("/dialogs/proxy-delete/{proxy_id}")
def delete_proxy(proxy_id: UUID, page: AdminPage, parts: Parted) -> Response:
    one = get_proxy(parts.vault, proxy_id)
    return _dialog(
        page,
        "pool",
        "delete",
        api=f"DELETE {API}/pool/{proxy_id}",
        name=one.proxy_url,
        text=page.translate("It leaves the pool. What it moved stays in the ledger and on the bills."),
        refresh="#pool",
        force="proxy_in_use",
    )


def _providers(page: Page, parts: Parts, cursor: str | None) -> Response:
    found = list_providers(parts.vault, cursor=cursor)
    here = {"tab": "providers"}
    return page.draw(
        "admin/_providers.html" if page.is_fragment else "admin/proxies.html",
        tab="providers",
        providers=found.items,
        presets=PRESETS,
        here=address(PATH, {**here, "cursor": cursor}),
        next_href=next_page(PATH, here, found.next_cursor),
        first_href=address(PATH, here) if cursor else None,
    )


def _pool(page: Page, parts: Parts, search: str, provider: str, cursor: str | None) -> Response:
    provider_id = id_or_none(provider)
    found = list_pool(parts.vault, provider_id=provider_id, search=search or None, cursor=cursor)
    filters = {"search": search, "provider": str(provider_id or "")}
    here = {"tab": "pool", **filters}
    options = _provider_options(parts)
    return page.draw(
        "admin/_pool_table.html" if page.is_fragment else "admin/proxies.html",
        tab="pool",
        pool=found.items,
        filters=filters,
        has_providers=bool(options),
        provider_options=options,
        here=address(PATH, {**here, "cursor": cursor}),
        next_href=next_page(PATH, here, found.next_cursor),
        first_href=address(PATH, here) if cursor else None,
    )


def _stats(page: Page, parts: Parts, tz: Zone, by: str) -> Response:
    stats = stats_dashboard(now=page.now, tz=tz, probe_budget_bytes=parts.config.probe_bytes_per_day)
    if page.is_fragment:
        return page.draw("admin/_stats_figures.html", stats=stats)
    return page.draw("admin/proxies.html", tab="stats", stats=stats, **_series(page, tz, by))


def _series(page: Page, tz: Zone, by: str) -> dict[str, Any]:
    days = last_days(None, now=page.now, tz=tz, by=chosen_by(by, ALL_SPLITS))
    return days | {
        "series_href": f"{PATH}/series",
        "series_page": f"{PATH}?tab=stats",
        "series_choices": ALL_SPLITS,
    }


def _provider_dialog(page: Page, one: ProviderView | None, api: str) -> Response:
    say = page.translate
    return _dialog(
        page,
        "providers",
        "provider",
        api=api,
        one=one,
        presets=PRESETS,
        preset_facts={key: json.dumps(_facts(preset, page)) for key, preset in PRESETS.items()},
        provider_types=[(code, say(name)) for code, name in labels.PROVIDER_TYPES.items()],
        protocols=list(labels.PROTOCOLS.items()),
        exit_ip_policies=[(code, say(name)) for code, name in labels.EXIT_IP_POLICIES.items()],
    )


def _facts(preset: Preset, page: Page) -> Mapping[str, Any]:
    """What the form fills in when this vendor is chosen. A vendor with fields of its own opens the further settings."""
    return {
        "fields": {
            "host": preset.host,
            "username_template": preset.username_template,
            "password_template": preset.password_template,
            "bytes_per_gb": str(preset.bytes_per_gb),
            "country_form": "upper" if preset.country_form == "upper" else "lower",
        },
        "strict": {
            "username_template": preset.strict_username_template or preset.username_template,
            "password_template": preset.strict_password_template or preset.password_template,
        },
        "shows": _shown(preset),
        "ports": {protocol: preset.port_for(protocol) for protocol in preset.protocols},
        "is_open": preset.key == "custom",
        "notes": page.translate(preset.notes),
    }


def _shown(preset: Preset) -> Sequence[str]:
    """The parts of the form that this vendor has a use for."""
    uses = {
        "address": preset.key != "static",
        "country": preset.country_form != "none" or preset.key == "custom",
        "country_form": preset.key == "custom",
        "strict": bool(preset.strict_username_template or preset.strict_password_template),
        "usage_api": preset.has_usage_api,
    }
    return [name for name, has_use in uses.items() if has_use]


def _proxy_dialog(page: Page, parts: Parts, one: ProxyView | None, api: str) -> Response:
    room = one.max_chips if one is not None and one.proxy_type == "rotating" else None
    return _dialog(
        page,
        "pool",
        "proxy",
        api=api,
        one=one,
        one_region=one.own_region if one else "",
        max_chips=room,
        provider_options=_provider_options(parts),
    )


def _provider_options(parts: Parts) -> list[tuple[str, str]]:
    return [(str(one.id), one.name) for one in list_providers(parts.vault, limit=MAX_LIMIT).items]


def _dialog(page: Page, tab: str, template: str, **context: Any) -> Response:
    """A dialog's address is no page of its own: opened alone it leads to the tab."""
    if not page.is_fragment:
        return RedirectResponse(f"{PATH}?tab={tab}", 303)
    return page.draw(f"admin/dialogs/{template}.html", **context)
