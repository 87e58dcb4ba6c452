"""From e-mail and password to a sign-in: what the JSON route and the login page share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request

from whago.domain.actions import accounts, password_resets
from whago.domain.actions.accounts import SignIn
from whago.domain.queries.password_resets import reset_holds
from whago.domain.queries.users import UserView, get_user, password_hash_of, stored_login
from whago.errors import InvalidInput, WhagoError
from whago.kit.passwords import check_password, hash_password, is_outdated
from whago.web.cookies import REFRESH, access_token, drop_sign_in, keep_sign_in
from whago.web.deps import client_address, remembered_claims
from whago.web.parts import parts_of


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh sign-in: who, and both tokens in clear."""

    user: UserView
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def log_in(request: Request, email: str, password: str, now: datetime) -> SignedIn:
    """Checks a login and sets the cookies. ``email`` is in its stored form.

    An unknown e-mail and a wrong password are told the same, after the same work.
    Raises WhagoError: bad_login, too_many_attempts, account_suspended.
    """
    attempts, address = parts_of(request).attempts, client_address(request)
    attempts.before_login(email, address)
    login = stored_login(email)
    if not check_password(login.password_hash if login else None, password) or login is None:
        attempts.login_failed(address)
        raise WhagoError("bad_login")
    attempts.login_succeeded(email, address)
    new_hash = hash_password(password) if is_outdated(login.password_hash) else None
    return keep(request, accounts.begin_sign_in(login.user_id, now=now, new_hash=new_hash), now)


def sign_up(request: Request, *, name: str, email: str, password: str, now: datetime) -> SignedIn:
    """Makes a customer on the default plan and signs in. Raises WhagoError: email_taken, too_many_attempts."""
    parts_of(request).attempts.before_registration(client_address(request))
    user_id = accounts.register(name=name, email=email, password_hash=hash_password(password), language=None, now=now)
    return keep(request, accounts.begin_sign_in(user_id, now=now), now)


def refresh(request: Request, refresh_token: str, now: datetime) -> SignedIn:
    """Replaces both tokens. Raises WhagoError: not_authenticated, account_suspended."""
    try:
        return keep(request, accounts.refresh_sign_in(refresh_token, now=now), now)
    except WhagoError:
        drop_sign_in(request)
        raise


def change_password(request: Request, user: UserView, current: str, new: str, now: datetime) -> SignedIn:
    """Ends every other sign-in of the user. Raises InvalidInput for a wrong current password, too_many_attempts."""
    attempts, address = parts_of(request).attempts, client_address(request)
    attempts.before_login(user.email, address)
    if not check_password(password_hash_of(user.id), current):
        raise InvalidInput(current_password="This is not your password.")  # noqa: S106 - a sentence
    attempts.login_succeeded(user.email, address)
    return keep(request, accounts.change_password(user.id, hash_password(new), now=now), now)


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
