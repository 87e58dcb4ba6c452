"""Machines whose clocks are ten minutes apart: what is still believed, and what is not."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from whago.bridge.events import read_event
from whago.errors import InvalidInput, WhagoError
from whago.web.security import AccessTokens, Claims

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
APART = timedelta(minutes=10)
SECRET = "a-secret-of-the-tests-0123456789"


@pytest.mark.parametrize("later", [APART, -APART], ids=["the reader is ahead", "the reader is behind"])
def test_people_stay_signed_in_between_webs_ten_minutes_apart(later: timedelta) -> None:
    claims = Claims(uuid4(), uuid4(), 0)
    tokens = AccessTokens([SECRET])
    assert tokens.read(tokens.issue(claims, NOW), NOW + later) == claims


@pytest.mark.parametrize("later", [APART, -APART])
def test_a_bridge_ten_minutes_apart_is_not_believed(later: timedelta) -> None:
    body, stamp = b"[]", str(int(NOW.timestamp()))
    signature = "v1=" + hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    signed = (SECRET, f"Bearer {SECRET}", stamp, signature, body)
    with pytest.raises(WhagoError) as refused:
        read_event(*signed, NOW + later)
    assert refused.value.code == "not_authenticated"
    with pytest.raises(InvalidInput):  # believed, and then found to be no event
        read_event(*signed, NOW)
