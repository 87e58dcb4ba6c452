"""Every vendor's username and password, to the letter, as its documentation writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

import pytest

from whago.domain.rules.dialect import Login, build_login, check_template
from whago.domain.rules.sticky import provider_token
from whago.providers.presets import PRESETS, Preset

TOKEN = "48213377"

GOLDEN = {
    "smartproxy": Login(f"u-session-{TOKEN}", "p"),
    "decodo": Login(f"user-u-country-br-session-{TOKEN}-sessionduration-30", "p"),
    "brightdata": Login(f"u-country-br-session-{TOKEN}", "p"),
    "oxylabs": Login(f"customer-u-cc-BR-sessid-{TOKEN}-sesstime-30", "p"),
    "iproyal": Login("u", f"p_country-br_session-{TOKEN}_lifetime-168h"),
    "soax": Login(f"package-u-country-br-sessionid-{TOKEN}-sessionlength-3600", "p"),
    "netnut": Login(f"u-res-br-sid-{TOKEN}", "p"),
    "webshare": Login(f"u-br-{TOKEN}", "p"),
    "dataimpulse": Login(f"u__cr.br;sessid.{TOKEN}", "p"),
    "proxyseller": Login(f"u_c_BR_s_{TOKEN}_ttl_86400s", "p"),
    "evomi": Login("u", f"p_country-BR_session-{TOKEN}_lifetime-30"),
    "custom": Login(f"u-session-{TOKEN}", "p"),
    "static": Login("u", "p"),
}

ADDRESSES = {
    "smartproxy": ("proxy.smartproxy.net", 3120, 3120),
    "decodo": ("gate.decodo.com", 7000, 7000),
    "brightdata": ("brd.superproxy.io", 33335, 22228),
    "oxylabs": ("pr.oxylabs.io", 7777, 7777),
    "iproyal": ("geo.iproyal.com", 12321, 12321),
    "soax": ("proxy.soax.com", 5000, 5000),
    "netnut": ("gw.netnut.net", 5959, None),
    "webshare": ("p.webshare.io", 80, 1080),
    "dataimpulse": ("gw.dataimpulse.com", 823, 824),
    "proxyseller": ("res.proxy-seller.com", 10000, None),
    "evomi": ("rp.evomi.com", 1000, 1002),
    "custom": (None, None, None),
    "static": (None, None, None),
}

every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))


def login(preset: Preset, template: str | None = None, password_template: str | None = None) -> Login:
    return build_login(
        username_template=template or preset.username_template,
        password_template=password_template or preset.password_template,
        credentials={"username": "u", "password": "p"},
        token=TOKEN,
        country="BR",
        region=None,
        lifetime_min=30,
        country_form="upper" if preset.country_form == "upper" else "lower",
    )


def test_every_preset_has_its_golden_case() -> None:
    assert set(GOLDEN) == set(ADDRESSES) == set(PRESETS)


@pytest.mark.parametrize("key", GOLDEN)
def test_it_writes_the_login_as_the_vendor_does(key: str) -> None:
    assert login(PRESETS[key]) == GOLDEN[key]


@pytest.mark.parametrize("key", ADDRESSES)
def test_it_knows_the_address(key: str) -> None:
    preset = PRESETS[key]
    assert (preset.host, preset.port_for("http"), preset.port_for("socks5")) == ADDRESSES[key]


def test_the_strict_forms_refuse_a_silent_new_ip() -> None:
    strict = {key: p.strict_username_template for key, p in PRESETS.items() if p.strict_username_template}
    assert {key: login(PRESETS[key], template).username for key, template in strict.items()} == {
        "brightdata": f"u-country-br-session-{TOKEN}-const",
        "oxylabs": f"customer-u-cc-BR-sessid_oneip-{TOKEN}-sesstime-30",
    }
    hard = {key: p.strict_password_template for key, p in PRESETS.items() if p.strict_password_template}
    assert {key: login(PRESETS[key], None, template).password for key, template in hard.items()} == {
        "evomi": f"p_country-BR_hardsession-{TOKEN}"
    }


@pytest.mark.parametrize("key", GOLDEN)
def test_a_login_in_a_url_comes_back_as_it_was(key: str) -> None:
    """Clients that take URLs percent-encode it (RFC 3986 section 2.1), whatever the vendor's signs are."""
    made = login(PRESETS[key])
    url = f"http://{quote(made.username, safe='')}:{quote(made.password, safe='')}@proxy.example:1"
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (made.username, made.password)
    assert parts.hostname == "proxy.example"


def test_the_vendors_that_want_a_country_in_capitals() -> None:
    assert {key for key, preset in PRESETS.items() if preset.country_form == "upper"} == {
        "oxylabs", "proxyseller", "evomi",
    }  # fmt: skip


@every_preset
def test_the_templates_use_known_placeholders_only(preset: Preset) -> None:
    for template in (preset.username_template, preset.password_template, preset.strict_username_template or ""):
        check_template(template)


@every_preset
def test_our_token_fits_the_session_rule(preset: Preset) -> None:
    token = provider_token("chip-1c9a3f1e-7a0e-4f0e-9f5e-0f0e9f5e0f0e")
    assert preset.session_min <= len(token) <= preset.session_max
    assert re.fullmatch(f"[{preset.session_charset}]+", token)


@every_preset
def test_a_country_in_a_template_is_asked_for(preset: Preset) -> None:
    templates = preset.username_template + preset.password_template
    assert ("{country}" in templates) == ("country" in preset.needs) == (preset.country_form != "none")


@every_preset
def test_a_port_for_each_protocol_it_speaks(preset: Preset) -> None:
    if preset.host is None:
        assert preset.port is None
        assert preset.socks5_port is None
    else:
        assert all(preset.port_for(protocol) for protocol in preset.protocols)
        assert (preset.socks5_port is not None) == ("socks5" in preset.protocols)


def test_only_proxy_seller_counts_a_gb_as_two_to_the_thirtieth() -> None:
    assert {key for key, preset in PRESETS.items() if preset.bytes_per_gb != 10**9} == {"proxyseller"}
    assert PRESETS["proxyseller"].bytes_per_gb == 1_073_741_824


def test_a_preset_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        PRESETS["smartproxy"].host = "elsewhere.example"  # type: ignore[misc]
    assert replace(PRESETS["smartproxy"], host="elsewhere.example").host == "elsewhere.example"
