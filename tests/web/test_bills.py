"""Bills, calibrations, previews and continuity as the API has them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from tests.factories import make_chip, make_provider, make_proxy
from tests.web.api_setup import Caller, refused
from whago.domain.actions.exit_ip_lives import measure_exit_ip_lives
from whago.domain.actions.exit_ips import observe_exit_ip
from whago.domain.models import Provider, Proxy
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.simulator import SimulatedProvider

BILL = "day;GB\n15/11/2026;1,5\n16/11/2026;0,25\nTotal;1,75\n"


def path(provider: Provider, *rest: str) -> str:
    return "/".join((f"/admin/proxies/providers/{provider.id}", *rest))


def test_a_bill_by_hand_is_compared_day_by_day(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    told = admin.post(path(pool[0], "bills/import"), {"text": BILL, "unit": "GB"})
    assert told.status_code == 201, told.text
    assert (told.json()["days"], told.json()["differing"], told.json()["byte_columns"]) == (2, 2, ["GB"])
    assert [row["number"] for row in told.json()["bad_rows"]] == [4]
    found = admin.get(path(pool[0], "reconciliation")).json()
    assert [(day["day"], day["vendor_bytes"], day["verdict"], day["source"]) for day in found["days"]] == [
        ("2026-11-16", 250_000_000, "differs", "csv"),
        ("2026-11-15", 1_500_000_000, "differs", "csv"),
    ]
    assert found["days"][1]["difference_cost"] == "37.50"  # nobody metered these 1.5 GB here
    assert found["billing"]["has_usage_api"] is False
    assert "provider.import_bill" in [one["action"] for one in admin.get("/admin/audit-log").json()["items"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": BILL, "unit": "TB"}, "unit"),
        ({"text": BILL, "day_column": "Tag"}, "day_column"),
        ({"text": BILL, "byte_columns": ["up"]}, "byte_columns"),
        ({}, "text"),
        ({"text": BILL, "extra": 1}, "extra"),
    ],
)
def test_a_bill_that_cannot_be_read_is_refused_by_field(
    admin: Caller, pool: tuple[Provider, Proxy], body: dict[str, Any], field: str
) -> None:
    found = refused(admin.post(path(pool[0], "bills/import"), body), 422, "invalid_input")
    assert list(found["details"]["fields"]) == [field]
    assert admin.get(path(pool[0], "reconciliation")).json()["days"] == []


def test_how_a_bill_is_read_is_kept_and_what_is_left_out_stays(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    usual = admin.get(path(pool[0], "reconciliation")).json()["billing"]
    assert (usual["usage_tz"], Decimal(usual["threshold_percent"]), usual["lag_min"]) == ("UTC", 2, None)
    body = {"usage_tz": "Asia/Shanghai", "threshold_percent": "1.5", "account": "sub1", "low_balance_gb": "2.5"}
    changed = admin.put(path(pool[0], "billing"), body)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["usage_tz"], changed.json()["low_balance_bytes"]) == ("Asia/Shanghai", 2_500_000_000)
    again = admin.put(path(pool[0], "billing"), {"lag_min": 5, "account": None}).json()
    assert (again["usage_tz"], again["lag_min"], again["account"]) == ("Asia/Shanghai", 5, None)
    assert again["low_balance_bytes"] == 2_500_000_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"usage_tz": "Brasília"}, "usage_tz"),
        ({"lag_min": -1}, "lag_min"),
        ({"threshold_percent": 0}, "threshold_percent"),
        ({"api_url": "ftp://x"}, "api_url"),
        ({"transfer_url": "https://speed.example/file"}, "transfer_url"),
        ({"low_balance_gb": -1}, "low_balance_gb"),
        ({"reconcile_from": "soon"}, "reconcile_from"),
        ({"request_overhead_bytes": 10**6}, "request_overhead_bytes"),
    ],
)
def test_bad_billing_is_refused_by_field(
    admin: Caller, pool: tuple[Provider, Proxy], change: dict[str, Any], field: str
) -> None:
    found = refused(admin.put(path(pool[0], "billing"), change), 422, "invalid_input")
    assert list(found["details"]["fields"]) == [field]


def test_a_calibration_is_begun_once_and_taken_over_only_when_it_found_something(
    admin: Caller, pool: tuple[Provider, Proxy]
) -> None:
    begun = admin.post(path(pool[0], "calibrations"))
    assert begun.status_code == 201, begun.text
    assert (begun.json()["state"], begun.json()["steps_done"]) == ("running", 0)
    refused(admin.post(path(pool[0], "calibrations")), 409, "calibration_runs")
    ident = begun.json()["id"]
    refused(admin.post(path(pool[0], f"calibrations/{ident}/apply")), 409, "calibration_refused")
    refused(admin.post(path(pool[0], f"calibrations/{new_id()}/apply")), 404, "not_found")
    with db.transaction() as tx:
        fit = (
            '{"scale": "0.931323", "bytes_per_gb": 1073741824, "overhead_bytes": 40, "is_known": true,'
            ' "residual_percent": "0.100"}'
        )
        tx.execute(text("UPDATE provider_calibrations SET state = 'done', fit = CAST(:fit AS jsonb)"), {"fit": fit})
    applied = admin.post(path(pool[0], f"calibrations/{ident}/apply"))
    assert applied.json()["applied_at"] is not None
    assert admin.get(path(pool[0])).json()["bytes_per_gb"] == 2**30
    assert admin.get(path(pool[0], "reconciliation")).json()["billing"]["request_overhead_bytes"] == 40
    with db.transaction() as tx:
        assert tx.scalar(text("SELECT count(*) FROM proxy_provider_prices")) == 2  # counts from now on


@pytest.mark.parametrize(
    ("body", "username", "password"),
    [
        ({}, "user-session-48213907", "•••"),
        ({"preset": "oxylabs", "username": "acme", "country": "br"},
         "customer-acme-cc-BR-sessid-48213907-sesstime-1440", "•••"),
        ({"preset": "iproyal", "username": "acme", "country": "br"},
         "acme", "•••_country-br_session-48213907_lifetime-168h"),
        ({"preset": "custom", "username_template": "{username}.{country}.{session}", "country": "BR"},
         "user.br.48213907", "•••"),
        ({"preset": "custom", "username_template": "{username}.{country}", "country": "BR", "country_form": "upper"},
         "user.BR", "•••"),
    ],
)  # fmt: skip
def test_an_example_chip_s_login_is_previewed_with_its_password_hidden(
    admin: Caller, body: dict[str, Any], username: str, password: str
) -> None:
    told = admin.post("/admin/proxies/providers/preview", body)
    assert told.status_code == 200, told.text
    assert (told.json()["username"], told.json()["password"]) == (username, password)
    assert told.json()["bytes"] == len(username.encode())


def test_a_preview_says_what_is_wrong_with_a_template(admin: Caller) -> None:
    where = "/admin/proxies/providers/preview"
    assert refused(admin.post(where, {"username_template": "{user}"}), 422, "unknown_placeholder")
    refused(admin.post(where, {"username_template": "{username"}), 422, "invalid_input")
    refused(admin.post(where, {"username": "x" * 250}), 422, "invalid_input")
    refused(admin.post(where, {"preset": "nobody"}), 422, "invalid_input")
    refused(admin.post(where, {"password": "s3cret"}), 422, "invalid_input")


def test_a_provider_writes_its_country_as_the_vendor_does(admin: Caller) -> None:
    body = {"name": "Oxy", "preset": "oxylabs", "username": "u", "password": "p", "country": "br", "cost_per_gb": 1}
    made = admin.post("/admin/proxies/providers", body).json()
    assert (made["country"], made["country_form"]) == ("BR", "upper")
    moved = admin.put(f"/admin/proxies/providers/{made['id']}", {"preset": "decodo"}).json()
    assert moved["country_form"] == "lower"


def test_a_provider_s_exit_ip_policy_is_kept_and_checked(admin: Caller, pool: tuple[Provider, Proxy]) -> None:
    assert admin.get(path(pool[0])).json()["exit_ip_policy"] == "alert"
    changed = admin.put(path(pool[0]), {"exit_ip_policy": "pause", "exit_ip_every_min": 15}).json()
    assert (changed["exit_ip_policy"], changed["exit_ip_every_min"]) == ("pause", 15)
    refused(admin.put(path(pool[0]), {"exit_ip_policy": "panic"}), 422, "invalid_input")
    refused(admin.put(path(pool[0]), {"exit_ip_every_min": 1}), 422, "invalid_input")


def assignment_of(chip_id: Any) -> Any:
    with db.transaction() as tx:
        return tx.scalar(text("SELECT id FROM chip_proxy_assignments WHERE chip_id = :c"), {"c": chip_id})


def test_a_paused_chip_says_so_and_its_owner_accepts_the_new_exit(
    admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    admin.put(path(pool[0]), {"exit_ip_policy": "pause"})
    chip = make_chip(owner.user)
    ident = assignment_of(chip.chip_id)
    began = clock.now() - timedelta(hours=2)
    observe_exit_ip(ident, "203.0.113.1", country="BR", asn="AS1 Um", now=began)
    observe_exit_ip(ident, "203.0.113.2", country="BR", asn="AS2 Dois", now=began + timedelta(hours=1))
    shown = owner.get(f"/chips/{chip.chip_id}").json()["proxy"]
    assert (shown["expected_exit_ip"], shown["exit_ip"]) == ("203.0.113.1", "203.0.113.2")
    assert shown["paused_at"] is not None
    band = owner.get(f"/chips/{chip.chip_id}/exit-ips").json()["items"]
    assert [(one["exit_ip"], one["country"], one["asn"], one["began"], one["is_current"]) for one in band] == [
        ("203.0.113.2", "BR", "AS2 Dois", "exit_ip_changed", True),
        ("203.0.113.1", "BR", "AS1 Um", "created", False),
    ]
    assert all(one["provider"] == pool[0].name and one["first_seen_at"] <= one["last_seen_at"] for one in band)
    freed = owner.post(f"/chips/{chip.chip_id}/accept-exit-ip")
    assert freed.json()["proxy"]["paused_at"] is None
    assert freed.json()["proxy"]["expected_exit_ip"] == "203.0.113.2"
    refused(owner.post(f"/chips/{chip.chip_id}/accept-exit-ip"), 409, "not_paused")
    assert [one["kind"] for one in owner.get("/notifications").json()["items"]].count("exit_ip_changed") == 2


def test_the_dashboard_has_continuity_and_the_house_s_account(
    admin: Caller, owner: Caller, pool: tuple[Provider, Proxy]
) -> None:
    chip = make_chip(owner.user)
    observe_exit_ip(assignment_of(chip.chip_id), "203.0.113.1", country=None, asn=None, now=clock.now())
    measure_exit_ip_lives(now=clock.now())
    (found,) = admin.get("/admin/proxies/stats/dashboard").json()["by_provider"]
    assert found["house_bytes_month"] == 0
    assert found["continuity"]["median_life_is_least"] is True
    assert found["continuity"]["changes"] == 0
    assert found["continuity"]["steady_percent"] is None  # no whole count of a day yet


DIAGNOSES = [
    ({"switch": {}}, "wrong-password", "credential_refused"),
    ({"switch": {"allow_list_denied": True}}, None, "allow_list"),
    ({"switch": {"balance_empty": True}}, None, "balance_empty"),
    ({"switch": {"no_exit_in_country": True}}, None, "no_exit"),
    ({"switch": {"port_down": True}}, None, "proxy_down"),
    ({"switch": {"garbage": True}}, None, "protocol"),
    ({"page": "http://ip.simulated.test/nowhere"}, None, "target_refused"),
]


@pytest.mark.parametrize(("fault", "password", "diagnosis"), DIAGNOSES, ids=[case[2] for case in DIAGNOSES])
def test_both_test_buttons_say_why(
    admin: Caller, vault: Vault, fault: dict[str, Any], password: str | None, diagnosis: str
) -> None:
    with SimulatedProvider() as vendor:
        login = {"username": "demo", "password": password or "demo-password"}
        page = fault.get("page", "http://ip.simulated.test/json")
        provider = make_provider(vault, port=vendor.port, credentials=login, ip_check_url=page)
        proxy = make_proxy(provider)
        vendor.switch(**fault.get("switch", {}))
        for where in (path(provider, "test"), f"/admin/proxies/pool/{proxy.id}/test"):
            told = admin.post(where).json()
            assert (told["success"], told["diagnosis"]) == (False, diagnosis), where
            assert told["error"]
            assert "demo-password" not in told["error"]


def test_a_test_that_works_tells_the_exit_and_is_on_the_house(admin: Caller, vault: Vault) -> None:
    with SimulatedProvider() as vendor:
        provider = make_provider(vault, port=vendor.port, ip_check_url="http://ip.simulated.test/json")
        make_proxy(provider)
        told = admin.post(path(provider, "test")).json()
        assert (told["success"], told["country"], told["error"], told["diagnosis"]) == (True, "BR", None, None)
        assert told["asn"].startswith("AS")
        billed = vendor.state()["totals"]["wire_total"]
    (month,) = admin.get("/admin/proxies/stats/dashboard").json()["by_provider"]
    assert month["house_bytes_month"] == billed > 0
