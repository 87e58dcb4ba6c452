"""The second factor at the level of actions: set up, used once even in a race, taken away, and what it ends."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.actions.test_accounts import outcomes
from tests.factories import make_user
from whago.domain.actions import accounts
from whago.domain.actions.accounts import SecondFactor, SignIn, begin_sign_in
from whago.domain.actions.second_factors import (
    SETUP_LASTS,
    begin_totp,
    confirm_totp,
    disable_totp,
    renew_recovery_codes,
    reset_totp,
)
from whago.domain.models import AuditEntry, RecoveryCode, TotpFactor, User
from whago.domain.queries.sign_ins import second_factor, sign_ins, uses_of_factor
from whago.domain.rules.totp import PERIOD_S, code_at, step_at
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id

LATER = timedelta(minutes=1)  # two steps on: every code is a new one
RACERS = 6


@pytest.fixture
def ana(database: str) -> User:
    return make_user(role="admin", name="Ana")


def enrolled(user: User, vault: Vault, now: datetime) -> tuple[str, list[str], SignIn]:
    """The secret, the recovery codes, and the sign-in that set it up."""
    own = begin_sign_in(user.id, now=now)
    secret = begin_totp(user.id, vault=vault, now=now)
    codes = confirm_totp(user.id, code_at(secret, step_at(now)), vault=vault, family_id=own.family_id, now=now)
    return secret, codes, own


def comes_in(user: User, code: str | None, vault: Vault, now: datetime, uses: int | None = None) -> SignIn:
    second = SecondFactor(code, vault, uses) if code is not None else None
    return begin_sign_in(user.id, now=now, second=second)


def code_of(secret: str, now: datetime) -> str:
    return code_at(secret, step_at(now))


def test_it_counts_from_the_first_right_code_on(ana: User, vault: Vault, noon: datetime) -> None:
    own = begin_sign_in(ana.id, now=noon)
    secret = begin_totp(ana.id, vault=vault, now=noon)
    comes_in(ana, None, vault, noon)  # shown, and not proven yet
    with pytest.raises(InvalidInput):
        confirm_totp(ana.id, "000000", vault=vault, family_id=own.family_id, now=noon)
    assert uses_of_factor(ana.id) is None
    codes = confirm_totp(ana.id, code_of(secret, noon), vault=vault, family_id=own.family_id, now=noon)
    assert len(set(codes)) == 10
    assert second_factor(ana.id).recovery_codes_left == 10
    with pytest.raises(WhagoError, match="authenticator app"):
        comes_in(ana, None, vault, noon)
    assert [one.id for one in sign_ins(ana.id, now=noon)] == [own.family_id]  # every other sign-in has ended


def test_the_secret_and_the_codes_lie_in_the_database_unreadable(ana: User, vault: Vault, noon: datetime) -> None:
    secret, codes, _own = enrolled(ana, vault, noon)
    with transaction() as db:
        factor = db.scalars(select(TotpFactor)).one()
        hashes = db.scalars(select(RecoveryCode.code_hash)).all()
    assert secret not in str(factor.sealed_secret)
    assert vault.open(factor.sealed_secret) == {"secret": secret}
    assert not {code.encode() for code in codes} & set(hashes)


def test_a_setup_that_nobody_finished_is_forgotten(ana: User, vault: Vault, noon: datetime) -> None:
    own = begin_sign_in(ana.id, now=noon)
    secret = begin_totp(ana.id, vault=vault, now=noon)
    late = noon + SETUP_LASTS
    with pytest.raises(WhagoError, match="not set up"):
        confirm_totp(ana.id, code_of(secret, late), vault=vault, family_id=own.family_id, now=late)


def test_the_code_that_set_it_up_opens_nothing(ana: User, vault: Vault, noon: datetime) -> None:
    secret, _codes, _own = enrolled(ana, vault, noon)
    with pytest.raises(WhagoError) as refusal:
        comes_in(ana, code_of(secret, noon), vault, noon)
    assert refusal.value.code == "bad_totp"
    assert comes_in(ana, code_of(secret, noon + LATER), vault, noon + LATER).user_id == ana.id


def test_of_six_uses_of_one_step_one_wins(ana: User, vault: Vault, noon: datetime) -> None:
    secret, _codes, _own = enrolled(ana, vault, noon)
    now = noon + LATER
    found = outcomes([lambda: comes_in(ana, code_of(secret, now), vault, now)] * RACERS)
    assert found == ["bad_totp"] * (RACERS - 1) + ["done"]


def test_of_six_uses_of_one_recovery_code_one_wins(ana: User, vault: Vault, noon: datetime) -> None:
    _secret, codes, _own = enrolled(ana, vault, noon)
    found = outcomes([lambda: comes_in(ana, codes[3].lower(), vault, noon)] * RACERS)
    assert found == ["bad_totp"] * (RACERS - 1) + ["done"]
    assert second_factor(ana.id).recovery_codes_left == 9
    assert audited("totp.recovery_used") == 1
    assert comes_in(ana, codes[4].replace("-", " "), vault, noon).user_id == ana.id


def test_a_recovery_code_is_its_owners_alone(ana: User, vault: Vault, noon: datetime) -> None:
    _secret, codes, _own = enrolled(ana, vault, noon)
    other = make_user(role="admin")
    enrolled(other, vault, noon)
    with pytest.raises(WhagoError, match="not right"):
        comes_in(other, codes[0], vault, noon)


def test_a_right_password_that_waited_leads_to_one_sign_in(ana: User, vault: Vault, noon: datetime) -> None:
    secret, codes, _own = enrolled(ana, vault, noon)
    uses, now = uses_of_factor(ana.id), noon + LATER
    comes_in(ana, code_of(secret, now), vault, now, uses)
    with pytest.raises(WhagoError) as refusal:
        comes_in(ana, codes[0], vault, now, uses)
    assert refusal.value.code == "challenge_expired"
    assert second_factor(ana.id).recovery_codes_left == 10  # the code was not used up by it


def test_turning_it_off_needs_a_code_and_ends_the_others(ana: User, vault: Vault, noon: datetime) -> None:
    secret, _codes, own = enrolled(ana, vault, noon)
    now = noon + LATER
    comes_in(ana, code_of(secret, now), vault, now)
    with pytest.raises(InvalidInput):
        disable_totp(ana.id, "000000", vault=vault, family_id=own.family_id, now=now)
    later = now + LATER
    disable_totp(ana.id, code_of(secret, later), vault=vault, family_id=own.family_id, now=later)
    assert uses_of_factor(ana.id) is None
    assert [one.id for one in sign_ins(ana.id, now=later)] == [own.family_id]
    assert (audited("totp.enable"), audited("totp.disable")) == (1, 1)
    with pytest.raises(WhagoError, match="not set up"):
        disable_totp(ana.id, code_of(secret, later), vault=vault, family_id=own.family_id, now=later)


def test_new_recovery_codes_replace_the_old(ana: User, vault: Vault, noon: datetime) -> None:
    secret, old, _own = enrolled(ana, vault, noon)
    now = noon + timedelta(seconds=2 * PERIOD_S)
    fresh = renew_recovery_codes(ana.id, code_of(secret, now), vault=vault, now=now)
    with pytest.raises(WhagoError, match="not right"):
        comes_in(ana, old[0], vault, now)
    assert comes_in(ana, fresh[0], vault, now).user_id == ana.id


def test_a_colleague_resets_it_and_nobody_their_own(ana: User, vault: Vault, noon: datetime) -> None:
    enrolled(ana, vault, noon)
    boss = make_user(role="admin")
    with pytest.raises(WhagoError, match="Ask a colleague"):
        reset_totp(ana.id, ana.id, now=noon)
    reset_totp(boss.id, ana.id, now=noon)
    assert sign_ins(ana.id, now=noon) == []
    assert comes_in(ana, None, vault, noon).user_id == ana.id
    with transaction() as db:
        entry = db.scalars(select(AuditEntry).where(AuditEntry.action == "totp.reset")).one()
    assert (entry.actor_id, entry.target_id) == (boss.id, str(ana.id))
    with pytest.raises(WhagoError, match="not set up"):
        reset_totp(boss.id, ana.id, now=noon)
    with pytest.raises(WhagoError, match="Not found"):
        reset_totp(boss.id, new_id(), now=noon)


def test_the_command_line_is_the_last_way_back_in(ana: User, vault: Vault, noon: datetime) -> None:
    enrolled(ana, vault, noon)
    accounts.make_admin(email=ana.email, password_hash="new hash", name="Ana", replace=True, now=noon)
    assert comes_in(ana, None, vault, noon).user_id == ana.id


def test_a_sign_in_ends_after_ninety_days_however_often_it_is_refreshed(ana: User, noon: datetime) -> None:
    token, now = begin_sign_in(ana.id, now=noon).refresh_token, noon
    for _ in range(4):
        now += timedelta(days=20)
        token = accounts.refresh_sign_in(token, now=now).refresh_token
    assert sign_ins(ana.id, now=now)[0].began_at == noon
    with pytest.raises(WhagoError, match="Sign in"):
        accounts.refresh_sign_in(token, now=noon + accounts.SIGN_IN_LASTS_AT_MOST)


def test_a_stolen_refresh_token_is_written_down(ana: User, noon: datetime) -> None:
    token = begin_sign_in(ana.id, now=noon).refresh_token
    accounts.refresh_sign_in(token, now=noon)
    with pytest.raises(WhagoError):
        accounts.refresh_sign_in(token, now=noon)
    assert audited("sign_in.token_reused") == 1


def audited(action: str) -> int:
    with transaction() as db:
        return db.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.action == action)) or 0
