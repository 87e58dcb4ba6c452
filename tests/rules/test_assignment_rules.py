"""Which proxy, and under which identifier."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.selection import Candidate, choose_proxy
from whago.domain.rules.sticky import logical_identifier, provider_token

PROVIDER = UUID(int=99)


def a_proxy(number: int, **fields: Any) -> Candidate:
    values: dict[str, Any] = {
        "proxy_id": UUID(int=number),
        "provider_id": PROVIDER,
        "priority": 100,
        "region": None,
        "proxy_type": "rotating",
        "health_score": 100,
        "active_chips": 0,
        "max_chips": 10,
    }
    return Candidate(**(values | fields))


def chosen(*pool: Candidate, region: str | None = None, avoid: tuple[UUID, ...] = ()) -> int | None:
    found = choose_proxy(pool, region=region, avoid=avoid)
    return None if found is None else found.proxy_id.int


def test_priority_comes_before_health() -> None:
    assert chosen(a_proxy(1, priority=2), a_proxy(2, priority=1, health_score=60)) == 2


def test_the_healthiest_of_one_provider_wins() -> None:
    assert chosen(a_proxy(1, health_score=70), a_proxy(2, health_score=90), a_proxy(3, health_score=39)) == 2


def test_the_wanted_region_comes_first_and_another_is_better_than_none() -> None:
    south = a_proxy(2, region="sul", priority=900, health_score=50)
    assert chosen(a_proxy(1, region="sudeste"), south, region="sul") == 2
    assert chosen(a_proxy(1, region="sudeste"), region="sul") == 1


def test_the_emptiest_of_equals_wins() -> None:
    assert chosen(a_proxy(1, active_chips=5), a_proxy(2, active_chips=1)) == 2


def test_a_full_an_unhealthy_or_an_avoided_proxy_is_never_chosen() -> None:
    assert chosen(a_proxy(1, active_chips=10), a_proxy(2, health_score=39)) is None
    assert chosen(a_proxy(1, proxy_type="static", max_chips=None, active_chips=1)) is None
    assert chosen(a_proxy(1), avoid=(UUID(int=1),)) is None
    assert chosen() is None


def test_a_rotating_proxy_without_bound_always_has_room() -> None:
    assert chosen(a_proxy(1, max_chips=None, active_chips=10**6)) == 1


def test_identifiers_are_stable_and_change_with_the_generation() -> None:
    chip = UUID("0b1f7c0e-7f6b-4d5e-9a43-0c9f6a1e2d33")
    assert logical_identifier(chip, 0) == "chip-0b1f7c0e-7f6b-4d5e-9a43-0c9f6a1e2d33"
    assert logical_identifier(chip, 2) == "chip-0b1f7c0e-7f6b-4d5e-9a43-0c9f6a1e2d33-2"
    assert provider_token(logical_identifier(chip, 0)) == provider_token(logical_identifier(chip, 0)) == "99777765"


@given(st.uuids(), st.integers(0, 50), st.integers(0, 63))
def test_a_token_fits_every_dialect(chip: UUID, generation: int, attempt: int) -> None:
    token = provider_token(logical_identifier(chip, generation), attempt)
    assert len(token) == 8
    assert token.isdigit()
    assert token[0] != "0"
