"""Vendors as data: what an administrator need not type. Adding one is one entry here and one golden case in the tests.

Facts come from the vendors' documentation; templates are those of ``domain.rules.dialect``. Where a vendor offers a
strict form (a lost exit is an error, never a silent new IP) it is kept beside the ordinary one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Protocol = Literal["http", "socks5"]
CountryForm = Literal["none", "lower", "upper"]

GB: Final = 10**9
GIB: Final = 2**30
DAY_MIN: Final = 1440
DIGITS: Final = "0-9"
ALPHANUMERIC: Final = "a-zA-Z0-9"


@dataclass(frozen=True, slots=True)
class Preset:
    """One vendor.

    ``port`` is HTTP's, ``socks5_port`` SOCKS5's; None where the administrator says it. ``session_charset`` is the
    inside of a character class, ``session_min`` and ``session_max`` count characters; our token of 8 digits fits all.
    ``country_form``: how the vendor writes a country: br, BR, or not at all. ``lifetime_min`` is the longest sticky
    time in minutes, None where nothing ends it. ``needs`` are the fields of the provider form that the preset cannot
    know. ``strict_…``: a lost exit is an error. ``ip_check_url`` None: the product's default page is asked.
    """

    key: str
    label: str
    host: str | None
    port: int | None
    username_template: str
    needs: tuple[str, ...]
    password_template: str = "{password}"  # noqa: S105 - a template, not a password
    socks5_port: int | None = None
    protocols: tuple[Protocol, ...] = ("http",)
    country_form: CountryForm = "none"
    session_charset: str = ALPHANUMERIC
    session_min: int = 1
    session_max: int = 32
    lifetime_min: int | None = None
    strict_username_template: str | None = None
    strict_password_template: str | None = None
    ip_check_url: str | None = None
    bytes_per_gb: int = GB
    min_bytes_per_request: int = 0
    has_usage_api: bool = False
    notes: str = ""

    def port_for(self, protocol: str) -> int | None:
        """The vendor's port of a protocol; None when the administrator has to say it."""
        return self.socks5_port if protocol == "socks5" else self.port


ACCOUNT: Final = ("username", "password")
ACCOUNT_AND_COUNTRY: Final = ("username", "password", "country")
BOTH: Final[tuple[Protocol, ...]] = ("http", "socks5")

