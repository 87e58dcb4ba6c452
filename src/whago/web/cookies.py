"""The three cookies, and how a request carries what the response will set.

Dependencies leave cookies in ``request.state``; the middleware writes them, whatever kind of response the route makes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any, Final

from starlette.requests import Request

from whago.domain.actions.accounts import SIGN_IN_LASTS, SignIn
from whago.web.parts import parts_of
from whago.web.security import ACCESS_LASTS, Claims

ACCESS: Final = "whago_access"
REFRESH: Final = "whago_refresh"
CSRF: Final = "whago_csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"
COOKIES_STATE: Final = "cookies"  # key in the request's state


def keep_sign_in(request: Request, sign_in: SignIn, access_token: str) -> None:
    """Sets the cookies of a fresh sign-in, with a CSRF token for it."""
    set_access(request, access_token)
    _put(request, REFRESH, sign_in.refresh_token, SIGN_IN_LASTS, http_only=True)
    set_csrf(request, parts_of(request).csrf.issue(sign_in.user_id))


def set_access(request: Request, access_token: str) -> None:
    """The cookie lives as long as the token in it."""
    _put(request, ACCESS, access_token, ACCESS_LASTS, http_only=True)


def set_csrf(request: Request, token: str) -> None:
    """Readable by our own scripts, which send it back as a header."""
    _put(request, CSRF, token, SIGN_IN_LASTS, http_only=False)


def drop_sign_in(request: Request) -> None:
    """Removes all three."""
    for name in (ACCESS, REFRESH, CSRF):
        _put(request, name, "", timedelta(0), http_only=name != CSRF)


def pending(state: dict[str, Any]) -> list[str]:
    """The Set-Cookie values that this request has collected."""
    return list(state.get(COOKIES_STATE, {}).values())


def _put(request: Request, name: str, value: str, lasts: timedelta, *, http_only: bool) -> None:
    cookie: SimpleCookie = SimpleCookie({name: value})
    morsel = cookie[name]
    morsel["path"], morsel["samesite"] = "/", "lax"
    morsel["max-age"] = int(lasts.total_seconds())
    morsel["httponly"], morsel["secure"] = http_only, parts_of(request).config.cookie_secure
    collected = getattr(request.state, COOKIES_STATE, None) or {}
    collected[name] = morsel.OutputString()
    setattr(request.state, COOKIES_STATE, collected)


def access_token(request: Request, sign_in: SignIn, now: datetime) -> str:
    """The access token that goes with a sign-in."""
    return parts_of(request).access.issue(Claims(sign_in.user_id, sign_in.family_id, sign_in.token_generation), now)
