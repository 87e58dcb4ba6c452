"""Changing a chip's exit by hand: the customer's "trocar proxy" with its daily limit, the administrator's "force"."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.actions.test_failover import NOW, eject, first, history, now_on, user
from tests.factories import make_chip, make_proxy, make_user
from whago.domain.actions.assignments import force_proxy, rotate_proxy
from whago.domain.models import Chip, Provider, User
from whago.errors import WhagoError
from whago.kit import db

__all__ = ["first", "user"]


def test_an_administrator_may_force_a_chip_onto_what_is_out_or_drains(user: User, first: Provider) -> None:
    make_proxy(first)
    wanted = make_proxy(first, is_draining=True)
    eject(wanted)
    chip = make_chip(user).chip_id
    force_proxy(make_user(role="admin").id, chip, wanted.id, now=NOW)
    assert (now_on(chip).proxy_id, now_on(chip).assign_reason) == (wanted.id, "forced_by_admin")


def test_a_customer_changes_the_proxy_only_so_often_a_day(user: User, first: Provider) -> None:
    make_proxy(first)
    chip = make_chip(user).chip_id
    for minute in range(2):
        rotate_proxy(user.id, chip, now=NOW + timedelta(minutes=minute), per_day=2)
    with pytest.raises(WhagoError) as refused:
        rotate_proxy(user.id, chip, now=NOW + timedelta(hours=1), per_day=2)
    assert (refused.value.code, refused.value.details) == ("rotation_limit", {"limit": 2})
    rotate_proxy(user.id, chip, now=NOW + timedelta(hours=25), per_day=2)
    assert [one.assign_reason for one in history(chip)].count("rotated_by_user") == 3
    with db.transaction() as tx:
        assert tx.get_one(Chip, chip).sticky_generation == 3
