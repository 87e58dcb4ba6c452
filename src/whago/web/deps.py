"""What routes ask for: who calls, in which language, at what time, and whether a form is ours.

JSON routes use ``current_user`` and ``permitted``. Pages use ``page_user`` (or ``visitor``), ``csrf_form`` on every
route that changes something, ``csrf_token`` for their forms and ``translator`` for their text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from whago.domain.actions.accounts import Origin, see_sign_in
from whago.domain.actions.api_keys import touch_api_key
from whago.domain.queries.users import UserView, user_of_api_key, user_of_refresh_token, user_of_sign_in
from whago.domain.rules.months import billing_month
from whago.domain.rules.roles import Permit
from whago.domain.rules.scopes import EVERY_SCOPE, Scope, allows
from whago.errors import WhagoError
from whago.kit import clock
from whago.kit.ids import token_hash
from whago.web.cookies import ACCESS, CSRF, CSRF_FIELD, CSRF_HEADER, REFRESH, set_access, set_csrf
from whago.web.i18n import Translator
from whago.web.parts import Parts, parts_of
from whago.web.security import Claims, same_origin

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ADDRESS_UNKNOWN: Final = "unknown"
SECURITY_PAGE: Final = "/settings/security"
# Where somebody may go who owes the second factor of their role: to set it up, to change the password, to leave.
WITHOUT_FACTOR: Final = ("/api/v1/auth/", SECURITY_PAGE, "/renew")

bearer_scheme = HTTPBearer(auto_error=False, bearerFormat="JWT", description="The access token of a login.")
api_key_scheme = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key made at /api/v1/api-keys.")
cookie_scheme = APIKeyCookie(
    name=ACCESS, auto_error=False, description="Set by a login; unsafe methods also need CSRF."
)


def current_time() -> datetime:
    """The moment of the request, UTC."""
    return clock.now()


Parted = Annotated[Parts, Depends(parts_of)]
Now = Annotated[datetime, Depends(current_time)]


def billing_zone(parts: Parted) -> ZoneInfo:
    return parts.config.tz


Zone = Annotated[ZoneInfo, Depends(billing_zone)]


def current_month(now: Now, tz: Zone) -> date:
    """Day 1 of the running billing month."""
    return billing_month(now, tz)


Month = Annotated[date, Depends(current_month)]


def current_user(
    request: Request,
    now: Now,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)],
    api_key: Annotated[str | None, Security(api_key_scheme)],
    cookie: Annotated[str | None, Security(cookie_scheme)],
) -> UserView:
    """Who calls a JSON route: by Bearer token, else API key, else cookie.

    Raises WhagoError: not_authenticated, account_suspended; csrf for an unsafe request that has only a cookie;
    scope_missing for an API key that may not do this; totp_setup_required for a role that needs two-step sign-in.
    """
    user = _caller(request, now, bearer, api_key, cookie)
    check_second_factor(request, user)
    return user


def _caller(
    request: Request,
    now: datetime,
    bearer: HTTPAuthorizationCredentials | None,
    api_key: str | None,
    cookie: str | None,
) -> UserView:
    if bearer is not None:
        return _remember(request, _user_of_access_token(request, bearer.credentials, now))
    if request.headers.get("Authorization"):
        raise WhagoError("not_authenticated")  # another scheme: never fall back to the cookie
    if api_key is not None:
        return _by_api_key(request, api_key, now)
    user = _remember(request, _by_cookies(request, cookie or "", now))
    check_csrf(request, request.headers.get(CSRF_HEADER))
    return user


User = Annotated[UserView, Depends(current_user)]


def reader_zone(user: User, tz: Zone) -> ZoneInfo:
    """The zone in which times are told to the caller: the own one, else the one that bills."""
    return ZoneInfo(user.time_zone) if user.time_zone else tz


ReaderZone = Annotated[ZoneInfo, Depends(reader_zone)]


def signed_in(request: Request, user: User) -> UserView:
    """The same, but by a sign-in: an API key, which lies in some program, changes nothing of how people come in.

    Raises WhagoError("sign_in_needed").
    """
    if remembered_claims(request) is None:
        raise WhagoError("sign_in_needed")
    return user


Person = Annotated[UserView, Depends(signed_in)]


def permitted(permit: Permit) -> Callable[..., UserView]:
    """The dependency of a route of the administration: a role that allows it, and a key with the scope for it."""

    def check(request: Request, user: User) -> UserView:
        check_permit(user, permit)
        check_scope(request, Scope.ADMIN)
        return user

    check.permit = permit  # type: ignore[attr-defined]
    return check


def check_permit(user: UserView, permit: Permit) -> None:
    """Raises WhagoError("forbidden")."""
    if not user.may(permit):
        raise WhagoError("forbidden")


Admin = Annotated[UserView, Depends(permitted(Permit.CHANGE))]
Looker = Annotated[UserView, Depends(permitted(Permit.LOOK))]
CostReader = Annotated[UserView, Depends(permitted(Permit.COSTS))]
BillKeeper = Annotated[UserView, Depends(permitted(Permit.BILLS))]


def check_second_factor(request: Request, user: UserView) -> None:
    """Raises WhagoError("totp_setup_required") for staff without one, where the settings ask for it."""
    owes = parts_of(request).config.require_staff_totp and user.is_staff and not user.has_totp
    if owes and not request.url.path.startswith(WITHOUT_FACTOR):
        raise WhagoError("totp_setup_required")


def visitor(request: Request, now: Now) -> UserView | None:
    """Who looks at a page, by cookie; None for somebody not signed in (or suspended)."""
    user = _by_cookies(request, request.cookies.get(ACCESS, ""), now)
    return _remember(request, user) if user is not None and user.is_active else None


Visitor = Annotated[UserView | None, Depends(visitor)]


def page_user(request: Request, user: Visitor) -> UserView:
    """Whoever looks at a page must be signed in.

    Raises WhagoError: not_authenticated (the login page answers), totp_setup_required (the security page does).
    """
    if user is None:
        raise WhagoError("not_authenticated")
    check_second_factor(request, user)
    return user


PageUser = Annotated[UserView, Depends(page_user)]


async def csrf_form(request: Request, _user: Visitor) -> None:
    """For page routes that change something: the token as header or form field. Raises WhagoError("csrf")."""
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and request.method not in SAFE_METHODS:
        field = (await request.form()).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else None
    check_csrf(request, sent)


def check_csrf(request: Request, sent: str | None) -> None:
    """Raises WhagoError("csrf") for an unsafe request that a page of ours did not make for the signed-in user."""
    if request.method in SAFE_METHODS:
        return
    check_origin(request)
    user = remembered(request)
    if not parts_of(request).csrf.matches(request.cookies.get(CSRF), sent, user.id if user else None):
        raise WhagoError("csrf")


def check_origin(request: Request) -> None:
    """Raises WhagoError("csrf") when the browser says that another site made this request."""
    config = parts_of(request).config
    if not same_origin(request.headers.get("Origin"), request.headers.get("Host"), config.public_url):
        raise WhagoError("csrf")


def csrf_token(request: Request) -> str:
    """The token for the forms of a page; sets its cookie when there is none for this user yet."""
    csrf = parts_of(request).csrf
    user = remembered(request)
    given: str | None = getattr(request.state, "csrf", None) or request.cookies.get(CSRF)
    if given is None or not csrf.holds(given, user.id if user else None):
        given = csrf.issue(user.id if user else None)
        set_csrf(request, given)
    request.state.csrf = given
    return given


def translator(request: Request) -> Translator:
    """The caller's language: the user's setting, then Accept-Language, then Portuguese."""
    user = remembered(request)
    chosen = user.language if user is not None else None
    return parts_of(request).translators.choose(chosen, request.headers.get("Accept-Language"))


Translate = Annotated[Translator, Depends(translator)]


def client_address(request: Request) -> str:
    """The caller's address, as uvicorn found it behind the trusted proxies."""
    return request.client.host if request.client is not None else ADDRESS_UNKNOWN


