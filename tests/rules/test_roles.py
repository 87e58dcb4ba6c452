"""Roles: what each may, and that nobody gets more by a name that is not known."""

from __future__ import annotations

import pytest

from whago.domain.rules.roles import STAFF, Permit, Role, is_staff, may


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.ADMIN, set(Permit)),
        (Role.SUPPORT, {Permit.LOOK, Permit.COSTS}),
        (Role.FINANCE, {Permit.COSTS, Permit.BILLS}),
        (Role.USER, set()),
        ("root", set()),
        ("", set()),
    ],
)
def test_the_law_of_roles(role: str, allowed: set[Permit]) -> None:
    assert {permit for permit in Permit if may(role, permit)} == allowed


def test_the_house_is_everybody_but_customers() -> None:
    assert set(Role) - {Role.USER} == STAFF
    assert is_staff("support")
    assert not is_staff("user")
    assert not is_staff("root")
