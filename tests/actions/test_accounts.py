"""Accounts at the level of actions: races for one e-mail, one refresh token, the last administrator."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from tests.factories import make_user
from whago.domain.actions import accounts
from whago.domain.actions.users import UserFields, create_user, delete_user, update_user
from whago.domain.models import AuditEntry, RefreshToken, User
from whago.domain.queries.users import get_user, user_of_refresh_token
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id, token_hash

FIELDS = UserFields(
    name="Nina", email="nina@x.test", role="user", plan_id=None, is_active=True, language=None, password_hash="!"
)


def outcomes(calls: list[Callable[[], object]]) -> list[str]:
    """What each of several calls at the same moment came to: an error's code or ``done``."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> str:
        barrier.wait()
        try:
            call()
        except WhagoError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(len(calls)) as threads:
        return sorted(threads.map(run, calls))


def register(now: datetime, email: str = "nina@x.test") -> UUID:
    return accounts.register(name="Nina", email=email, password_hash="!", language=None, now=now)


def test_eight_registrations_of_one_email_make_one_account(database: str, noon: datetime) -> None:
    assert outcomes([lambda: register(noon)] * 8) == ["done"] + ["email_taken"] * 7


def test_of_eight_uses_of_one_refresh_token_one_wins_and_the_family_ends(database: str, noon: datetime) -> None:
    sign_in = accounts.begin_sign_in(register(noon), now=noon)
    found = outcomes([lambda: accounts.refresh_sign_in(sign_in.refresh_token, now=noon)] * 8)
    assert found == ["done"] + ["not_authenticated"] * 7
    with transaction() as db:
        tokens = db.scalars(select(RefreshToken)).all()
    assert len(tokens) == 2
    assert all(token.revoked_at == noon for token in tokens)


def test_a_family_lives_thirty_days_from_its_last_use(database: str, noon: datetime) -> None:
    first = accounts.begin_sign_in(register(noon), now=noon)
    second = accounts.refresh_sign_in(first.refresh_token, now=noon + timedelta(days=29))
    assert second.family_id == first.family_id
    third = accounts.refresh_sign_in(second.refresh_token, now=noon + timedelta(days=58))
    with pytest.raises(WhagoError, match="Sign in"):
        accounts.refresh_sign_in(third.refresh_token, now=noon + timedelta(days=88))


def test_a_refresh_token_is_stored_as_a_hash_alone(database: str, noon: datetime) -> None:
    sign_in = accounts.begin_sign_in(register(noon), now=noon)
    with transaction() as db:
        stored = db.scalars(select(RefreshToken)).one()
    assert stored.token_hash == token_hash(sign_in.refresh_token)
    assert sign_in.refresh_token not in repr(sign_in)


def test_expired_tokens_are_swept_by_the_next_sign_in(database: str, noon: datetime) -> None:
    user_id = register(noon)
    accounts.begin_sign_in(user_id, now=noon)
    accounts.begin_sign_in(user_id, now=noon + timedelta(days=31))
    with transaction() as db:
        assert db.scalar(select(func.count()).select_from(RefreshToken)) == 1


def test_ending_one_sign_in_leaves_the_others(database: str, noon: datetime) -> None:
    user_id = register(noon)
    one, other = accounts.begin_sign_in(user_id, now=noon), accounts.begin_sign_in(user_id, now=noon)
    accounts.end_sign_in(one.refresh_token, now=noon)
    accounts.end_sign_in("a token of nobody", now=noon)
    assert user_of_refresh_token(token_hash(one.refresh_token), now=noon) is None
    found = user_of_refresh_token(token_hash(other.refresh_token), now=noon)
    assert found is not None
    accounts.end_all_sign_ins(user_id, user_id, now=noon)
    assert user_of_refresh_token(token_hash(other.refresh_token), now=noon) is None
    assert get_user(user_id).token_generation == 1


def test_a_first_administrator_is_made_once_and_then_left_alone(database: str, noon: datetime) -> None:
    def make(password_hash: str, *, replace: bool) -> bool:
        return accounts.make_admin(email="a@x.test", password_hash=password_hash, name="A", replace=replace, now=noon)

    assert not accounts.has_admin()
    assert make("one", replace=False)
    assert accounts.has_admin()
    assert not make("two", replace=False)
    with transaction() as db:
        assert db.scalar(select(User.password_hash)) == "one"
    assert make("three", replace=True)
    with transaction() as db:
        assert db.scalar(select(User.password_hash)) == "three"


def test_eight_first_starts_make_one_administrator(database: str, noon: datetime) -> None:
    def make() -> None:
        accounts.make_admin(email="a@x.test", password_hash="!", name="A", replace=False, now=noon)

    assert outcomes([make] * 8) == ["done"] * 8
    with transaction() as db:
        assert db.scalar(select(func.count()).select_from(User)) == 1
        assert db.scalar(select(func.count()).select_from(AuditEntry)) == 1


def test_a_customer_becomes_an_administrator_by_the_command_line(database: str, noon: datetime) -> None:
    user = make_user(email="a@x.test", is_active=False)
    assert accounts.make_admin(email="a@x.test", password_hash="new", name="ignored", replace=True, now=noon)
    found = get_user(user.id)
    assert (found.role, found.is_active, found.name, found.token_generation) == ("admin", True, user.name, 1)


def test_the_last_of_two_administrators_survives_both_demotions(database: str, noon: datetime, tz: ZoneInfo) -> None:
    one, other = make_user(role="admin"), make_user(role="admin")

    def demote(actor: User, target: User) -> Callable[[], None]:
        wanted = replace(FIELDS, email=target.email, password_hash=None)
        return lambda: update_user(actor.id, target.id, wanted, now=noon, tz=tz)

    assert outcomes([demote(one, other), demote(other, one)]) == ["done", "last_admin"]
    assert accounts.has_admin()


def test_suspending_ends_every_sign_in(database: str, noon: datetime, tz: ZoneInfo) -> None:
    admin, user_id = make_user(role="admin"), register(noon)
    sign_in = accounts.begin_sign_in(user_id, now=noon)
    suspended = replace(FIELDS, is_active=False, password_hash=None)
    update_user(admin.id, user_id, suspended, now=noon, tz=tz)
    assert user_of_refresh_token(token_hash(sign_in.refresh_token), now=noon) is None
    with pytest.raises(WhagoError) as refusal:
        accounts.begin_sign_in(user_id, now=noon)
    assert refusal.value.code == "account_suspended"


def test_a_change_of_the_email_keeps_it_unique(database: str, noon: datetime, tz: ZoneInfo) -> None:
    admin = make_user(role="admin")
    create_user(admin.id, FIELDS, now=noon)
    other = create_user(admin.id, replace(FIELDS, email="other@x.test"), now=noon)
    with pytest.raises(WhagoError) as refusal:
        update_user(admin.id, other, FIELDS, now=noon, tz=tz)
    assert refusal.value.code == "email_taken"
    assert get_user(other).email == "other@x.test"


def test_a_user_on_no_known_plan_is_refused(database: str, noon: datetime) -> None:
    with pytest.raises(InvalidInput):
        create_user(None, replace(FIELDS, plan_id=new_id()), now=noon)


def test_deleting_twice_is_deleting_once(database: str, noon: datetime) -> None:
    admin, user_id = make_user(role="admin"), register(noon)
    found = outcomes([lambda: delete_user(admin.id, user_id, now=noon)] * 4)
    assert found == ["done", "not_found", "not_found", "not_found"]
    register(noon)  # the e-mail is free again
