"""What a vendor says that we used: one interface over five usage APIs.

Vendors tell one of two things: bytes per day, or a counter of the whole account (used this month, or left). Answers are
bytes here; ``resolution_bytes`` is the step in which the vendor counts, below which a difference means nothing.

=============  ===========================================================  ===================================
smartproxy     GET /pub/user-usage-flow/total (app_key)                     KB per day, at most 5 minutes late
brightdata     GET /zone/bw (Bearer)                                        bytes per day: ``bw_sum``
webshare       GET /api/v2/stats/aggregate/ (Token), one call a day         bytes, kept by the hour
oxylabs        POST /v1/login (Basic), GET /v1/users/{id}/client-stats      GB used this month
iproyal        GET /v1/me (Bearer)                                          GB left
=============  ===========================================================  ===================================

Sources: the vendors' API pages. Numbers are read as decimals, never as floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import httpx

from whago.kit.addresses import AddressRefused, is_web_port, resolve

GB: Final = 10**9
KIB: Final = 1024
UTC: Final = ZoneInfo("UTC")
CALL_S: Final = 20.0  # usage APIs add up days while one waits
ANSWER_BYTES_MAX: Final = 2_000_000  # a year of days has a few kilobytes
DAYS_MAX: Final = 62  # per call: two months

NEEDS_KEY: Final = "The usage API needs its key: it is asked for with the provider's login."
NEEDS_ZONE: Final = "The usage API needs the name of the zone."
UNREACHABLE: Final = "The vendor's usage API cannot be reached."
NEEDS_USER: Final = "The usage API needs the provider's user name and password."

Problem = Literal["refused", "unreachable", "strange", "incomplete"]


class UsageApiFailed(Exception):
    """``problem``: refused (the key), unreachable, strange (an answer in an unknown form), incomplete (a field of ours
    is missing). The message is a sentence without a secret."""

    def __init__(self, problem: Problem, sentence: str) -> None:
        super().__init__(sentence)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Account:
    """``name``: the vendor's word for what is ours: sub-account, zone or plan. ``api_url``: not the usual address."""

    preset: str
    username: str = ""
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    name: str | None = None
    api_url: str | None = None
    tz: ZoneInfo = UTC


@dataclass(frozen=True, slots=True)
class Counter:
    """A running total of the account. used: grows, may begin anew with a month; left: shrinks until more is bought."""

    kind: Literal["used", "left"]
    counted_bytes: int


@dataclass(frozen=True, slots=True)
class VendorUsage:
    """``days``: each day asked for, 0 where the vendor names none; None where it only has a counter."""

    days: Mapping[date, int] | None = None
    counter: Counter | None = None
    balance_bytes: int | None = None
    resolution_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Vendor:
    """``lag_min``: how late its figures are complete. ``has_days``: whether it tells bytes per day."""

    base_url: str
    fetch: Callable[[_Calls, Account, date, date], VendorUsage]
    lag_min: int
    has_days: bool


def fetch_usage(
    account: Account, first: date, last: date, *, allow_private: bool, timeout_s: float = CALL_S
) -> VendorUsage:
    """What the vendor knows of the days from ``first`` to ``last`` (of its own zone). Raises UsageApiFailed."""
    vendor = VENDORS.get(account.preset)
    if vendor is None:
        raise UsageApiFailed("incomplete", "This vendor has no usage API that we know.")
    base = (account.api_url or vendor.base_url).rstrip("/")
    addresses = _checked_addresses(base, allow_private=allow_private)
    last = min(last, first + timedelta(days=DAYS_MAX - 1))
    with httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False) as client:
        return vendor.fetch(_Calls(client, base, addresses), account, first, last)


