"""Providers and the pool as administrators handle them: checked, sealed, safe to delete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select, text

from tests.factories import make_chip
from tests.web.api_setup import Caller, config, new_client, refused, sign_in
from whago.domain.models import Provider, ProviderPrice, Proxy
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id
from whago.simulator import SimulatedProvider
from whago.web.app import create_app

SMART = {
    "name": "Smart", "preset": "smartproxy", "username": "acme", "password": "s3cret-pa55", "cost_per_gb": "25.00",
}  # fmt: skip
CUSTOM = {
    "name": "Own", "provider_type": "residential", "host": "127.0.0.1", "port": 3120, "username": "acme",
    "password": "s3cret-pa55", "api_key": "key-of-the-vendor", "username_template": "{username}-session-{session}",
    "cost_per_gb": 25.5, "region": "BR",
}  # fmt: skip
SECRETS = ("s3cret-pa55", "key-of-the-vendor", "acme")


def stored(vault: Vault, provider_id: str) -> dict[str, Any]:
    with transaction() as db:
        provider = db.get(Provider, provider_id)
        assert provider is not None
        return vault.open(provider.credentials)


def test_a_preset_fills_in_what_was_left_out(admin: Caller) -> None:
    answer = admin.post("/admin/proxies/providers", SMART)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["host"], made["port"], made["protocol"]) == ("proxy.smartproxy.net", 3120, "http")
    assert made["username_template"] == "{username}-session-{session}"
    assert made["cost_per_gb"] == "25.00"
    assert (made["bytes_per_gb"], made["currency"], made["provider_type"]) == (10**9, "BRL", "residential")
    assert made["has_credentials"] is True


def test_credentials_go_in_and_never_come_out(app: FastAPI, admin: Caller, vault: Vault) -> None:
    made = admin.post("/admin/proxies/providers", CUSTOM)
    ident = made.json()["id"]
    assert stored(vault, ident) == {"username": "acme", "password": "s3cret-pa55", "api_key": "key-of-the-vendor"}
    answers = [
        made,
        admin.get("/admin/proxies/providers"),
        admin.get(f"/admin/proxies/providers/{ident}"),
        admin.put(f"/admin/proxies/providers/{ident}", CUSTOM),
        admin.post("/admin/proxies/providers", CUSTOM),  # a refusal
        admin.get("/admin/audit-log"),
        admin.get("/admin/proxies/stats/dashboard"),
    ]
    for answer in answers:
        assert not any(secret in answer.text for secret in SECRETS), answer.text
    with transaction() as db:
        raw = db.scalar(text("SELECT credentials::text FROM proxy_providers"))
    assert raw is not None
    assert not any(secret in raw for secret in SECRETS)


def test_nested_credentials_are_taken_too(admin: Caller, vault: Vault) -> None:
    body = {key: value for key, value in CUSTOM.items() if key not in ("username", "password", "api_key")}
    made = admin.post("/admin/proxies/providers", body | {"credentials": {"username": "u", "password": "p"}}).json()
    assert stored(vault, made["id"]) == {"username": "u", "password": "p"}


def test_a_change_keeps_what_it_does_not_name(admin: Caller, vault: Vault) -> None:
    ident = admin.post("/admin/proxies/providers", CUSTOM).json()["id"]
    changed = admin.put(f"/admin/proxies/providers/{ident}", {"priority": 5, "password": "", "region": None}).json()
    assert (changed["priority"], changed["region"], changed["host"]) == (5, None, "127.0.0.1")
    assert stored(vault, ident)["password"] == "s3cret-pa55"
    admin.put(f"/admin/proxies/providers/{ident}", {"password": "another"})
    assert stored(vault, ident) == {"username": "acme", "password": "another", "api_key": "key-of-the-vendor"}


def test_a_new_price_is_a_new_snapshot(admin: Caller) -> None:
    ident = admin.post("/admin/proxies/providers", CUSTOM).json()["id"]
    admin.put(f"/admin/proxies/providers/{ident}", {"cost_per_gb": "30.123456"})
    admin.put(f"/admin/proxies/providers/{ident}", {"priority": 1})
    with transaction() as db:
        prices = db.scalars(select(ProviderPrice).order_by(ProviderPrice.id)).all()
        provider = db.scalars(select(Provider)).one()
    assert [price.cost_per_gb for price in prices] == [Decimal("25.5"), Decimal("30.123456")]
    assert provider.current_price_id == prices[1].id


def test_moving_to_another_vendor_takes_over_its_facts(admin: Caller) -> None:
    ident = admin.post("/admin/proxies/providers", CUSTOM).json()["id"]
    moved = admin.put(f"/admin/proxies/providers/{ident}", {"preset": "evomi", "country": "br"}).json()
    assert (moved["host"], moved["port"], moved["country"]) == ("rp.evomi.com", 1000, "BR")
    assert "{session}" in moved["password_template"]
    assert moved["cost_per_gb"] == "25.50"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"name": ""}, "invalid_input", "name"),
        ({"name": None}, "invalid_input", "name"),
        ({"cost_per_gb": "-1"}, "invalid_input", "cost_per_gb"),
        ({"cost_per_gb": "NaN"}, "invalid_input", "cost_per_gb"),
        ({"cost_per_gb": "1e400"}, "invalid_input", "cost_per_gb"),
        ({"cost_per_gb": "1.1234567"}, "invalid_input", "cost_per_gb"),
        ({"currency": "USD"}, "invalid_input", "currency"),
        ({"bytes_per_gb": 1_000}, "invalid_input", "bytes_per_gb"),
        ({"bytes_per_gb": 10**30}, "invalid_input", "bytes_per_gb"),
        ({"provider_type": "satellite"}, "invalid_input", "provider_type"),
        ({"preset": "unheard-of"}, "invalid_input", "preset"),
        ({"host": "http://proxy.example"}, "invalid_input", "host"),
        ({"host": "proxy.example:3120"}, "invalid_input", "host"),
        ({"host": "a b"}, "invalid_input", "host"),
        ({"host": None, "preset": "custom"}, "invalid_input", "host"),
        ({"port": 0}, "invalid_input", "port"),
        ({"port": 65_536}, "invalid_input", "port"),
        ({"protocol": "ftp"}, "invalid_input", "protocol"),
        ({"username_template": "{user}-x"}, "unknown_placeholder", None),
        ({"username_template": "{username.__class__}"}, "unknown_placeholder", None),
        ({"username_template": "{username"}, "invalid_input", "username_template"),
        ({"username_template": "{username}-{country}-{session}"}, "invalid_input", "country"),
        ({"country": "Brasil"}, "invalid_input", "country"),
        ({"username": "a:b"}, "invalid_input", "username"),
        ({"password": "line\nbreak"}, "invalid_input", "password"),
        ({"ip_check_url": "file:///etc/passwd"}, "invalid_input", "ip_check_url"),
        ({"lifetime_min": 0}, "invalid_input", "lifetime_min"),
        ({"priority": 2**40}, "invalid_input", "priority"),
        ({"is_active": "maybe"}, "invalid_input", "is_active"),
        ({"credentials": {"user": "x"}}, "invalid_input", "credentials.user"),
        ({"unheard": 1}, "invalid_input", "unheard"),
    ],
)
def test_a_bad_provider_is_refused_by_field(
    admin: Caller, change: dict[str, Any], code: str, field: str | None
) -> None:
    found = refused(admin.post("/admin/proxies/providers", CUSTOM | change), 422, code)
    if field is not None:
        assert list(found["details"]["fields"]) == [field]
    assert admin.get("/admin/proxies/providers").json()["items"] == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "localhost", "169.254.169.254", "::1", "intranet", "x.local"]
)
def test_a_private_address_needs_the_setting(admin: Caller, host: str) -> None:
    app = create_app(config(allow_private_upstreams=False))
    client = new_client(app)
    body = CUSTOM | {"host": host}
    path = "/api/v1/admin/proxies/providers"
    found = refused(client.post(path, json=body, headers=admin.headers), 422, "private_upstream")
    assert found["details"]["host"] == host
    public = client.post(path, json=CUSTOM | {"host": "proxy.example"}, headers=admin.headers)
    assert public.status_code == 201
    pool = {"provider_id": public.json()["id"], "proxy_type": "static", "proxy_url": f"http://u:p@[{host}]:80"}
    pool["proxy_url"] = pool["proxy_url"] if ":" in host else f"http://u:p@{host}:80"
    answer = client.post("/api/v1/admin/proxies/pool", json=pool, headers=admin.headers)
    refused(answer, 422, "private_upstream")


def test_two_administrators_race_for_one_name(app: FastAPI, admin: Caller) -> None:
    callers = [sign_in(app, role="admin") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda caller: caller.post("/admin/proxies/providers", CUSTOM), callers))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {"name_taken"}
    assert len(admin.get("/admin/proxies/providers").json()["items"]) == 1


def test_a_proxy_takes_its_providers_address(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM).json()
    made = admin.post("/admin/proxies/pool", {"provider_id": provider["id"], "proxy_type": "rotating", "max_chips": 50})
    assert made.status_code == 201, made.text
    proxy = made.json()
    assert proxy["proxy_url"] == "http://127.0.0.1:3120"
    assert (proxy["region"], proxy["max_chips"], proxy["chips"], proxy["healthy"]) == ("BR", 50, 0, True)
    assert proxy["has_credentials"] is False


def test_proxies_at_the_providers_address_follow_it(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM).json()["id"]
    bodies: list[dict[str, Any]] = [
        {"proxy_type": "rotating"},
        {"proxy_type": "static", "proxy_url": "http://u:p@127.0.0.1:3120"},
        {"proxy_type": "static", "proxy_url": "http://127.0.0.9:3120"},
    ]
    made = [admin.post("/admin/proxies/pool", body | {"provider_id": provider}).json()["id"] for body in bodies]
    admin.put(f"/admin/proxies/providers/{provider}", {"port": 3121, "protocol": "socks5"})
    urls = [admin.get(f"/admin/proxies/pool/{ident}").json()["proxy_url"] for ident in made]
    assert urls == ["socks5://127.0.0.1:3121", "http://127.0.0.1:3120", "http://127.0.0.9:3120"]


def test_a_template_keeps_the_chips_of_a_rotating_proxy_apart(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM).json()["id"]
    change = {"username_template": "{username}"}
    assert admin.put(f"/admin/proxies/providers/{provider}", change).status_code == 200
    admin.put(f"/admin/proxies/providers/{provider}", {"username_template": CUSTOM["username_template"]})
    admin.post("/admin/proxies/pool", {"provider_id": provider, "proxy_type": "rotating"})
    found = refused(admin.put(f"/admin/proxies/providers/{provider}", change), 422, "invalid_input")
    assert set(found["details"]["fields"]) == {"username_template"}
    kept = admin.get(f"/admin/proxies/providers/{provider}").json()
    assert kept["username_template"] == CUSTOM["username_template"]


def test_a_static_proxy_keeps_its_login_to_itself(admin: Caller, vault: Vault) -> None:
    provider = admin.post("/admin/proxies/providers", {"name": "List", "preset": "static", "cost_per_gb": 0}).json()
    body = {
        "provider_id": provider["id"],
        "proxy_type": "static",
        "proxy_url": "http://acme:s3cret-pa55@127.0.0.9:8000",
    }
    made = admin.post("/admin/proxies/pool", body)
    assert made.status_code == 201, made.text
    assert made.json()["proxy_url"] == "http://127.0.0.9:8000"
    assert made.json()["has_credentials"] is True
    assert made.json()["max_chips"] == 1
    assert not any(secret in made.text for secret in SECRETS)
    with transaction() as db:
        proxy = db.scalars(select(Proxy)).one()
    assert vault.open(proxy.credentials) == {"username": "acme", "password": "s3cret-pa55"}
    admin.put(f"/admin/proxies/pool/{proxy.id}", {"is_active": False, "region": "SP"})
    with transaction() as db:
        after = db.scalars(select(Proxy)).one()
    assert vault.open(after.credentials) == {"username": "acme", "password": "s3cret-pa55"}
    assert (after.is_active, after.region) == (False, "SP")


def test_a_pasted_list_is_read_line_by_line(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", {"name": "List", "preset": "static", "cost_per_gb": 0}).json()
    text_of_list = "127.0.0.2:8000:u:p\nsocks5://u:p@127.0.0.3:1080\nnonsense\n127.0.0.2:8000:u:p\n"
    answer = admin.post("/admin/proxies/pool/import", {"provider_id": provider["id"], "text": text_of_list})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["created"], [line["number"] for line in told["bad_lines"]], told["duplicates"]) == (2, [3], [4])
    assert (told["existing"], told["skipped"]) == ([], 1)
    urls = {proxy["proxy_url"] for proxy in admin.get("/admin/proxies/pool").json()["items"]}
    assert urls == {"http://127.0.0.2:8000", "socks5://127.0.0.3:1080"}


def test_a_list_that_is_pasted_again_adds_only_what_is_new(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", {"name": "List", "preset": "static", "cost_per_gb": 0}).json()
    lines = [f"127.0.{number // 250}.{number % 250 + 1}:8000:u:p" for number in range(300)]
    where = "/admin/proxies/pool/import"
    first = admin.post(where, {"provider_id": provider["id"], "text": "\n".join(lines)}).json()
    assert (first["created"], first["skipped"], first["bad_lines"]) == (300, 0, [])
    again = "\n".join([lines[0], "socks5://u:p@127.0.0.2:8000", "127.0.9.9:8000:u:p", "127.0.0.1:8000:other:p", "x"])
    second = admin.post(where, {"provider_id": provider["id"], "text": again}).json()
    assert (second["created"], second["existing"], second["skipped"]) == (2, [1, 2], 2)
    assert [line["number"] for line in second["bad_lines"]] == [5]


def test_private_lines_of_a_list_are_left_out_by_number(admin: Caller) -> None:
    app = create_app(config(allow_private_upstreams=False))
    provider = admin.post("/admin/proxies/providers", {"name": "List", "preset": "static", "cost_per_gb": 0}).json()
    body = {"provider_id": provider["id"], "text": "10.0.0.1:80:u:p\nproxy.example:80:u:p\nlocalhost:80"}
    told = new_client(app).post("/api/v1/admin/proxies/pool/import", json=body, headers=admin.headers).json()
    assert (told["created"], [line["number"] for line in told["bad_lines"]]) == (1, [1, 3])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"proxy_type": "magic"}, "proxy_type"),
        ({"proxy_type": None}, "proxy_type"),
        ({"proxy_url": "ftp://127.0.0.1:1"}, "proxy_url"),
        ({"proxy_url": "http://127.0.0.1"}, "proxy_url"),
        ({"proxy_url": "http://127.0.0.1:99999"}, "proxy_url"),
        ({"proxy_url": "#"}, "proxy_url"),
        ({"max_chips": 0}, "max_chips"),
        ({"max_chips": 2**40}, "max_chips"),
        ({"provider_id": "not-a-uuid"}, "provider_id"),
        ({"provider_id": str(new_id())}, "provider_id"),
        ({"proxy_url": "http://u:p@127.0.0.1:80"}, "proxy_type"),  # a rotating one with a login of its own
    ],
)
def test_a_bad_proxy_is_refused_by_field(admin: Caller, change: dict[str, Any], field: str) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM).json()
    body = {"provider_id": provider["id"], "proxy_type": "rotating"} | change
    found = refused(admin.post("/admin/proxies/pool", body), 422, "invalid_input")
    assert list(found["details"]["fields"]) == [field]


def test_chips_that_could_not_be_told_apart_are_refused(admin: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM | {"username_template": "{username}"}).json()
    answer = admin.post("/admin/proxies/pool", {"provider_id": provider["id"], "proxy_type": "rotating"})
    assert "proxy_type" in refused(answer, 422, "invalid_input")["details"]["fields"]


def test_what_is_in_use_is_deleted_only_by_force(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    chip = make_chip(owner.user, alias="busy")
    for path, code in ((f"providers/{pool[0].id}", "provider_in_use"), (f"pool/{pool[1].id}", "proxy_in_use")):
        found = refused(admin.delete(f"/admin/proxies/{path}"), 409, code)
        assert found["details"] == {"count": 1, "chips": [{"id": str(chip.chip_id), "alias": "busy"}]}
    other = admin.post("/admin/proxies/pool", {"provider_id": str(pool[0].id), "proxy_type": "rotating"}).json()
    moved = admin.delete(f"/admin/proxies/pool/{pool[1].id}", params={"force": "true"})
    assert moved.json() == {"deleted": True, "moved_chips": 1}
    assert admin.get("/admin/chips", params={"proxy_id": other["id"]}).json()["items"][0]["id"] == str(chip.chip_id)
    assert admin.delete(f"/admin/proxies/providers/{pool[0].id}", params={"force": "true"}).json()["moved_chips"] == 1
    waiting = owner.get(f"/chips/{chip.chip_id}").json()
    assert (waiting["status"], waiting["proxy"]) == ("waiting_proxy", None)
    refused(admin.get(f"/admin/proxies/providers/{pool[0].id}"), 404, "not_found")
    assert admin.get("/admin/proxies/pool").json()["items"] == []


def test_a_chip_is_forced_onto_a_proxy(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    chip = make_chip(owner.user)
    body = {"provider_id": str(pool[0].id), "proxy_type": "static", "proxy_url": "http://u:p@127.0.0.5:80"}
    other = admin.post("/admin/proxies/pool", body).json()
    forced = admin.post(f"/admin/chips/{chip.chip_id}/assignment", {"proxy_id": other["id"]})
    assert forced.json()["proxy"]["proxy_type"] == "static"
    assert forced.json()["owner"]["id"] == owner.id
    second = make_chip(owner.user)
    refused(admin.post(f"/admin/chips/{second.chip_id}/assignment", {"proxy_id": other["id"]}), 409, "proxy_full")
    refused(admin.post(f"/admin/chips/{second.chip_id}/assignment", {"proxy_id": str(new_id())}), 404, "not_found")


def test_the_short_paths_serve_the_same(app: FastAPI, admin: Caller) -> None:
    client = new_client(app)
    made = client.post("/admin/proxies/providers", json=CUSTOM, headers=admin.headers)
    assert made.status_code == 201
    ident = made.json()["id"]
    pool = client.post(
        "/admin/proxies/pool", json={"provider_id": ident, "proxy_type": "rotating"}, headers=admin.headers
    )
    assert pool.status_code == 201
    changed = client.put(f"/admin/proxies/pool/{pool.json()['id']}", json={"max_chips": 3}, headers=admin.headers)
    assert changed.json()["max_chips"] == 3
    for path in ("providers", "pool", "stats/dashboard"):
        short = client.get(f"/admin/proxies/{path}", headers=admin.headers)
        assert short.status_code == 200
        long = admin.get(f"/admin/proxies/{path}").json()
        assert set(short.json()) == set(long)
    assert (
        client.put(f"/admin/proxies/providers/{ident}", json={"priority": 9}, headers=admin.headers).status_code == 200
    )
    assert client.delete(f"/admin/proxies/pool/{pool.json()['id']}", headers=admin.headers).status_code == 200
    assert client.delete(f"/admin/proxies/providers/{ident}", headers=admin.headers).status_code == 200


def test_the_dashboard_counts_what_there_is(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    make_chip(owner.user)
    figures = admin.get("/admin/proxies/stats/dashboard").json()
    assert (figures["providers_total"], figures["proxies_total"], figures["proxies_healthy"]) == (1, 1, 1)
    assert (figures["chips_total"], figures["chips_assigned"]) == (1, 1)
    assert figures["by_provider"][0]["name"] == pool[0].name
    assert (figures["bytes_month"], Decimal(figures["cost_month"])) == (0, 0)


def test_a_test_of_a_proxy_that_is_not_there_says_so(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    admin.put(f"/admin/proxies/providers/{pool[0].id}", {"port": 1})
    by_provider = admin.post(f"/admin/proxies/providers/{pool[0].id}/test")
    assert by_provider.status_code == 200
    told = by_provider.json()
    assert set(told) >= {"success", "exit_ip", "country", "latency_ms", "error"}
    assert told["diagnosis"] == "proxy_down"
    assert told["success"] is False
    assert told["error"] == "The proxy does not accept connections."
    admin.put(f"/admin/proxies/pool/{pool[1].id}", {"proxy_url": "http://127.0.0.1:1"})
    assert admin.post(f"/admin/proxies/pool/{pool[1].id}/test").json()["success"] is False
    seen = admin.get(f"/admin/proxies/pool/{pool[1].id}").json()
    assert seen["health_score"] < 100
    assert seen["last_error"] == "The proxy does not accept connections."


def test_a_test_without_a_page_sees_a_refused_login(admin: Caller) -> None:
    with SimulatedProvider() as vendor:
        body = CUSTOM | {"host": vendor.host, "port": vendor.port, "username": "demo", "password": "wrong"}
        ident = admin.post("/admin/proxies/providers", body).json()["id"]
        told = admin.post(f"/admin/proxies/providers/{ident}/test").json()
        assert (told["success"], told["error"]) == (False, "The provider refused the username or password.")
        admin.put(f"/admin/proxies/providers/{ident}", {"password": "demo-password"})
        told = admin.post(f"/admin/proxies/providers/{ident}/test").json()
        assert (told["success"], told["exit_ip"], told["error"]) == (True, None, None)


def test_every_change_is_in_the_audit_log(admin: Caller, owner: Caller) -> None:
    provider = admin.post("/admin/proxies/providers", CUSTOM).json()
    admin.put(f"/admin/proxies/providers/{provider['id']}", {"password": "another-secret"})
    proxy = admin.post("/admin/proxies/pool", {"provider_id": provider["id"], "proxy_type": "rotating"}).json()
    admin.put(f"/admin/proxies/pool/{proxy['id']}", {"max_chips": 3})
    chip = make_chip(owner.user)
    admin.post(f"/admin/chips/{chip.chip_id}/assignment", {"proxy_id": proxy["id"]})
    admin.delete(f"/admin/proxies/pool/{proxy['id']}", params={"force": "true"})
    admin.delete(f"/admin/proxies/providers/{provider['id']}", params={"force": "true"})
    log = admin.get("/admin/audit-log").json()["items"]
    assert [entry["action"] for entry in reversed(log)] == [
        "provider.create", "provider.update", "proxy.create", "proxy.update", "chip.force_proxy", "proxy.delete",
        "provider.delete",
    ]  # fmt: skip
    assert {entry["actor_email"] for entry in log} == {admin.user.email}
    one = admin.get("/admin/audit-log", params={"action": "provider.update"}).json()["items"]
    assert one[0]["data"] == {"changed": ["credentials"]}
