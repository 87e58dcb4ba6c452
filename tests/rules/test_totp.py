"""Codes of authenticator apps: the vectors of RFC 6238, the steps beside, and never twice."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from whago.domain.rules.totp import (
    NEVER,
    PERIOD_S,
    accepted_step,
    code_at,
    provisioning_uri,
    step_at,
    typed,
)

SECRET = base64.b32encode(b"12345678901234567890").decode()  # RFC 6238 appendix B
MOMENT = datetime(2026, 11, 15, 15, 0, 10, tzinfo=UTC)
STEP = step_at(MOMENT)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")],
)
def test_it_makes_the_codes_of_the_rfc(seconds: int, code: str) -> None:
    assert code_at(SECRET, step_at(datetime.fromtimestamp(seconds, UTC))) == code


@pytest.mark.parametrize("drift", [-1, 0, 1])
def test_a_clock_that_is_half_a_minute_off_is_good_enough(drift: int) -> None:
    assert accepted_step(SECRET, code_at(SECRET, STEP + drift), now=MOMENT, last_step=NEVER) == STEP + drift


@pytest.mark.parametrize("drift", [-3, -2, 2, 3])
def test_a_clock_that_is_more_off_is_not(drift: int) -> None:
    assert accepted_step(SECRET, code_at(SECRET, STEP + drift), now=MOMENT, last_step=NEVER) is None


def test_a_step_counts_once_and_none_before_it_counts_any_more() -> None:
    code = code_at(SECRET, STEP)
    used = accepted_step(SECRET, code, now=MOMENT, last_step=NEVER)
    assert used == STEP
    assert accepted_step(SECRET, code, now=MOMENT, last_step=used) is None
    assert accepted_step(SECRET, code_at(SECRET, STEP - 1), now=MOMENT, last_step=used) is None
    later = MOMENT + timedelta(seconds=PERIOD_S)
    assert accepted_step(SECRET, code, now=later, last_step=used) is None
    assert accepted_step(SECRET, code_at(SECRET, STEP + 1), now=later, last_step=used) == STEP + 1


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", "\ud800" * 6, "-12345"])
def test_what_is_no_code_is_nothing(code: str) -> None:
    assert accepted_step(SECRET, code, now=MOMENT, last_step=NEVER) is None


def test_people_may_type_blanks_hyphens_and_small_letters() -> None:
    assert typed(" 123 456 ") == "123456"
    assert typed("abcde-fgh23") == "ABCDEFGH23"


def test_the_address_names_account_and_issuer() -> None:
    uri = provisioning_uri(SECRET, "ana+x@whago.example")
    assert uri.startswith("otpauth://totp/WHAGO:ana%2Bx%40whago.example?")
    assert f"secret={SECRET}" in uri
    assert "issuer=WHAGO" in uri