class _Calls:
    """JSON over HTTP with every failure turned into UsageApiFailed.

    Dials the addresses that were checked, under the name (Host header, TLS certificate): it is not resolved again.
    """

    def __init__(self, client: httpx.Client, base: str, addresses: Sequence[str]) -> None:
        self._client = client
        self._base = httpx.URL(base)
        self._addresses = addresses

    def get(self, path: str, params: Mapping[str, str] | None = None, authorization: str | None = None) -> Any:
        headers = {"Authorization": authorization} if authorization else {}
        return self._answer("GET", path, params=dict(params or {}), headers=headers)

    def post(self, path: str, basic: tuple[str, str]) -> Any:
        return self._answer("POST", path, headers={}, auth=basic)

    def _answer(self, method: str, path: str, *, headers: dict[str, str], **options: Any) -> Any:
        named = headers | {"Host": self._base.netloc.decode("ascii")}
        for address in self._addresses:
            url = self._base.copy_with(host=address, path=self._base.path.rstrip("/") + path)
            known_as = {"sni_hostname": self._base.host}
            try:
                with self._client.stream(method, url, headers=named, extensions=known_as, **options) as response:
                    return _json_of(response)
            except httpx.ConnectError:
                continue  # the next one of the same name may answer
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise UsageApiFailed("unreachable", UNREACHABLE) from error
        raise UsageApiFailed("unreachable", UNREACHABLE)


def _json_of(response: httpx.Response) -> Any:
    if response.status_code in (401, 403):
        raise UsageApiFailed("refused", "The vendor's usage API refused the key.")
    if response.status_code != 200:
        raise UsageApiFailed("unreachable", "The vendor's usage API answered with an error.")
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            raise UsageApiFailed("strange", "The vendor's usage API answered far too much.")
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise UsageApiFailed("strange", "The vendor's usage API answered no JSON.") from error


def _smartproxy(calls: _Calls, account: Account, first: date, last: date) -> VendorUsage:
    """Its HTTP status is 200 for errors too; the body's ``code`` tells."""
    params = {
        "app_key": _needed(account.api_key, NEEDS_KEY),
        "start_time": f"{first:%Y-%m-%d} 00:00:00",
        "end_time": f"{last + timedelta(days=1):%Y-%m-%d} 00:00:00",
        "username": account.name or account.username,
    }
    answer = _dict(calls.get("/pub/user-usage-flow/total", params))
    if answer.get("code") != 200:
        raise UsageApiFailed("refused", "The vendor's usage API refused the key or the account.")
    days = dict.fromkeys(_days(first, last), 0)
    for entry in _list(_dict(answer.get("data")).get("list")):
        day = _day(_dict(entry).get("day"))
        if day in days:
            days[day] += int(_number(entry.get("flow")) * KIB)
    return VendorUsage(days=days, resolution_bytes=KIB)


def _brightdata(calls: _Calls, account: Account, first: date, last: date) -> VendorUsage:
    """The arrays have one place per day, from the answer's ``from`` on."""
    zone = _needed(account.name or account.username.partition("-zone-")[2], NEEDS_ZONE)
    params = {"zone": zone, "from": f"{first}T00:00:00", "to": f"{last + timedelta(days=1)}T00:00:00"}
    authorization = f"Bearer {_needed(account.api_key, NEEDS_KEY)}"
    days = dict.fromkeys(_days(first, last), 0)
    for customer in _dict(calls.get("/zone/bw", params, authorization)).values():
        if not isinstance(customer, dict) or "data" not in customer:
            continue
        begins = _day(customer.get("from", str(first)))
        found = _dict(customer["data"])
        for series in [found[zone]] if zone in found else list(found.values()):
            for place, moved in enumerate(_list(_dict(series).get("bw_sum"))):
                if (day := begins + timedelta(days=place)) in days:
                    days[day] += int(_number(moved))
    return VendorUsage(days=days)


