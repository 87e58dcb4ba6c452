"""Five usage APIs, each answering as its documentation shows; recorded answers come from a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from whago.main.embedded import free_port
from whago.providers.billing import VENDORS, Account, Counter, UsageApiFailed, VendorUsage, fetch_usage
from whago.providers.presets import PRESETS

FIRST, LAST = date(2026, 11, 13), date(2026, 11, 15)


@dataclass
class Recorded:
    """``answers`` by path: a body, or (status, body); a list gives one after the other."""

    answers: dict[str, Any]
    url: str = ""
    asked: list[tuple[str, str, dict[str, list[str]], str]] = field(default_factory=list)


@contextmanager
def recorded(answers: dict[str, Any]) -> Iterator[Recorded]:
    tape = Recorded(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            login = self.headers.get("Authorization", "")
            tape.asked.append((self.command, url.path, parse_qs(url.query), login))
            answer = tape.answers.get(url.path, (404, {}))
            if isinstance(answer, list):
                answer = answer.pop(0)
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    tape.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield tape
    finally:
        server.shutdown()
        server.server_close()


def fetched(tape: Recorded, preset: str, **fields: Any) -> VendorUsage:
    values = {"username": "acme", "password": "s3cret", "api_key": "key-1", "api_url": tape.url} | fields
    return fetch_usage(Account(preset, **values), FIRST, LAST, allow_private=True, timeout_s=5)


def failed(tape: Recorded, preset: str, **fields: Any) -> UsageApiFailed:
    with pytest.raises(UsageApiFailed) as caught:
        fetched(tape, preset, **fields)
    assert "s3cret" not in str(caught.value)
    assert "key-1" not in str(caught.value)
    return caught.value


def test_the_presets_say_which_vendors_have_a_usage_api() -> None:
    assert {key for key, preset in PRESETS.items() if preset.has_usage_api} == set(VENDORS)
    assert set(VENDORS) == {"smartproxy", "brightdata", "oxylabs", "webshare", "iproyal"}


def test_smartproxy_tells_kilobytes_a_day() -> None:
    days = [{"day": "2026-11-13", "flow": 1234}, {"day": "2026-11-15", "flow": 1}]
    with recorded({"/pub/user-usage-flow/total": {"code": 200, "msg": "success", "data": {"list": days}}}) as tape:
        usage = fetched(tape, "smartproxy")
    assert usage.days == {FIRST: 1234 * 1024, date(2026, 11, 14): 0, LAST: 1024}
    assert usage.resolution_bytes == 1024
    ((_method, _path, query, _login),) = tape.asked
    assert query == {
        "app_key": ["key-1"],
        "start_time": ["2026-11-13 00:00:00"],
        "end_time": ["2026-11-16 00:00:00"],
        "username": ["acme"],
    }


def test_smartproxy_says_no_with_status_200() -> None:
    with recorded({"/pub/user-usage-flow/total": {"code": 3, "msg": "invalid app_key", "data": {"list": []}}}) as tape:
        assert failed(tape, "smartproxy").problem == "refused"
        assert failed(tape, "smartproxy", api_key="").problem == "incomplete"


def test_brightdata_tells_bytes_a_day_in_a_row() -> None:
    body = {
        "hl_1a2b": {
            "customer_id": "hl_1a2b",
            "from": "2026-11-13T00:00:00.000Z",
            "to": "2026-11-16T00:00:00.000Z",
            "data": {"resi1": {"bw_sum": [0, 745, 6960], "bw_dn": [0, 525, 5990], "bw_up": [0, 220, 970]}},
        }
    }
    with recorded({"/zone/bw": body}) as tape:
        usage = fetched(tape, "brightdata", username="brd-customer-hl_1a2b-zone-resi1")
        fetched(tape, "brightdata", name="resi1")
        assert failed(tape, "brightdata").problem == "incomplete"  # no zone in the user name, none said
    assert usage.days == {FIRST: 0, date(2026, 11, 14): 745, LAST: 6960}
    assert tape.asked[0][2:] == (
        {"zone": ["resi1"], "from": ["2026-11-13T00:00:00"], "to": ["2026-11-16T00:00:00"]}, "Bearer key-1",
    )  # fmt: skip
    assert tape.asked[1][2]["zone"] == ["resi1"]


def test_webshare_is_asked_for_each_day_of_its_zone() -> None:
    answers = [{"bandwidth_total": total, "requests_total": 5} for total in (5000, 0, 123456789)]
    with recorded({"/api/v2/stats/aggregate/": answers}) as tape:
        usage = fetched(tape, "webshare", tz=ZoneInfo("America/Sao_Paulo"), name="77")
    assert list((usage.days or {}).values()) == [5000, 0, 123456789]
    assert tape.asked[0][2:] == (
        {
            "timestamp__gte": ["2026-11-13T00:00:00-03:00"],
            "timestamp__lte": ["2026-11-13T23:59:59-03:00"],
            "plan_id": ["77"],
        },
        "Token key-1",
    )


def test_oxylabs_tells_what_is_used_this_month() -> None:
    answers = {
        "/v1/login": {"token": "jwt", "user_id": "u-1"},
        "/v1/users/u-1/client-stats": {"traffic": 12.345, "traffic_limit": 50, "date_from": "2026-11-01"},
    }
    with recorded(answers) as tape:
        usage = fetched(tape, "oxylabs", api_key="")
    assert usage.counter == Counter("used", 12_345_000_000)
    assert (usage.balance_bytes, usage.resolution_bytes) == (37_655_000_000, 1_000_000)
    assert [(method, login.split()[0]) for method, _path, _query, login in tape.asked] == [
        ("POST", "Basic"), ("GET", "Bearer"),
    ]  # fmt: skip


def test_iproyal_tells_what_is_left() -> None:
    body = {"available_traffic": 32.6, "subusers_count": 13, "residential_user_hash": "01H7"}
    with recorded({"/v1/me": body}) as tape:
        usage = fetched(tape, "iproyal")
    assert usage.counter == Counter("left", 32_600_000_000)
    assert (usage.balance_bytes, usage.resolution_bytes) == (32_600_000_000, 100_000_000)
    assert tape.asked[0][3] == "Bearer key-1"


PATHS = ("/pub/user-usage-flow/total", "/zone/bw", "/api/v2/stats/aggregate/", "/v1/login", "/v1/me")


@pytest.mark.parametrize("preset", sorted(VENDORS))
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, {}), "refused"),
        ((403, {}), "refused"),
        ((500, {}), "unreachable"),
        ((302, {}), "unreachable"),
        (b"<html>", "strange"),
        ((200, []), "strange"),
    ],
)
def test_a_failure_is_told_by_its_kind(preset: str, answer: Any, problem: str) -> None:
    with recorded(dict.fromkeys(PATHS, answer)) as tape:
        assert failed(tape, preset, name="resi1").problem == problem


@pytest.mark.parametrize(
    ("preset", "path", "answer"),
    [
        ("smartproxy", "/pub/user-usage-flow/total", {"code": 200, "data": {"list": [{"day": "soon", "flow": 1}]}}),
        ("smartproxy", "/pub/user-usage-flow/total", {"code": 200, "data": {"list": [{"day": "2026-11-13"}]}}),
        ("brightdata", "/zone/bw", {"hl": {"data": {"resi1": {"bw_sum": "x"}}}}),
        ("brightdata", "/zone/bw", {"hl": {"data": {"resi1": {"bw_sum": [-1]}}}}),
        ("webshare", "/api/v2/stats/aggregate/", {"bandwidth_total": True}),
        ("oxylabs", "/v1/login", {"token": "jwt"}),
        ("iproyal", "/v1/me", {"available_traffic": "lots"}),
    ],
)
def test_an_odd_answer_is_never_taken_for_bytes(preset: str, path: str, answer: Any) -> None:
    with recorded({path: answer}) as tape:
        assert failed(tape, preset, name="resi1").problem == "strange"


def test_an_address_of_our_own_network_is_refused_before_a_byte_is_sent() -> None:
    with recorded({"/v1/me": {"available_traffic": 1}}) as tape:
        account = Account("iproyal", api_key="key-1", api_url=tape.url)
        with pytest.raises(UsageApiFailed, match="private"):
            fetch_usage(account, FIRST, LAST, allow_private=False)
    assert tape.asked == []


def test_an_api_that_is_not_there_is_unreachable() -> None:
    account = Account("iproyal", api_key="k", api_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageApiFailed) as caught:
        fetch_usage(account, FIRST, LAST, allow_private=True, timeout_s=2)
    assert caught.value.problem == "unreachable"


def test_a_vendor_without_a_usage_api_is_told() -> None:
    with pytest.raises(UsageApiFailed, match="no usage API"):
        fetch_usage(Account("decodo"), FIRST, LAST, allow_private=True)
