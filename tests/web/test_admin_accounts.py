"""Users and plans as administrators handle them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from tests.factories import make_chip
from tests.web.api_setup import Caller, new_client, refused, sign_in
from tests.web.test_contract import move_bytes
from whago.domain.models import Provider, Proxy, User
from whago.kit import clock
from whago.kit.db import transaction

USER = {"name": "Nina", "email": "nina@x.test", "password": "senha-segura-1"}
PLAN = {
    "name": "Pro", "slug": "pro", "price": "150.00", "max_chips": 5, "proxy_gb_limit": "2.5", "on_limit": "block_new",
}  # fmt: skip


def plan_id(admin: Caller, slug: str) -> str:
    return str(next(plan["id"] for plan in admin.get("/admin/plans").json()["items"] if plan["slug"] == slug))


def test_an_administrator_makes_a_user_who_can_sign_in(app: FastAPI, admin: Caller) -> None:
    business = plan_id(admin, "business")
    made = admin.post("/admin/users", USER | {"role": "user", "plan_id": business})
    assert made.status_code == 201, made.text
    assert made.json()["plan"]["slug"] == "business"
    assert made.json()["chips"] == []
    assert "password" not in made.text
    login = {"email": USER["email"], "password": USER["password"]}
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200
    refused(admin.post("/admin/users", USER), 409, "email_taken")


def test_the_list_shows_each_chip_with_its_proxy(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    make_chip(owner.user, alias="one")
    make_chip(owner.user, alias="two", now=clock.now())
    found = admin.get("/admin/users", params={"search": owner.user.email.upper()}).json()["items"]
    assert [user["id"] for user in found] == [owner.id]
    assert [chip["alias"] for chip in found[0]["chips"]] == ["one", "two"]
    assert {chip["proxy"]["provider"] for chip in found[0]["chips"]} == {pool[0].name}
    assert found[0]["chips_count"] == 2


def test_a_search_takes_signs_as_they_are(admin: Caller, owner: Caller) -> None:
    for search in ("%", "_", "\\", "'; --"):
        assert admin.get("/admin/users", params={"search": search}).json()["items"] == []
    refused(admin.get("/admin/users", params={"search": "nul\0"}), 422, "invalid_input")


def test_a_change_keeps_what_it_does_not_name(admin: Caller, owner: Caller) -> None:
    changed = admin.put(f"/admin/users/{owner.id}", {"name": "New name"}).json()
    assert (changed["name"], changed["email"], changed["plan"]["slug"]) == ("New name", owner.user.email, "business")
    assert owner.get("/auth/me").json()["name"] == "New name"  # nobody was signed out by it
    cleared = admin.ask("PATCH", f"/admin/users/{owner.id}", json={"plan_id": None}).json()
    assert (cleared["plan_id"], cleared["plan"]["slug"]) == (None, "free")


def test_a_new_password_signs_the_user_out(app: FastAPI, admin: Caller, owner: Caller) -> None:
    assert admin.put(f"/admin/users/{owner.id}", {"password": "set-by-the-admin"}).status_code == 200
    refused(owner.get("/auth/me"), 401, "not_authenticated")
    login = {"email": owner.user.email, "password": "set-by-the-admin"}
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"role": "root"},
        {"email": "nonsense"},
        {"password": "short"},
        {"plan_id": "00000000-0000-0000-0000-000000000001"},
        {"plan_id": "business"},
        {"name": ""},
        {"is_admin": True},
        {"language": "tlh"},
    ],
)
def test_a_bad_user_is_refused_by_field(admin: Caller, change: dict[str, Any]) -> None:
    found = refused(admin.post("/admin/users", USER | change), 422, "invalid_input")
    assert list(found["details"]["fields"]) == list(change)
    assert len(admin.get("/admin/users").json()["items"]) == 1


def test_a_user_with_chips_is_not_deleted(
    app: FastAPI, admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    chip = owner.post("/chips", {"alias": "a", "engine": "external"}).json()
    assert refused(admin.delete(f"/admin/users/{owner.id}"), 409, "user_in_use")["details"] == {"count": 1}
    owner.delete(f"/chips/{chip['id']}")
    assert admin.delete(f"/admin/users/{owner.id}").status_code == 204
    refused(owner.get("/auth/me"), 401, "not_authenticated")
    refused(admin.get(f"/admin/users/{owner.id}"), 404, "not_found")
    again = {"name": "Again", "email": owner.user.email, "password": "another-password"}
    assert new_client(app).post("/api/v1/auth/register", json=again).status_code == 201


def test_the_last_administrator_stays(admin: Caller) -> None:
    refused(admin.delete(f"/admin/users/{admin.id}"), 409, "last_admin")
    refused(admin.put(f"/admin/users/{admin.id}", {"role": "user"}), 409, "last_admin")
    refused(admin.put(f"/admin/users/{admin.id}", {"is_active": False}), 409, "last_admin")
    assert admin.get("/admin/users").status_code == 200


def test_two_administrators_cannot_remove_each_other(app: FastAPI) -> None:
    for _ in range(5):
        one, other = sign_in(app, role="admin"), sign_in(app, role="admin")
        with ThreadPoolExecutor(2) as threads:
            answers = list(
                threads.map(lambda pair: pair[0].delete(f"/admin/users/{pair[1].id}"), [(one, other), (other, one)])
            )
        assert sorted(answer.status_code for answer in answers)[0] == 204
        left = [caller for caller in (one, other) if caller.get("/admin/users").status_code == 200]
        assert len(left) == 1
        refused(left[0].put(f"/admin/users/{left[0].id}", {"role": "user"}), 409, "last_admin")
        with transaction() as db:  # the stage is free for the next pair
            db.execute(update(User).values(deleted_at=clock.now()))


def test_a_plan_is_made_changed_and_removed(admin: Caller) -> None:
    made = admin.post("/admin/plans", PLAN)
    assert made.status_code == 201, made.text
    plan = made.json()
    assert (plan["price"], plan["proxy_gb_limit"], plan["on_limit"], plan["users"]) == (
        "150.00",
        "2.50",
        "block_new",
        0,
    )
    changed = admin.put(f"/admin/plans/{plan['id']}", {"proxy_gb_limit": None}).json()
    assert (changed["proxy_gb_limit"], changed["name"], changed["max_chips"]) == (None, "Pro", 5)
    assert admin.delete(f"/admin/plans/{plan['id']}").status_code == 204
    refused(admin.get(f"/admin/plans/{plan['id']}"), 404, "not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "Has Spaces"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"price": "-1"}, "price"),
        ({"price": "1.001"}, "price"),
        ({"price": 10**15}, "price"),
        ({"max_chips": -1}, "max_chips"),
        ({"max_chips": 2**63}, "max_chips"),
        ({"max_chips": 1.5}, "max_chips"),
        ({"proxy_gb_limit": "-0.1"}, "proxy_gb_limit"),
        ({"proxy_gb_limit": "Infinity"}, "proxy_gb_limit"),
        ({"proxy_gb_limit": "0.0000000001"}, "proxy_gb_limit"),
        ({"proxy_gb_limit": 10**10}, "proxy_gb_limit"),
        ({"on_limit": "explode"}, "on_limit"),
        ({"currency": "USD"}, "currency"),
    ],
)
def test_a_bad_plan_is_refused_by_field(admin: Caller, change: dict[str, Any], field: str) -> None:
    found = refused(admin.post("/admin/plans", PLAN | change), 422, "invalid_input")
    assert list(found["details"]["fields"]) == [field]


def test_a_limit_is_never_unlimited_by_forgetting(admin: Caller) -> None:
    body = {name: value for name, value in PLAN.items() if name != "proxy_gb_limit"}
    assert list(refused(admin.post("/admin/plans", body), 422, "invalid_input")["details"]["fields"]) == [
        "proxy_gb_limit"
    ]


def test_two_administrators_race_for_one_slug(app: FastAPI, admin: Caller) -> None:
    callers = [sign_in(app, role="admin") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda caller: caller.post("/admin/plans", PLAN), callers))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {"slug_taken"}


def test_a_plan_in_use_stays(admin: Caller, owner: Caller) -> None:
    found = refused(admin.delete(f"/admin/plans/{plan_id(admin, 'business')}"), 409, "plan_in_use")
    assert found["details"] == {"count": 1}
    refused(admin.delete(f"/admin/plans/{plan_id(admin, 'free')}"), 409, "plan_is_default")


def test_there_is_always_one_default_plan(app: FastAPI, admin: Caller) -> None:
    def defaults() -> list[str]:
        return [plan["slug"] for plan in admin.get("/admin/plans").json()["items"] if plan["is_default"]]

    free = plan_id(admin, "free")
    refused(admin.put(f"/admin/plans/{free}", {"is_default": False}), 422, "invalid_input")
    pro = admin.post("/admin/plans", PLAN | {"is_default": True}).json()
    assert defaults() == ["pro"]
    assert sign_in(app).get("/auth/me").json()["plan"]["slug"] == "pro"
    assert admin.put(f"/admin/plans/{free}", {"is_default": True}).json()["is_default"] is True
    assert defaults() == ["free"]
    assert admin.delete(f"/admin/plans/{pro['id']}").status_code == 204


def test_raising_a_limit_frees_a_blocked_customer_at_once(
    admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, 1_000_000_000)
    refused(owner.post("/chips", {"alias": "b", "engine": "external"}), 402, "quota_exhausted")
    admin.put(f"/admin/plans/{plan_id(admin, 'business')}", {"proxy_gb_limit": "1.5"})
    usage = owner.get("/user/proxy/usage").json()
    assert (usage["state"], Decimal(usage["limit_gb"])) == ("ok", Decimal("1.5"))
    assert owner.post("/chips", {"alias": "b", "engine": "external"}).status_code == 201


def test_the_report_of_costs_is_by_customer(
    admin: Caller, owner: Caller, outsider: Caller, pool: tuple[Provider, Proxy]
) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, 1_000)
    move_bytes(outsider.user, make_chip(outsider.user).chip_id, 3_000)
    report = admin.get("/admin/reports/costs").json()
    assert [(line["user_id"], line["bytes_used"]) for line in report["items"]] == [
        (outsider.id, 3_000), (owner.id, 1_000),
    ]  # fmt: skip
    assert Decimal(report["items"][1]["cost"]) == Decimal(1_000) * 25 / 10**9
    first = admin.get("/admin/reports/costs", params={"limit": 1}).json()
    rest = admin.get("/admin/reports/costs", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [line["user_id"] for line in first["items"] + rest["items"]] == [outsider.id, owner.id]
    assert admin.get("/admin/reports/costs", params={"month": "2020-01"}).json()["items"] == []
    for month in ("2026", "2026-13", "0001-01", "11-2026", "2026-1"):
        refused(admin.get("/admin/reports/costs", params={"month": month}), 422, "invalid_input")


def test_open_alerts_name_the_customer(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, 900_000_000)
    (alert,) = admin.get("/admin/alerts").json()["items"]
    assert (alert["kind"], alert["user_email"], alert["cleared_at"]) == ("quota_warning", owner.user.email, None)
    assert "0.9 GB" in alert["message"]
    seen = admin.post(f"/admin/alerts/{alert['id']}/acknowledge").json()
    assert (seen["acknowledged_by"], seen["cleared_at"]) == (admin.user.name, None)
    for filters, count in (
        ({"state": "cleared"}, 0),
        ({"state": "all", "kind": "quota_warning", "user_id": owner.id}, 1),
        ({"severity": "error"}, 0),
        ({"kind": "provider_down"}, 0),
    ):
        assert len(admin.get("/admin/alerts", params=filters).json()["items"]) == count
    refused(admin.get("/admin/alerts", params={"kind": "nothing"}), 422, "invalid_input")


def test_the_systems_page_tells_of_gateways(admin: Caller, owner: Caller) -> None:
    assert admin.get("/admin/system").json() == {"gateways": [], "clocks": []}
