"""The customer's months and clock: what is told, taken along, and shown in which zone."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from fastapi import FastAPI

from tests.e2e.seeding import Meter, make_account, new_chip, ready_pool
from tests.web.page_setup import part, rows, text_of, visitor
from whago.domain.actions.chips import delete_chip
from whago.domain.models import User
from whago.kit import clock
from whago.kit.crypto import Vault


@pytest.fixture
def maria(app: FastAPI, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business", name="Maria Duarte", email="maria@example.com")


def test_the_months_and_their_chips_are_told_and_can_be_taken_along(app: FastAPI, maria: User) -> None:
    meter = Meter.start()
    first, second = new_chip(maria, "Suporte").chip_id, new_chip(maria, "=HYPERLINK(1)").chip_id
    now = clock.now()
    before = (now.replace(day=1) - timedelta(days=3)).replace(hour=15)
    meter.move(first, 300_000_001)
    meter.move(second, 100_000_000)
    meter.move(first, 50_000_000, at=before)
    client = visitor(app, maria, "en")
    html = client.get("/usage").text
    told = rows(html)
    assert "Suporte" in told[0]
    assert "75% 300 MB R$7.50" in told[0]
    assert "24.9% 100 MB R$2.50" in told[1]
    past = client.get(f"/usage?month={before:%Y-%m}").text
    assert "50 MB · R$1.25" in text_of(past)
    assert "data-live" not in re.search(r'<div class="stack" id="usage"[^>]*>', past)[0]  # type: ignore[index]
    file = client.get(f"/usage/{now:%Y-%m}.csv")
    assert file.headers["Content-Type"].startswith("text/csv")
    assert f"whago-{now:%Y-%m}.csv" in file.headers["Content-Disposition"]
    lines = list(csv.reader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert lines[0] == ["Month", "chip_id", "Chip", "bytes", "GB", "Cost (BRL)"]
    assert lines[1] == [f"{now:%Y-%m}", str(first), "Suporte", "300000001", "0.300000001", "7.500000025"]
    assert lines[2][2:] == ["'=HYPERLINK(1)", "100000000", "0.1", "2.50"]
    assert len(lines) == 3
    assert client.get("/usage/2026-13.csv").status_code == 404
    assert "Suporte" not in visitor(app, make_account("business")).get("/usage").text


def test_a_deleted_chip_stays_on_the_bill(app: FastAPI, maria: User) -> None:
    chip = new_chip(maria, "Antigo").chip_id
    Meter.start().move(chip, 5_000_000)
    delete_chip(maria.id, chip, now=clock.now())
    html = visitor(app, maria, "en").get("/usage").text
    assert "Antigo deleted" in rows(html)[0]
    assert f'href="/chips/{chip}"' not in html


def test_the_time_zone_of_the_settings_counts_before_the_browsers(app: FastAPI, maria: User) -> None:
    client = visitor(app, maria, "en")
    client.cookies.set("whago_tz", "Asia/Tokyo")
    assert "12:00" in text_of(part(client, "/dashboard/usage").text)  # 03:00 UTC is noon in Tokyo
    token = client.cookies["whago_csrf"]
    path, headers = "/api/v1/auth/me", {"X-CSRF-Token": token}
    answer = client.patch(path, json={"time_zone": "Europe/Paris"}, headers=headers)
    assert answer.json()["time_zone"] == "Europe/Paris"
    assert "4:00" in text_of(part(client, "/dashboard/usage").text)
    assert client.patch(path, json={"time_zone": "Mars/Phobos"}, headers=headers).status_code == 422
    assert client.patch(path, json={"name": "M"}, headers=headers).json()["time_zone"] == "Europe/Paris"
    assert client.patch(path, json={"time_zone": None}, headers=headers).json()["time_zone"] is None