_ALL: Final = (
    Preset(
        key="smartproxy",
        label="Smartproxy",
        host="proxy.smartproxy.net",
        port=3120,
        socks5_port=3120,
        protocols=BOTH,
        username_template="{username}-session-{session}",
        needs=ACCOUNT,
        has_usage_api=True,
        notes="The server's IP must be on the account's allow list; otherwise connections are refused with code 202.",
    ),
    Preset(
        key="decodo",
        label="Decodo",
        host="gate.decodo.com",
        port=7000,
        socks5_port=7000,
        protocols=BOTH,
        username_template="user-{username}-country-{country}-session-{session}-sessionduration-{lifetime}",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        lifetime_min=DAY_MIN,
        ip_check_url="https://ip.decodo.com/json",
        notes="An exhausted balance answers 407, as a wrong password does.",
    ),
    Preset(
        key="brightdata",
        label="Bright Data",
        host="brd.superproxy.io",
        port=33335,
        socks5_port=22228,
        protocols=BOTH,
        username_template="{username}-country-{country}-session-{session}",
        strict_username_template="{username}-country-{country}-session-{session}-const",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        ip_check_url="https://geo.brdtest.com/mygeo.json",
        has_usage_api=True,
        notes="The username is brd-customer-CUSTOMER-zone-ZONE, as the zone's page shows it.",
    ),
    Preset(
        key="oxylabs",
        label="Oxylabs",
        host="pr.oxylabs.io",
        port=7777,
        socks5_port=7777,
        protocols=BOTH,
        username_template="customer-{username}-cc-{country}-sessid-{session}-sesstime-{lifetime}",
        strict_username_template="customer-{username}-cc-{country}-sessid_oneip-{session}-sesstime-{lifetime}",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="upper",
        lifetime_min=DAY_MIN,
        ip_check_url="https://ip.oxylabs.io/location",
        has_usage_api=True,
        notes="A sticky IP is given up after 60 seconds without traffic.",
    ),
    Preset(
        key="iproyal",
        label="IPRoyal",
        host="geo.iproyal.com",
        port=12321,
        socks5_port=12321,
        protocols=BOTH,
        username_template="{username}",
        password_template="{password}_country-{country}_session-{session}_lifetime-168h",  # noqa: S106
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        session_min=8,
        session_max=8,
        lifetime_min=7 * DAY_MIN,
        has_usage_api=True,
        notes="The session and its time go into the password: 168 hours is the longest that the vendor takes.",
    ),
    Preset(
        key="soax",
        label="SOAX",
        host="proxy.soax.com",
        port=5000,
        socks5_port=5000,
        protocols=BOTH,
        username_template="package-{username}-country-{country}-sessionid-{session}-sessionlength-3600",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        lifetime_min=60,
        notes="The username is the number of the package. The vendor takes the session's length in seconds.",
    ),
    Preset(
        key="netnut",
        label="NetNut",
        host="gw.netnut.net",
        port=5959,
        username_template="{username}-res-{country}-sid-{session}",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        session_charset=DIGITS,
        session_max=8,
        lifetime_min=30,
        notes="Write stc instead of res in the template for static IPs.",
    ),
    Preset(
        key="webshare",
        label="Webshare",
        host="p.webshare.io",
        port=80,
        socks5_port=1080,
        protocols=BOTH,
        username_template="{username}-{country}-{session}",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        session_charset=DIGITS,
        has_usage_api=True,
    ),
    Preset(
        key="dataimpulse",
        label="DataImpulse",
        host="gw.dataimpulse.com",
        port=823,
        socks5_port=824,
        protocols=BOTH,
        username_template="{username}__cr.{country};sessid.{session}",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="lower",
        lifetime_min=30,
        notes="An exit that is lost is replaced silently: watch the exit IPs.",
    ),
    Preset(
        key="proxyseller",
        label="Proxy-Seller",
        host="res.proxy-seller.com",
        port=10000,
        username_template="{username}_c_{country}_s_{session}_ttl_86400s",
        needs=ACCOUNT_AND_COUNTRY,
        country_form="upper",
        lifetime_min=DAY_MIN,
        bytes_per_gb=GIB,
        notes="The vendor takes the session's length in seconds and counts 1 GB as 2^30 bytes.",
    ),
    Preset(
        key="evomi",
        label="Evomi",
        host="rp.evomi.com",
        port=1000,
        socks5_port=1002,
        protocols=BOTH,
        username_template="{username}",
        password_template="{password}_country-{country}_session-{session}_lifetime-{lifetime}",  # noqa: S106
        needs=ACCOUNT_AND_COUNTRY,
        country_form="upper",
        session_min=6,
        session_max=10,
        lifetime_min=120,
        strict_password_template="{password}_country-{country}_hardsession-{session}",  # noqa: S106
        ip_check_url="https://ip.evomi.com/s",
        min_bytes_per_request=512,
        notes="The strict form keeps one address as long as it lives; the vendor takes no time with it.",
    ),
    Preset(
        key="custom",
        label="Custom",
        host=None,
        port=None,
        protocols=BOTH,
        username_template="{username}-session-{session}",
        needs=("host", "port", *ACCOUNT),
        notes="Any HTTP or SOCKS5 proxy; the templates say how it wants its username and password.",
    ),
    Preset(
        key="static",
        label="Static list",
        host=None,
        port=None,
        protocols=BOTH,
        username_template="{username}",
        needs=(),
        notes="Addresses of your own or of an ISP, pasted into the pool: one chip each.",
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({preset.key: preset for preset in _ALL})
