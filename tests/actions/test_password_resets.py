"""A new password by e-mail: one link, once, for an hour; nobody learns who has an account."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from tests.factories import make_user
from whago.domain.actions.accounts import begin_sign_in, refresh_sign_in
from whago.domain.actions.password_resets import (
    CLAIM_LASTS,
    KEPT,
    LINK_LASTS,
    RETRY_AFTER,
    ResetLetter,
    ask_for_reset,
    claim_reset_letters,
    finish_reset_letter,
    redeem_reset,
)
from whago.domain.models import PasswordReset, User
from whago.domain.queries.password_resets import reset_holds
from whago.domain.queries.users import password_hash_of
from whago.errors import WhagoError
from whago.kit.db import reading, transaction
from whago.kit.ids import token_hash

pytestmark = pytest.mark.usefixtures("database")
EMAIL = "maria@example.com"


@pytest.fixture
def maria(database: str) -> User:
    return make_user(email=EMAIL, name="Maria", language="en")


def letter_for(email: str, now: datetime) -> ResetLetter:
    ask_for_reset(email, language="pt-BR", now=now)
    (letter,) = claim_reset_letters(now=now)
    finish_reset_letter(letter.id, sent=True, again=False, now=now)
    return letter


def waiting() -> int:
    with reading() as db:
        return db.scalar(select(func.count()).select_from(PasswordReset)) or 0


def test_a_letter_names_its_reader_and_its_link_sets_the_password_once(maria: User, noon: datetime) -> None:
    letter = letter_for(EMAIL, noon)
    assert (letter.to, letter.name, letter.language) == (EMAIL, "Maria", "en")
    assert reset_holds(letter.token, now=noon)
    assert redeem_reset(letter.token, "new hash", now=noon) == maria.id
    assert password_hash_of(maria.id) == "new hash"
    assert not reset_holds(letter.token, now=noon)
    with pytest.raises(WhagoError, match="no longer valid"):
        redeem_reset(letter.token, "another hash", now=noon)
    assert password_hash_of(maria.id) == "new hash"


def test_only_the_hash_of_a_token_is_kept(maria: User, noon: datetime) -> None:
    letter = letter_for(EMAIL, noon)
    with reading() as db:
        stored = db.scalars(select(PasswordReset)).one()
    assert stored.token_hash == token_hash(letter.token)
    assert letter.token not in repr(vars(stored))
    assert letter.token not in repr(letter)


def test_a_link_ends_after_an_hour(maria: User, noon: datetime) -> None:
    letter = letter_for(EMAIL, noon)
    assert reset_holds(letter.token, now=noon + LINK_LASTS - timedelta(seconds=1))
    assert not reset_holds(letter.token, now=noon + LINK_LASTS)
    with pytest.raises(WhagoError, match="no longer valid"):
        redeem_reset(letter.token, "new hash", now=noon + LINK_LASTS)
    assert password_hash_of(maria.id) == "!"


def test_every_sign_in_and_every_other_link_ends_with_a_new_password(maria: User, noon: datetime) -> None:
    signed_in = begin_sign_in(maria.id, now=noon)
    first, second = letter_for(EMAIL, noon), letter_for(EMAIL, noon)
    redeem_reset(second.token, "new hash", now=noon)
    assert not reset_holds(first.token, now=noon)
    with pytest.raises(WhagoError, match="Sign in"):
        refresh_sign_in(signed_in.refresh_token, now=noon)
    with reading() as db:
        assert db.get_one(User, maria.id).token_generation == maria.token_generation + 1


def test_two_who_use_one_link_at_the_same_time_do_not_both_win(maria: User, noon: datetime) -> None:
    letter = letter_for(EMAIL, noon)

    def redeem(number: int) -> bool:
        try:
            redeem_reset(letter.token, f"hash {number}", now=noon)
        except WhagoError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(redeem, range(8))) == 1


def test_a_wish_for_an_address_without_an_account_is_forgotten(maria: User, noon: datetime) -> None:
    ask_for_reset("nobody@example.com", language=None, now=noon)
    assert waiting() == 1
    assert claim_reset_letters(now=noon) == []
    assert waiting() == 0


@pytest.mark.parametrize("state", [{"is_active": False}, {"deleted_at": datetime.fromisoformat("2026-11-01T00:00Z")}])
def test_who_may_not_sign_in_gets_no_letter_and_no_password(
    maria: User, noon: datetime, state: dict[str, object]
) -> None:
    letter = letter_for(EMAIL, noon)
    with transaction() as db:
        db.execute(update(User).values(**state))
    with pytest.raises(WhagoError, match="no longer valid"):
        redeem_reset(letter.token, "new hash", now=noon)
    ask_for_reset(EMAIL, language=None, now=noon)
    assert claim_reset_letters(now=noon) == []


def test_two_workers_write_a_letter_once(maria: User, noon: datetime) -> None:
    for _ in range(6):
        ask_for_reset(EMAIL, language=None, now=noon)
    with ThreadPoolExecutor(4) as pool:
        rounds = list(pool.map(lambda _: claim_reset_letters(now=noon, limit=2), range(4)))
    claimed = [letter.id for letters in rounds for letter in letters]
    assert len(claimed) == len(set(claimed)) == 6


def test_a_letter_that_failed_is_written_again_with_another_token_and_given_up_in_the_end(
    maria: User, noon: datetime
) -> None:
    ask_for_reset(EMAIL, language=None, now=noon)
    now, tokens = noon, set()
    for pause in RETRY_AFTER:
        (letter,) = claim_reset_letters(now=now)
        tokens.add(letter.token)
        finish_reset_letter(letter.id, sent=False, again=True, now=now)
        assert claim_reset_letters(now=now + pause - timedelta(seconds=1)) == []
        now += pause
    (last,) = claim_reset_letters(now=now)
    finish_reset_letter(last.id, sent=False, again=True, now=now)
    assert len(tokens | {last.token}) == len(RETRY_AFTER) + 1
    assert waiting() == 0


def test_a_letter_that_the_mail_server_refuses_for_good_is_given_up(maria: User, noon: datetime) -> None:
    ask_for_reset(EMAIL, language=None, now=noon)
    (letter,) = claim_reset_letters(now=noon)
    finish_reset_letter(letter.id, sent=False, again=False, now=noon)
    assert waiting() == 0


def test_a_letter_of_a_worker_that_died_is_written_by_another(maria: User, noon: datetime) -> None:
    ask_for_reset(EMAIL, language=None, now=noon)
    (lost,) = claim_reset_letters(now=noon)
    assert claim_reset_letters(now=noon + CLAIM_LASTS - timedelta(seconds=1)) == []
    (again,) = claim_reset_letters(now=noon + CLAIM_LASTS)
    assert again.id == lost.id
    assert not reset_holds(lost.token, now=noon + CLAIM_LASTS)
    assert reset_holds(again.token, now=noon + CLAIM_LASTS)


def test_old_wishes_are_forgotten(maria: User, noon: datetime) -> None:
    letter_for(EMAIL, noon)
    claim_reset_letters(now=noon + KEPT + timedelta(seconds=1))
    assert waiting() == 0
