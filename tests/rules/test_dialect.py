"""From a sticky token to a username and a password."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.dialect import PLACEHOLDERS, Login, UnknownPlaceholder, build_login, check_template


def filled(username: str = "{username}-session-{session}", password: str = "{password}", **changed: Any) -> Login:
    values: dict[str, Any] = {
        "credentials": {"username": "acme", "password": "s3cret"},
        "token": "48213377",
        "country": "BR",
        "region": "SP",
        "lifetime_min": 60,
    } | changed
    return build_login(username_template=username, password_template=password, **values)


def test_it_fills_the_products_own_form() -> None:
    assert filled() == Login("acme-session-48213377", "s3cret")


def test_it_fills_every_placeholder_in_both_templates() -> None:
    template = "|".join(f"{{{name}}}" for name in PLACEHOLDERS)
    whole = "acme|s3cret|48213377|br|sp|60"
    assert filled(template, template) == Login(whole, whole)


def test_country_and_region_are_lower_case_and_may_be_missing() -> None:
    assert filled("{country}.{region}", country="Br", region="São Paulo").username == "br.são paulo"
    assert filled("<{country}{region}>", country=None, region=None).username == "<>"


def test_a_vendor_that_wants_capitals_gets_them_for_the_country_alone() -> None:
    assert filled("{country}.{region}", country="br", region="SP", country_form="upper").username == "BR.sp"


def test_missing_credentials_are_empty_not_an_error() -> None:
    assert filled(credentials={}) == Login("-session-48213377", "")


def test_doubled_braces_stand_for_themselves() -> None:
    check_template("{{{username}}}")
    assert filled("{{{username}}}").username == "{acme}"


def test_the_same_token_gives_the_same_login() -> None:
    assert filled() == filled()


def test_a_password_is_not_in_the_repr_of_a_template_error() -> None:
    with pytest.raises(ValueError, match="255") as caught:
        filled(credentials={"username": "a" * 300, "password": "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("length", [255 - len("-session-48213377"), 254 - len("-session-48213377")])
def test_a_username_of_up_to_255_bytes_passes(length: int) -> None:
    assert len(filled(credentials={"username": "a" * length}).username) == length + len("-session-48213377")


def test_the_limit_counts_bytes_not_characters() -> None:
    with pytest.raises(ValueError, match="255"):
        filled(credentials={"username": "ã" * 120})


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{user}", "user"),
        ("{username}-{token}", "token"),
        ("{}", "{}"),
        ("{0}", "0"),
        ("{username!r}", "username"),
        ("{username:>40}", "username"),
        ("{username.__class__}", "username.__class__"),
        ("{username[0]}", "username[0]"),
        ("{Session}", "Session"),
    ],
)
def test_it_refuses_an_unknown_placeholder_by_name(template: str, named: str) -> None:
    with pytest.raises(UnknownPlaceholder) as caught:
        check_template(template)
    assert caught.value.args == (named,)


@pytest.mark.parametrize("template", ["{username", "username}", "{user{name}}", "{"])
def test_it_refuses_braces_that_do_not_match(template: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_template(template)


@given(username=st.text(max_size=40), password=st.text(max_size=40))
def test_credentials_are_taken_as_they_are_and_survive_a_url(username: str, password: str) -> None:
    made = filled(credentials={"username": username, "password": password})
    assert made == Login(f"{username}-session-48213377", password)
    assert unquote(quote(made.username, safe="")) == made.username
