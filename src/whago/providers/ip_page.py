"""Reading what an ip-check page says. Every vendor has its own shape; all of them name an IP, most a country."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

NESTING_MAX: Final = 4  # decodo: {"proxy": {"ip"}, "country": {"code"}, "isp": {"asn"}}
ASN_CHARS_MAX: Final = 80  # of the column that keeps it

_IP_KEYS: Final = ("ip", "query", "ip_address", "ipaddress", "origin", "address")
_COUNTRY_KEYS: Final = ("country_code", "countrycode", "country", "code", "cc")
_ASN_KEYS: Final = ("asn", "as", "asnum", "org", "isp")
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class SeenFrom:
    """The world's view of an exit. ``country`` is ISO 3166-1 alpha-2 in upper case."""

    ip: str
    country: str | None = None
    asn: str | None = None


def read_ip_page(body: bytes) -> SeenFrom | None:
    """Understands a bare address and JSON of several shapes; None when no address is in it."""
    text = body.decode("utf-8", "replace").strip()
    try:
        page = json.loads(text)
    except (ValueError, RecursionError):
        page = text
    if not isinstance(page, dict):
        ip = _address(page)
        return SeenFrom(ip) if ip else None
    ip = next((found for value in _values(page, _IP_KEYS) if (found := _address(value))), None)
    if ip is None:
        return None
    country = next((v.upper() for v in _values(page, _COUNTRY_KEYS) if _is_country(v)), None)
    asn = next((_asn(value) for value in _values(page, _ASN_KEYS) if _asn(value)), None)
    return SeenFrom(ip, country, asn)


def _values(page: Mapping[str, Any], keys: tuple[str, ...], depth: int = NESTING_MAX) -> Iterator[Any]:
    """Values under these keys, the first key's first, outer levels before inner ones."""
    lowered = {str(key).lower(): value for key, value in page.items()}
    yield from (lowered[key] for key in keys if key in lowered)
    if depth > 1:
        for value in page.values():
            if isinstance(value, dict):
                yield from _values(value, keys, depth - 1)


def _address(value: Any) -> str | None:
    try:
        return str(ip_address(str(value).split(",")[0].strip()))
    except ValueError:
        return None


def _is_country(value: Any) -> bool:
    return isinstance(value, str) and _COUNTRY.fullmatch(value) is not None


def _asn(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not value:
        return None
    return f"AS{value}" if isinstance(value, int) else value[:ASN_CHARS_MAX]
