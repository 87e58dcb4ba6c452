"""Health, draining, weights and probes as administrators see and set them; and the daily limit of "trocar proxy"."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.factories import make_chip, make_provider, make_proxy
from tests.web.api_setup import Caller, config, refused, sign_in
from tests.web.page_setup import INLINE, part, visitor
from whago.domain.actions.house import record_house_traffic
from whago.domain.actions.pool_health import Attempt, record_probe
from whago.domain.models import Assignment, AuditEntry, Provider, Proxy
from whago.domain.rules.health import Blame
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.web.app import create_app

DEAD = Attempt(success=False, error="No exit.", diagnosis="no_exit", speaks_against=Blame.PROXY)
BROKE = Attempt(success=False, error="Empty.", diagnosis="balance_empty", speaks_against=Blame.ACCOUNT)


def execute(sql: str, **values: Any) -> None:
    with transaction() as db:
        db.execute(text(sql), values)


def eject(proxy: Proxy) -> None:
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=clock.now())


def test_every_term_of_a_score_is_explained(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, proxy = pool
    for latency in (1000, 1000):
        make_proxy(provider, latency_ms=latency)
    execute(
        "UPDATE proxies SET latency_ms = 2100, bad_weight = 1, ok_weight = 7, weighed_at = :now, ip_changes = 2"
        " WHERE id = :id",
        id=proxy.id, now=clock.now(),
    )  # fmt: skip
    told = admin.get(f"/admin/proxies/pool/{proxy.id}/health").json()
    terms = {one["code"]: (one["points"], one["text"]) for one in told["terms"]}
    assert terms["latency"] == (-12, "latency 2.1× the provider's median (2,100 ms against 1,000 ms)")
    assert terms["success"] == (-10, "1 of 8 recent attempts failed")
    assert terms["ip_stability"][0] == -20
    assert told["score"] == 100 - 12 - 10 - 20
    assert told["state"] == "in"
    portuguese = admin.get(f"/admin/proxies/pool/{proxy.id}/health", headers={"Accept-Language": "pt-BR"}).json()
    assert "latência 2,1× a mediana do provedor" in portuguese["terms"][1]["text"]


def test_an_ejected_proxy_says_so_everywhere(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, proxy = pool
    make_proxy(provider)
    eject(proxy)
    health = admin.get(f"/admin/proxies/pool/{proxy.id}/health").json()
    assert (health["state"], health["streak"], health["ejections"]) == ("out", 3, 1)
    assert health["ejected_until"] is not None
    row = admin.get(f"/admin/proxies/pool/{proxy.id}").json()
    assert (row["state"], row["healthy"]) == ("out", False)
    assert admin.get(f"/admin/proxies/providers/{provider.id}").json()["proxies_out"] == 1
    stats = admin.get("/admin/proxies/stats/dashboard").json()
    assert (stats["proxies_active"], stats["proxies_healthy"]) == (2, 1)
    execute("UPDATE proxies SET ejected_until = now() - interval '1 second' WHERE id = :id", id=proxy.id)
    assert admin.get(f"/admin/proxies/pool/{proxy.id}").json()["state"] == "trial"


def test_health_of_nothing_is_not_found(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    refused(admin.get(f"/admin/proxies/pool/{pool[0].id}/health"), 404, "not_found")


def test_a_provider_is_drained_and_used_again(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, _ = pool
    path = f"/admin/proxies/providers/{provider.id}"
    before = admin.get(path).json()
    assert (before["is_draining"], before["weight"]) == (False, 100)
    drained = admin.put(path, {"is_draining": True}).json()
    assert drained["is_draining"] is True
    assert drained["name"] == before["name"]
    refused(owner.post("/chips", {"alias": "a", "engine": "external"}), 503, "no_healthy_proxy")
    assert admin.get("/admin/proxies/pool").json()["items"][0]["provider_is_draining"] is True
    assert admin.put(path, {"is_draining": False}).json()["is_draining"] is False
    assert owner.post("/chips", {"alias": "a", "engine": "external"}).status_code == 201
    with transaction() as db:
        noted = db.scalars(select(AuditEntry.data).where(AuditEntry.action == "provider.update")).all()
    assert [entry["changed"] for entry in noted] == [["is_draining"], ["is_draining"]]


def test_a_proxy_is_drained_and_its_chips_stay_for_now(
    admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    _, proxy = pool
    chip = make_chip(owner.user)
    path = f"/admin/proxies/pool/{proxy.id}"
    assert admin.put(path, {"is_draining": True}).json()["is_draining"] is True
    assert admin.put(path, {"region": "sul"}).json()["is_draining"] is True, "what is not named stays"
    assert owner.get(f"/chips/{chip.chip_id}").json()["proxy"] is not None
    assert admin.get("/admin/proxies/stats/dashboard").json()["proxies_healthy"] == 0


@pytest.mark.parametrize("weight", [0, -1, 10_001, "much", 1.5])
def test_a_weight_is_a_positive_number(admin: Caller, pool: tuple[Provider, Proxy], weight: object) -> None:
    told = refused(admin.put(f"/admin/proxies/providers/{pool[0].id}", {"weight": weight}), 422, "invalid_input")
    assert "weight" in told["details"]["fields"]


def test_weights_share_new_chips_between_providers_of_one_priority(
    app: Any, admin: Caller, vault: Vault, pool: tuple[Provider, Proxy]
) -> None:
    light, _ = pool
    heavy = make_provider(vault)
    make_proxy(heavy)
    assert admin.put(f"/admin/proxies/providers/{heavy.id}", {"weight": 300}).json()["weight"] == 300
    customer = sign_in(app, plan="enterprise")
    for _ in range(8):
        make_chip(customer.user)
    with transaction() as db:
        on = list(db.scalars(select(Assignment.provider_id)))
    assert (on.count(heavy.id), on.count(light.id)) == (6, 2)


def test_trouble_of_an_account_is_told_with_its_diagnosis(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, proxy = pool
    record_probe(proxy.id, BROKE, now=clock.now())
    told = admin.get(f"/admin/proxies/providers/{provider.id}").json()
    assert told["trouble"] == "balance_empty"
    assert told["trouble_since"] is not None
    assert admin.get(f"/admin/proxies/pool/{proxy.id}").json()["healthy"] is False
    assert admin.get(f"/admin/proxies/pool/{proxy.id}/health").json()["provider_trouble"] == "balance_empty"


def test_what_probes_cost_is_on_the_dashboard(admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    zone = config().tz
    record_house_traffic(pool[0].id, "health", 4_000_000, now=clock.now(), tz=zone)
    record_house_traffic(pool[0].id, "test", 1_000_000, now=clock.now(), tz=zone)
    stats = admin.get("/admin/proxies/stats/dashboard").json()
    assert (stats["probe_bytes_month"], stats["health_probe_bytes_today"]) == (5_000_000, 4_000_000)
    assert stats["probe_cost_month"] == "0.125"
    assert stats["health_probe_budget_bytes"] == 50_000_000
    assert stats["bytes_month"] == 0, "no customer pays for it"
    assert owner.get("/user/proxy/usage").json()["bytes_used"] == 0


def test_a_customer_meets_the_daily_limit_with_a_clear_code(app: Any, pool: tuple[Provider, Proxy]) -> None:
    strict = create_app(config(rotations_per_day=2))
    customer = sign_in(strict, plan="business")
    chip = make_chip(customer.user).chip_id
    for _ in range(2):
        assert customer.post(f"/chips/{chip}/rotate-proxy").status_code == 200
    told = refused(customer.post(f"/chips/{chip}/rotate-proxy"), 429, "rotation_limit")
    assert told["details"]["limit"] == 2
    reasons = [one["assign_reason"] for one in customer.get(f"/chips/{chip}/assignments").json()["items"]]
    assert reasons == ["rotated_by_user", "rotated_by_user", "created"]


def test_an_administrator_s_force_is_recorded_and_has_no_limit(
    app: Any, admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    provider, _ = pool
    target = make_proxy(provider)
    eject(target)
    chip = make_chip(owner.user).chip_id
    for _ in range(3):
        answer = admin.post(f"/admin/chips/{chip}/assignment", {"proxy_id": str(target.id)})
        assert answer.status_code == 200, answer.text
    with transaction() as db:
        forced = db.scalars(select(AuditEntry).where(AuditEntry.action == "chip.force_proxy")).all()
        active = db.scalars(select(Assignment).where(Assignment.released_at.is_(None))).one()
    assert len(forced) == 3
    assert (active.proxy_id, active.assign_reason) == (target.id, "forced_by_admin")


def test_the_pages_show_where_a_proxy_stands_and_why(app: Any, admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, proxy = pool
    make_proxy(provider)
    browser = visitor(app, admin.user)
    assert "Esvaziar" in browser.get("/admin/proxies?tab=pool").text
    eject(proxy)
    table = part(browser, "/admin/proxies?tab=pool").text
    assert "Fora" in table
    dialog = part(browser, f"/admin/proxies/dialogs/proxy-health/{proxy.id}").text
    assert "Fora do pool" in dialog
    assert "3 de 3 tentativas recentes falharam" in dialog
    assert "-60" in dialog
    assert not INLINE.search(dialog)
    assert "1 proxy fora" in part(browser, "/admin/proxies?tab=providers").text
    record_probe(proxy.id, BROKE, now=clock.now() + timedelta(seconds=1))
    assert "Saldo zerado" in part(browser, "/admin/proxies?tab=providers").text
    assert "Nossas sondagens: 0" in browser.get("/admin/proxies?tab=stats").text


def test_the_drain_dialog_asks_and_offers_the_way_back(app: Any, admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    provider, proxy = pool
    browser = visitor(app, admin.user)
    for path, change in (
        (f"provider-drain/{provider.id}", "UPDATE proxy_providers SET is_draining = true"),
        (f"proxy-drain/{proxy.id}", "UPDATE proxies SET is_draining = true"),
    ):
        asks = part(browser, f"/admin/proxies/dialogs/{path}").text
        assert 'name="is_draining" value="true"' in asks
        execute(change)
        offers = part(browser, f"/admin/proxies/dialogs/{path}").text
        assert 'name="is_draining" value="false"' in offers
        assert not INLINE.search(asks + offers)
    assert "Esvaziando" in part(browser, "/admin/proxies?tab=pool").text
