"""Who sees which page: an owner, an outsider, an administrator and nobody in particular try all of them."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from tests.e2e.seeding import make_account, make_admin, new_chip
from tests.notify.office import Office
from tests.web.page_setup import part, visitor
from whago.domain.actions.api_keys import create_api_key
from whago.domain.models import Provider, Proxy, User
from whago.domain.rules.roles import Permit
from whago.kit import clock
from whago.kit.db import transaction
from whago.web import pages
from whago.web.pages.account import local_path

Pool = tuple[Provider, Proxy]

OPEN = {"/", "/login", "/register", "/forgot-password", "/reset-password/{token}"}
LOOKED_AT = {  # by administrators and support
    "/admin/alerts",
    "/admin/chips",
    "/admin/system",
    "/admin/users",
    "/admin",
    "/admin/audit",
    "/admin/proxies/dialogs/proxy-health/{proxy_id}",
    "/admin/series",
}
COSTS = {  # by finance too
    "/admin/plans",
    "/admin/proxies",
    "/admin/proxies/bills/{provider_id}",
    "/admin/proxies/series",
    "/admin/reports",
    "/admin/reports/files",
    "/admin/reports/print",
}
BILLS = {  # by administrators and finance
    "/admin/proxies/bills/{provider_id}/dialogs/import",
}
CHANGED = {  # by administrators alone
    "/admin/chips/dialogs/proxy/{chip_id}",
    "/admin/plans/dialogs/delete/{plan_id}",
    "/admin/plans/dialogs/edit/{plan_id}",
    "/admin/plans/dialogs/new",
    "/admin/proxies/bills/{provider_id}/dialogs/apply/{calibration_id}",
    "/admin/proxies/bills/{provider_id}/dialogs/calibrate",
    "/admin/proxies/bills/{provider_id}/dialogs/reading",
    "/admin/proxies/dialogs/provider-delete/{provider_id}",
    "/admin/proxies/dialogs/provider-drain/{provider_id}",
    "/admin/proxies/dialogs/provider-edit/{provider_id}",
    "/admin/proxies/dialogs/provider-new",
    "/admin/proxies/dialogs/provider-test/{provider_id}",
    "/admin/proxies/dialogs/proxy-delete/{proxy_id}",
    "/admin/proxies/dialogs/proxy-drain/{proxy_id}",
    "/admin/proxies/dialogs/proxy-edit/{proxy_id}",
    "/admin/proxies/dialogs/proxy-import",
    "/admin/proxies/dialogs/proxy-new",
    "/admin/proxies/dialogs/proxy-test/{proxy_id}",
    "/admin/users/dialogs/new",
    "/admin/users/dialogs/password/{user_id}",
    "/admin/users/dialogs/plan/{user_id}",
    "/admin/users/dialogs/resume/{user_id}",
    "/admin/users/dialogs/role/{user_id}",
    "/admin/users/dialogs/security/{user_id}",
    "/admin/users/dialogs/suspend/{user_id}",
}
PERMITS = {
    **dict.fromkeys(LOOKED_AT, Permit.LOOK),
    **dict.fromkeys(COSTS, Permit.COSTS),
    **dict.fromkeys(BILLS, Permit.BILLS),
    **dict.fromkeys(CHANGED, Permit.CHANGE),
}
ADMIN = set(PERMITS)
OWNED = {
    "/chips/{chip_id}",
    "/chips/{chip_id}/series",
    "/chips/{chip_id}/qr",
    "/chips/{chip_id}/rotate",
    "/chips/{chip_id}/accept",
    "/chips/{chip_id}/disconnect",
    "/chips/{chip_id}/credential",
    "/chips/{chip_id}/delete",
    "/chips/{chip_id}/logout",
    "/chips/{chip_id}/thrift",
    "/chips/{chip_id}/pairing-code",
    "/settings/api-keys/{key_id}/revoke",
    "/settings/channels/{channel_id}/edit",
    "/settings/channels/{channel_id}/delete",
    "/settings/channels/{channel_id}/secret",
    "/settings/channels/{channel_id}/confirm",
    "/settings/channels/{channel_id}/log",
}
SIGNED_IN = {
    "/renew",
    "/dashboard",
    "/dashboard/usage",
    "/dashboard/aside",
    "/dashboard/series",
    "/chips",
    "/chips/new",
    "/usage",
    "/usage/{month}.csv",
    "/notifications",
    "/settings",
    "/settings/api-keys",
    "/settings/api-keys/new",
    "/settings/channels",
    "/settings/channels/new/{kind}",
    "/settings/security",
    "/settings/security/totp-on",
    "/settings/security/totp-off",
    "/settings/security/codes",
    "/settings/security/sign-out",
}


@pytest.fixture
def someone(app: FastAPI) -> User:
    return make_account("business")


@pytest.fixture
def boss(app: FastAPI) -> User:
    return make_admin()


@pytest.fixture
def ids(someone: User, pool: Pool) -> dict[str, object]:
    provider, proxy = pool
    chip = new_chip(someone, "Suporte")
    return {
        "chip_id": chip.chip_id,
        "key_id": create_api_key(someone.id, "CRM", now=clock.now()).id,
        "month": "2026-11",
        "provider_id": provider.id,
        "proxy_id": proxy.id,
        "user_id": someone.id,
        "plan_id": someone.plan_id,
        "channel_id": Office.webhook_of(someone),
        "kind": "webhook",
        "calibration_id": provider.id,
    }


def test_every_page_is_classified() -> None:
    found = {route.path for module in pages.PARTS for route in module.router.routes}  # type: ignore[attr-defined]
    assert found == OPEN | ADMIN | OWNED | SIGNED_IN


@pytest.mark.parametrize("path", sorted(ADMIN | OWNED | SIGNED_IN))
def test_nobody_in_particular_is_sent_to_the_door_with_the_way_back(
    app: FastAPI, ids: dict[str, object], path: str
) -> None:
    asked = path.format_map(ids)
    answer = visitor(app).get(asked)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/login?next={asked.replace('/', '%2F')}"


@pytest.mark.parametrize("language", ["pt-BR", "en"])
@pytest.mark.parametrize("path", sorted(ADMIN | SIGNED_IN))
def test_an_administrator_sees_it_in_both_languages(
    app: FastAPI, ids: dict[str, object], boss: User, path: str, language: str
) -> None:
    client = visitor(app, boss, language)
    assert part(client, path.format_map(ids)).status_code in (200, 204)


@pytest.mark.parametrize("tab", ["providers", "pool", "stats", "of-the-imagination"])
def test_every_tab_of_the_proxies_has_an_address(app: FastAPI, pool: Pool, boss: User, tab: str) -> None:
    client = visitor(app, boss)
    assert 'aria-current="page"' in client.get(f"/admin/proxies?tab={tab}").text
    assert part(client, f"/admin/proxies?tab={tab}").status_code == 200


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/chips/new", "/chips"),
        ("/chips/{chip_id}/delete", "/chips/{chip_id}"),
        ("/settings/api-keys/new", "/settings/api-keys"),
        ("/settings/api-keys/{key_id}/revoke", "/settings/api-keys"),
        ("/admin/chips/dialogs/proxy/{chip_id}", "/admin/chips"),
        ("/admin/proxies/dialogs/provider-new", "/admin/proxies?tab=providers"),
        ("/admin/proxies/dialogs/proxy-edit/{proxy_id}", "/admin/proxies?tab=pool"),
        ("/admin/users/dialogs/new", "/admin/users"),
        ("/admin/plans/dialogs/edit/{plan_id}", "/admin/plans"),
    ],
)
def test_a_dialog_that_is_opened_alone_leads_to_its_page(
    app: FastAPI, ids: dict[str, object], someone: User, boss: User, path: str, leads_to: str
) -> None:
    client = visitor(app, boss if path.startswith("/admin") else someone)
    answer = client.get(path.format_map(ids))
    assert (answer.status_code, answer.headers["Location"]) == (303, leads_to.format_map(ids))


def test_the_start_leads_to_the_door_or_to_the_dashboard(app: FastAPI, someone: User) -> None:
    assert visitor(app).get("/").headers["Location"] == "/login"
    assert visitor(app, someone).get("/").headers["Location"] == "/dashboard"
    assert visitor(app, make_admin()).get("/").headers["Location"] == "/admin"
    assert visitor(app, someone).get("/login?next=/chips").headers["Location"] == "/chips"


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "chips",
        "/login",
        "/api/v1/chips",
        "/a\nb",
        "/" * 501,
    ],
)
def test_the_way_back_never_leads_away(wanted: str) -> None:
    assert local_path(wanted) == "/dashboard"


def test_the_way_back_keeps_its_query() -> None:
    assert local_path("/chips?status=connected&search=a%26b") == "/chips?status=connected&search=a%26b"


def test_a_suspended_customer_is_shown_the_door(app: FastAPI) -> None:
    client = visitor(app, make_account("business"))
    assert client.get("/dashboard").status_code == 200
    _suspend_all_customers()
    assert client.get("/dashboard").headers["Location"].startswith("/login")


def test_an_ended_access_cookie_is_renewed_without_using_up_the_refresh_token(app: FastAPI, someone: User) -> None:
    client = visitor(app, someone)
    refresh = client.cookies["whago_refresh"]
    del client.cookies["whago_access"]
    assert client.get("/renew").status_code == 204
    assert client.cookies["whago_access"]
    assert client.cookies["whago_refresh"] == refresh


def test_pages_are_told_apart_from_their_parts_by_caches(app: FastAPI, someone: User) -> None:
    answer = visitor(app, someone).get("/chips")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HX-Request" in answer.headers["Vary"]


def _suspend_all_customers() -> None:
    with transaction() as db:
        db.execute(update(User).values(is_active=False))