Address = Annotated[str, Depends(client_address)]


def origin_of(request: Request) -> Origin:
    """Where a request comes from, for its owner's list of sign-ins."""
    return Origin(client_address(request), request.headers.get("User-Agent"))


def remembered(request: Request) -> UserView | None:
    """The user that this request was found to come from."""
    return getattr(request.state, "user", None)


def remembered_claims(request: Request) -> Claims | None:
    """What the access token of this request said; None for API keys."""
    return getattr(request.state, "claims", None)


def key_scopes(request: Request) -> frozenset[str]:
    """What this request may do: the scopes of its API key, all of them without one."""
    found: frozenset[str] = getattr(request.state, "key_scopes", frozenset(EVERY_SCOPE))
    return found


def check_scope(request: Request, wanted: Scope) -> None:
    """Raises WhagoError("scope_missing") for an API key that may not do this."""
    if not allows(key_scopes(request), wanted):
        raise WhagoError("scope_missing", scope=wanted.value)


def _remember(request: Request, user: UserView | None) -> UserView:
    if user is None:
        raise WhagoError("not_authenticated")
    request.state.user = user  # also for the language of errors
    if not user.is_active:
        raise WhagoError("account_suspended")
    return user


def _by_cookies(request: Request, access: str, now: datetime) -> UserView | None:
    """An access token that has ended is replaced while the refresh token holds.

    That one is not rotated here: two tabs would race for it, and the loser would look like a thief.
    """
    user = _user_of_access_token(request, access, now)
    refresh = request.cookies.get(REFRESH)
    if user is not None or not refresh:
        return user
    found = user_of_refresh_token(token_hash(refresh), now=now)
    if found is None:
        return None
    user, family_id = found
    if user.is_active:
        claims = Claims(user.id, family_id, user.token_generation)
        see_sign_in(refresh, now=now, origin=origin_of(request))
        set_access(request, parts_of(request).access.issue(claims, now))
        request.state.claims = claims
    return user


def _user_of_access_token(request: Request, token: str, now: datetime) -> UserView | None:
    """Also a suspended user, whose sign-ins have all ended: the refusal then says why."""
    claims = parts_of(request).access.read(token, now)
    found = user_of_sign_in(claims.user_id, claims.family_id) if claims is not None else None
    if found is None or claims is None:
        return None
    user, holds = found
    request.state.claims = claims
    return user if not user.is_active or (holds and user.token_generation == claims.generation) else None


def _by_api_key(request: Request, key: str, now: datetime) -> UserView:
    hashed = token_hash(key.encode("utf-8", "replace").decode())
    found = user_of_api_key(hashed)
    if found is None:
        raise WhagoError("not_authenticated")
    touch_api_key(hashed, now=now)
    user, request.state.key_scopes = found
    _remember(request, user)
    check_scope(request, Scope.READ if request.method in SAFE_METHODS else Scope.WRITE)
    return user
