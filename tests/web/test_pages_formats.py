"""Numbers, money and times the way readers write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from babel import Locale

from whago.web.pages.formats import Formats, zone_of

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
PT = Formats(Locale.parse("pt_BR"), SAO_PAULO)
EN = Formats(Locale.parse("en"), SAO_PAULO)
MOMENT = datetime(2026, 11, 24, 9, 21, 5, tzinfo=UTC)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("count", "portuguese", "english"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1_000, "1 KB", "1 KB"),
        (12_345_678, "12,3 MB", "12.3 MB"),
        (999_949_999, "999,9 MB", "999.9 MB"),
        (1_234_567_890, "1,23 GB", "1.23 GB"),
        (1_234_567_890_123, "1,23 TB", "1.23 TB"),
    ],
)
def test_bytes_are_in_the_unit_that_fits(count: int, portuguese: str, english: str) -> None:
    assert plain(PT.bytes(count)) == portuguese
    assert plain(EN.bytes(count)) == english


def test_money_is_rounded_once_half_to_even() -> None:
    assert plain(PT.money(Decimal("1234.565"))) == "R$ 1.234,56"
    assert plain(PT.money(Decimal("1234.575"))) == "R$ 1.234,58"
    assert plain(EN.money(Decimal("1234.565"))) == "R$1,234.56"


@pytest.mark.parametrize(
    ("price", "text"), [("25.000000", "R$ 25,00"), ("0.125", "R$ 0,125"), ("0.000001", "R$ 0,000001"), ("0", "R$ 0,00")]
)
def test_a_price_keeps_its_decimals(price: str, text: str) -> None:
    assert plain(PT.price(Decimal(price))) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0%"), (79.56, "79,5%"), (99.99, "99,9%"), (100.0, "100%")])
def test_a_percentage_is_cut_so_that_100_means_100(value: float, text: str) -> None:
    assert PT.percent(value) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("0.100000000", "0,1"), ("100", "100"), ("1.500000000", "1,5"), ("0E-9", "0")]
)
def test_a_field_is_filled_with_what_can_be_sent_back(amount: str, text: str) -> None:
    assert PT.plain_decimal(Decimal(amount)) == text


def test_times_are_the_readers_with_utc_on_hover() -> None:
    html = plain(PT.time(MOMENT))
    assert "24/11/2026 06:21" in html
    assert 'title="2026-11-24 09:21:05 UTC"' in html
    assert 'datetime="2026-11-24T09:21:05+00:00"' in html


def test_what_was_today_is_told_by_its_age() -> None:
    assert "há 3 horas" in PT.ago(MOMENT, MOMENT + timedelta(hours=3))
    assert "3 hours ago" in EN.ago(MOMENT, MOMENT + timedelta(hours=3))
    assert "24/11/2026" in PT.ago(MOMENT, MOMENT + timedelta(days=2))
    assert "24/11/2026" in PT.ago(MOMENT, MOMENT - timedelta(hours=1))


def test_months_and_days_have_names() -> None:
    assert PT.month(date(2026, 11, 1)) == "novembro de 2026"
    assert EN.month(date(2026, 11, 1)) == "November 2026"
    assert PT.day(date(2026, 11, 24)) == "24 nov"
    assert EN.day(date(2026, 11, 24)) == "Nov 24"


def test_a_zone_that_does_not_exist_is_the_billing_zone() -> None:
    assert zone_of("Asia/Tokyo", SAO_PAULO) == ZoneInfo("Asia/Tokyo")
    for name in (None, "", "Mars/Olympus", "../../etc/passwd"):
        assert zone_of(name, SAO_PAULO) is SAO_PAULO
