"""Support and finance: what they see, the buttons that are not there, and what the server refuses all the same."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI

from tests.e2e.seeding import make_account, new_chip
from tests.web.api_setup import Caller, refused, sign_in
from tests.web.page_setup import part, visitor
from whago.domain.models import Provider, Proxy
from whago.web.pages.permits import permit_of

Pool = tuple[Provider, Proxy]
ACTS = re.compile(r'hx-get="(/admin[^"]*/dialogs/[^"]*)"|data-api="(\w+ /api/v1/admin[^"]*)"')
PAGES = (
    "/admin",
    "/admin/users",
    "/admin/chips",
    "/admin/plans",
    "/admin/alerts",
    "/admin/reports",
    "/admin/reports?tab=files",
    "/admin/proxies?tab=providers",
    "/admin/proxies?tab=pool",
    "/admin/proxies?tab=stats",
    "/admin/system",
    "/admin/audit",
)
SEEN = {"admin": set(PAGES), "support": set(PAGES)}
SEEN["finance"] = {page for page in PAGES if page.startswith(("/admin/plans", "/admin/reports", "/admin/proxies"))} - {
    "/admin/proxies?tab=pool"
}
OFFERED = {  # of what acts, all that is left
    "support": {"/admin/proxies/dialogs/proxy-health/*"},
    "finance": {"POST /api/v1/admin/reports/runs", "/admin/proxies/bills/*/dialogs/import"},
}
IDENT = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


@pytest.mark.parametrize("role", ["support", "finance"])
def test_each_role_sees_its_pages_and_no_button_too_many(app: FastAPI, pool: Pool, role: str) -> None:
    provider, _proxy = pool
    new_chip(make_account("business"), "Vendas")
    client = visitor(app, make_account(role=role))
    pages = (*PAGES, f"/admin/proxies/bills/{provider.id}")
    found = {page: client.get(page) for page in pages}
    seen = {page for page in PAGES if found[page].status_code == 200}
    assert seen == SEEN[role]
    assert all(found[page].status_code == 403 for page in set(PAGES) - seen)
    acts = {IDENT.sub("*", one or two) for page in found.values() for one, two in ACTS.findall(page.text)}
    assert acts == OFFERED[role]
    links = {href for page in found.values() for href in re.findall(r'href="(/admin[^"#]*)"', page.text)}
    for href in links:
        assert client.get(href.replace("&amp;", "&")).status_code in (200, 303), href


def test_an_administrator_is_offered_everything(app: FastAPI, pool: Pool) -> None:
    text = "".join(visitor(app, make_account(role="admin")).get(page).text for page in PAGES)
    for act in ("provider-new", "provider-delete", "proxy-edit", "dialogs/role", "dialogs/security", "dialogs/plan"):
        assert act in text


def test_the_first_page_of_each_role_is_one_that_it_may_see(app: FastAPI) -> None:
    homes = {"admin": "/admin", "support": "/admin", "finance": "/admin/reports", "user": "/dashboard"}
    for role, home in homes.items():
        client = visitor(app, make_account(role=role))
        assert client.get("/").headers["Location"] == home
        assert client.get(home).status_code == 200


def test_an_administrator_gives_and_takes_roles(app: FastAPI, admin: Caller, owner: Caller) -> None:
    refused(owner.get("/admin/chips"), 403, "forbidden")
    assert admin.ask("PATCH", f"/admin/users/{owner.id}", json={"role": "support"}).json()["role"] == "support"
    assert owner.get("/admin/chips").status_code == 200  # at once, without a new sign-in
    refused(owner.ask("PATCH", f"/admin/users/{owner.id}", json={"role": "admin"}), 403, "forbidden")
    admin.ask("PATCH", f"/admin/users/{owner.id}", json={"role": "finance"})
    refused(owner.get("/admin/chips"), 403, "forbidden")
    assert owner.get("/admin/plans").status_code == 200
    entry = admin.get("/admin/audit-log").json()["items"][0]
    assert (entry["action"], entry["data"]) == ("user.update", {"changed": ["role"], "role": "finance"})
    refused(admin.ask("PATCH", f"/admin/users/{owner.id}", json={"role": "root"}), 422, "invalid_input")


def test_the_last_administrator_stays_one(app: FastAPI, admin: Caller) -> None:
    refused(admin.ask("PATCH", f"/admin/users/{admin.id}", json={"role": "support"}), 409, "last_admin")


def test_the_house_pays_no_plan(app: FastAPI, admin: Caller) -> None:
    month = "2026-11"
    staff = [sign_in(app, role=role, plan="business") for role in ("support", "finance")]
    customers = admin.get(f"/admin/reports/{month}/customers").json()["items"]
    assert not {one.id for one in staff} & {line["user_id"] for line in customers}


def test_the_dialogs_about_a_person(app: FastAPI, admin: Caller, owner: Caller) -> None:
    client = visitor(app, admin.user, "en")
    role = part(client, f"/admin/users/dialogs/role/{owner.id}").text
    assert [code for code in ("user", "support", "finance", "admin") if f'value="{code}"' in role] == [
        "user",
        "support",
        "finance",
        "admin",
    ]
    assert "Sign out everywhere" in part(client, f"/admin/users/dialogs/security/{owner.id}").text


def test_buttons_ask_the_routes_themselves(app: FastAPI) -> None:
    assert permit_of("/admin/proxies/dialogs/provider-edit/6f9619ff-8b86-4011-b42d-00cf4fc964ff") == "change"
    assert permit_of("/admin/reports?tab=files") == "costs"
    assert permit_of("/chips/new") is None
