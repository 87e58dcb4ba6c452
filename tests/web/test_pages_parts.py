"""Parts of pages that need no database: the live throughput, bands, lists' addresses, spans of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.timelines import Stretch
from whago.web.pages.bands import COLOURS, LEAST_WIDTH, WIDTH, band
from whago.web.pages.formats import Formats
from whago.web.pages.throughput import REMEMBERED, SAMPLES_MAX, SEEN_MAX_CHARS, throughput
from whago.web.pages.usage import cell, month_named

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
PT = Formats(Locale.parse("pt_BR"), ZoneInfo("America/Sao_Paulo"))
EN = Formats(Locale.parse("en"), ZoneInfo("Asia/Tokyo"))


def looks(rate: int, count: int, every_s: int = 2) -> tuple[datetime, str, int]:
    """``count`` looks at something that flows evenly; the time of the next, what is carried, the total then."""
    now, seen, total = NOW, "", 10_000_000
    for _ in range(count):
        seen = throughput(seen, now, total).seen
        now, total = now + timedelta(seconds=every_s), total + rate * every_s
    return now, seen, total


def test_the_first_look_knows_no_rate() -> None:
    first = throughput("", NOW, 5)
    assert first.per_second is None
    assert first.course == []


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_an_even_flow_has_its_rate_at_every_look(count: int) -> None:
    now, seen, total = looks(1_500, count)
    found = throughput(seen, now, total)
    assert found.per_second == 1_500
    assert set(found.course) == {1_500}
    assert len(found.course) == min(count, SAMPLES_MAX - 1)


def test_nothing_flows_when_the_total_stands() -> None:
    now, seen, total = looks(1_000, 3)
    for second in (2, 4, 6, 8):
        found = throughput(seen, now + timedelta(seconds=second), total)
        seen = found.seen
    assert found.per_second == 0


def test_what_was_seen_long_ago_does_not_count() -> None:
    now, seen, total = looks(1_000, 5)
    late = throughput(seen, now + REMEMBERED * 2, total)
    assert late.per_second is None


@given(st.text(max_size=200) | st.from_regex(r"[0-9._]{0,120}", fullmatch=True))
def test_whatever_an_address_carries_nothing_breaks(seen: str) -> None:
    found = throughput(seen, NOW, 10**12)
    assert found.per_second is None or found.per_second >= 0
    assert len(found.seen) <= SEEN_MAX_CHARS


def test_a_minute_of_looks_fits_into_an_address() -> None:
    _now, seen, _total = looks(10**12, 200)
    assert len(seen) < SEEN_MAX_CHARS


def day(number: float) -> datetime:
    return NOW + timedelta(days=number)


def test_a_band_is_to_scale() -> None:
    stretches = [Stretch("a", day(0), day(5)), Stretch("b", day(5), day(6)), Stretch("a", day(8), day(10))]
    drawn = band(stretches, begins=day(0), ends=day(10))
    assert [(one.x, one.width, one.tone) for one in drawn.segments] == [
        (0, 500, "1"),
        (500, 100, "2"),
        (800, 200, "1"),
    ]
    assert list(drawn.ticks) == [day(0), day(2.5), day(5), day(7.5), day(10)]


def test_minutes_are_still_to_be_seen_in_a_month() -> None:
    (one,) = band([Stretch("a", day(30) - timedelta(minutes=1), day(30))], begins=day(0), ends=day(30)).segments
    assert one.width == LEAST_WIDTH
    assert one.x + one.width <= WIDTH


def test_a_seventh_address_takes_the_first_colour_again() -> None:
    stretches = [Stretch(str(number), day(number), day(number + 1)) for number in range(COLOURS + 1)]
    tones = [one.tone for one in band(stretches, begins=day(0), ends=day(7)).segments]
    assert tones == ["1", "2", "3", "4", "5", "6", "1"]


def test_statuses_have_their_own_tones() -> None:
    stretches = [Stretch("connected", day(0), day(1)), Stretch("of tomorrow", day(1), day(2))]
    drawn = band(stretches, begins=day(0), ends=day(2), tones={"connected": "green"})
    assert [one.tone for one in drawn.segments] == ["green", "0"]


@pytest.mark.parametrize(
    ("length", "pt", "en"),
    [
        (timedelta(0), "0 segundo", "0 seconds"),
        (timedelta(seconds=119), "119 segundos", "119 seconds"),
        (timedelta(minutes=2), "2 minutos", "2 minutes"),
        (timedelta(hours=47, minutes=59), "47 horas", "47 hours"),
        (timedelta(days=2), "2 dias", "2 days"),
        (timedelta(days=59, hours=23), "59 dias", "59 days"),
        (timedelta(days=400), "400 dias", "400 days"),
    ],
)
def test_a_span_is_told_in_the_largest_unit_of_which_there_are_two(length: timedelta, pt: str, en: str) -> None:
    assert PT.lasts(length) == pt
    assert EN.lasts(length) == en


def test_times_are_in_the_readers_zone_with_utc_on_hover() -> None:
    assert 'title="2026-11-15 15:00:00 UTC"' in EN.time(NOW)
    assert "12:00 AM" in EN.time(NOW).replace("\N{NARROW NO-BREAK SPACE}", " ")  # midnight of the next day in Tokyo
    assert "12:00" in PT.time(NOW)
    assert PT.short_month(date(2026, 11, 1)) == "nov. 26"


@pytest.mark.parametrize("alias", ["=1+1", "+55 11", "-2", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(alias: str) -> None:
    assert cell(alias) == f"'{alias}"
    assert cell("Suporte = 1") == "Suporte = 1"


@pytest.mark.parametrize("text", ["", "2026-13", "2026-1", "2026-11-01", "november", "-026-01"])
def test_only_a_month_is_a_month(text: str) -> None:
    assert month_named(text) is None
    assert month_named("2026-11") == date(2026, 11, 1)