def _webshare(calls: _Calls, account: Account, first: date, last: date) -> VendorUsage:
    """Hours are stamped with their beginning, so the last second of the day closes it."""
    authorization = f"Token {_needed(account.api_key, NEEDS_KEY)}"
    days: dict[date, int] = {}
    for day in _days(first, last):
        begins = datetime(day.year, day.month, day.day, tzinfo=account.tz)
        after = day + timedelta(days=1)
        ends = datetime(after.year, after.month, after.day, tzinfo=account.tz) - timedelta(seconds=1)
        params = {"timestamp__gte": begins.isoformat(), "timestamp__lte": ends.isoformat()}
        if account.name:
            params["plan_id"] = account.name
        answer = _dict(calls.get("/api/v2/stats/aggregate/", params, authorization))
        days[day] = int(_number(answer.get("bandwidth_total")))
    return VendorUsage(days=days)


def _oxylabs(calls: _Calls, account: Account, _first: date, _last: date) -> VendorUsage:
    """Its own sign-in; the user's login is that of the proxies."""
    login = _dict(calls.post("/v1/login", (_needed(account.username, NEEDS_USER), account.password)))
    token, user_id = login.get("token"), login.get("user_id")
    if not isinstance(token, str) or not isinstance(user_id, str):
        raise UsageApiFailed("strange", "The vendor's usage API did not answer the sign-in as documented.")
    stats = _dict(calls.get(f"/v1/users/{quote(user_id, safe='')}/client-stats", authorization=f"Bearer {token}"))
    used = _number(stats.get("traffic"))
    limit = stats.get("traffic_limit")
    left = max(0, int((_number(limit) - used) * GB)) if limit is not None else None
    return VendorUsage(counter=Counter("used", int(used * GB)), balance_bytes=left, resolution_bytes=_step(used))


def _iproyal(calls: _Calls, account: Account, _first: date, _last: date) -> VendorUsage:
    authorization = f"Bearer {_needed(account.api_key, NEEDS_KEY)}"
    left = _number(_dict(calls.get("/v1/me", authorization=authorization)).get("available_traffic"))
    counted = int(left * GB)
    return VendorUsage(counter=Counter("left", counted), balance_bytes=counted, resolution_bytes=_step(left))


VENDORS: Final[Mapping[str, Vendor]] = MappingProxyType(
    {
        "smartproxy": Vendor("https://api.smartproxy.net", _smartproxy, lag_min=5, has_days=True),
        "brightdata": Vendor("https://api.brightdata.com", _brightdata, lag_min=120, has_days=True),
        "webshare": Vendor("https://proxy.webshare.io", _webshare, lag_min=90, has_days=True),
        "oxylabs": Vendor("https://residential-api.oxylabs.io", _oxylabs, lag_min=60, has_days=False),
        "iproyal": Vendor("https://resi-api.iproyal.com", _iproyal, lag_min=15, has_days=False),
    }
)


def _checked_addresses(base: str, *, allow_private: bool) -> Sequence[str]:
    """Where the usage API is. An address that an administrator typed must not lead into our own network."""
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageApiFailed("incomplete", "The address of the usage API is not an http or https URL.")
    port = url.port or (443 if url.scheme == "https" else 80)
    if not is_web_port(port):
        raise UsageApiFailed("incomplete", "The port of the usage API is not one of a web server.")
    try:
        return resolve(url.hostname, port, allow_private=allow_private, timeout_s=CALL_S)
    except AddressRefused as refused:
        raise UsageApiFailed("unreachable", "The address of the usage API is private or does not exist.") from refused
    except TimeoutError as late:
        raise UsageApiFailed("unreachable", "The name of the usage API was not resolved in time.") from late


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]


def _needed(value: str, sentence: str) -> str:
    if not value:
        raise UsageApiFailed("incomplete", sentence)
    return value


def _step(shown: Decimal) -> int:
    """The value of the last decimal that the vendor shows, in bytes."""
    exponent = shown.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return int(GB / 10 ** min(places, 9)) or 1


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageApiFailed("strange", "The vendor's usage API answered in an unknown form.")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UsageApiFailed("strange", "The vendor's usage API answered in an unknown form.")
    return value


def _number(value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite() or number < 0:
        raise UsageApiFailed("strange", "The vendor's usage API answered something that is no number of bytes.")
    return number


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError as error:
        raise UsageApiFailed("strange", "The vendor's usage API answered something that is no day.") from error
