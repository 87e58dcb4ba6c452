"""From e-mail and password to a sign-in: what the JSON route and the login page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from fastapi import Request

from whago.domain.actions import accounts, password_resets
from whago.domain.actions.accounts import SecondFactor, SignIn
from whago.domain.queries.password_resets import reset_holds
from whago.domain.queries.sign_ins import uses_of_factor
from whago.domain.queries.users import UserView, find_user, get_user, password_hash_of, stored_login
from whago.errors import InvalidInput, WhagoError
from whago.kit.passwords import check_password, hash_password, is_outdated
from whago.web.cookies import REFRESH, access_token, drop_sign_in, keep_sign_in
from whago.web.deps import client_address, origin_of, remembered_claims
from whago.web.parts import parts_of
from whago.web.security import CHALLENGE_LASTS, Challenge

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh sign-in: who, and both tokens in clear."""

    user: UserView
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def log_in(request: Request, email: str, password: str, code: str | None, now: datetime) -> SignedIn:
    """Checks a login and sets the cookies. ``email`` is in its stored form; ``code``: of the second factor.

    An unknown e-mail and a wrong password are told the same, after the same work.
    Raises WhagoError: bad_login, too_many_attempts, account_suspended, bad_totp; totp_required with a ``challenge`` for
    ``finish_log_in`` where a code is needed and none came.
    """
    attempts, address = parts_of(request).attempts, client_address(request)
    attempts.before_login(email, address)
    login = stored_login(email)
    if not check_password(login.password_hash if login else None, password) or login is None:
        attempts.login_failed(address)
        log.info("sign_in.refused", reason="bad_login", user_id=str(login.user_id) if login else None, address=address)
        raise WhagoError("bad_login")
    attempts.login_succeeded(email, address)
    uses = uses_of_factor(login.user_id)
    if uses is not None and code is None:
        raise _half_done(request, get_user(login.user_id), uses, now)
    new_hash = hash_password(password) if is_outdated(login.password_hash) else None
    second = SecondFactor(code, parts_of(request).vault) if code is not None and uses is not None else None
    return _begin(request, login.user_id, second, new_hash, now)


def finish_log_in(request: Request, challenge: str, code: str, now: datetime) -> SignedIn:
    """The second step of a sign-in. Raises WhagoError: challenge_expired, bad_totp, too_many_attempts,
    account_suspended."""
    half = parts_of(request).challenges.read(challenge, now)
    user = find_user(half.user_id) if half is not None else None
    if half is None or user is None or user.token_generation != half.generation:
        raise WhagoError("challenge_expired")
    return _begin(request, user.id, SecondFactor(code, parts_of(request).vault, half.uses), None, now)


def check_own_password(request: Request, user: UserView, password: str) -> None:
    """Before anything that changes how somebody signs in. Raises InvalidInput, too_many_attempts."""
    attempts, address = parts_of(request).attempts, client_address(request)
    attempts.before_login(user.email, address)
    if not check_password(password_hash_of(user.id), password):
        raise InvalidInput(current_password="This is not your password.")  # noqa: S106 - a sentence
    attempts.login_succeeded(user.email, address)


def sign_up(request: Request, *, name: str, email: str, password: str, now: datetime) -> SignedIn:
    """Makes a customer on the default plan and signs in. Raises WhagoError: email_taken, too_many_attempts."""
    parts_of(request).attempts.before_registration(client_address(request))
    user_id = accounts.register(name=name, email=email, password_hash=hash_password(password), language=None, now=now)
    return keep(request, accounts.begin_sign_in(user_id, now=now, origin=origin_of(request)), now)


def refresh(request: Request, refresh_token: str, now: datetime) -> SignedIn:
    """Replaces both tokens. Raises WhagoError: not_authenticated, account_suspended."""
    try:
        return keep(request, accounts.refresh_sign_in(refresh_token, now=now, origin=origin_of(request)), now)
    except WhagoError:
        drop_sign_in(request)
        raise


def change_password(request: Request, user: UserView, current: str, new: str, now: datetime) -> SignedIn:
    """Ends every other sign-in of the user. Raises InvalidInput for a wrong current password, too_many_attempts."""
    check_own_password(request, user, current)
    changed = accounts.change_password(user.id, hash_password(new), now=now, origin=origin_of(request))
    return keep(request, changed, now)


def ask_for_reset(request: Request, email: str, language: str, now: datetime) -> None:
    """The same answer for every address, after the same work. Raises WhagoError("too_many_attempts")."""
    parts_of(request).attempts.before_reset(email, client_address(request))
    password_resets.ask_for_reset(email, language=language, now=now)


def redeem_reset(request: Request, token: str, password: str, now: datetime) -> None:
    """Sets a new password. Raises WhagoError: link_expired, too_many_attempts."""
    attempts = parts_of(request).attempts
    attempts.before_link(client_address(request))
    if not reset_holds(token, now=now):  # before the work of hashing
        raise WhagoError("link_expired")
    user_id = password_resets.redeem_reset(token, hash_password(password), now=now)
    attempts.login_succeeded(get_user(user_id).email, client_address(request))
    drop_sign_in(request)


def log_out(request: Request, refresh_token: str | None, now: datetime) -> None:
    """Ends the sign-in of the access token and of the refresh token, given or in the cookie; removes the cookies."""
    token = refresh_token or request.cookies.get(REFRESH)
    if token:
        accounts.end_sign_in(token, now=now)
    claims = remembered_claims(request)
    if claims is not None:
        accounts.end_family(claims.family_id, now=now)
    drop_sign_in(request)


def keep(request: Request, sign_in: SignIn, now: datetime) -> SignedIn:
    """Sets the cookies of a sign-in."""
    access = access_token(request, sign_in, now)
    keep_sign_in(request, sign_in, access)
    user = get_user(sign_in.user_id)
    request.state.user = user
    return SignedIn(user, access, sign_in.refresh_token)


def _half_done(request: Request, user: UserView, uses: int, now: datetime) -> WhagoError:
    if not user.is_active:
        return WhagoError("account_suspended")
    challenge = parts_of(request).challenges.issue(Challenge(user.id, user.token_generation, uses), now)
    return WhagoError("totp_required", challenge=challenge, expires_in_s=int(CHALLENGE_LASTS.total_seconds()))


def _begin(
    request: Request, user_id: UUID, second: SecondFactor | None, new_hash: str | None, now: datetime
) -> SignedIn:
    attempts = parts_of(request).attempts
    if second is not None:
        attempts.before_code(user_id)
    try:
        begun = accounts.begin_sign_in(user_id, now=now, new_hash=new_hash, second=second, origin=origin_of(request))
    except WhagoError as refusal:
        log.info("sign_in.refused", reason=refusal.code, user_id=str(user_id), address=client_address(request))
        raise
    if second is not None:
        attempts.code_accepted(user_id)
    log.info("sign_in.begun", user_id=str(user_id), second_factor=second is not None)
    return keep(request, begun, now)
