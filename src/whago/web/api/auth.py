"""Accounts: register, log in, refresh, log out, and what people change about themselves."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BeforeValidator, StringConstraints

from whago.domain.actions.accounts import update_profile
from whago.domain.queries.users import UserView, get_user
from whago.errors import InvalidInput, WhagoError
from whago.web import signing_in
from whago.web.api.fields import (
    Answer,
    Body,
    Email,
    GivenPassword,
    Moment,
    Money,
    Name,
    NewPassword,
    blank_is_none,
    encodable,
    known_zone,
)
from whago.web.cookies import REFRESH
from whago.web.deps import Now, Person, Translate, User, check_origin, csrf_token, current_user
from whago.web.errors import problems
from whago.web.signing_in import SignedIn

TOKEN_MAX_CHARS = 200  # ours have 43
CHALLENGE_MAX_CHARS = 1_000  # ours have about 250
CODE_MAX_CHARS = 40  # a recovery code has 29 with its hyphens

SIGNED_IN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")

router = APIRouter(prefix="/auth", tags=["auth"])

Language = Annotated[Literal["pt-BR", "en"] | None, BeforeValidator(blank_is_none)]
ResetTokenText = Annotated[str, StringConstraints(max_length=TOKEN_MAX_CHARS), AfterValidator(encodable)]
TimeZoneName = Annotated[str | None, BeforeValidator(blank_is_none), AfterValidator(known_zone)]
TotpCode = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=6, max_length=CODE_MAX_CHARS), AfterValidator(encodable)
]
RefreshTokenText = Annotated[str, StringConstraints(max_length=TOKEN_MAX_CHARS)]


class RegisterBody(Body):
    """A new account; it gets the default plan."""

    name: Name
    email: Email
    password: NewPassword


class LoginBody(Body):
    """``email`` and ``password``; with two-step sign-in also ``totp``, a code of the app or a recovery code. Without it
    the answer is 401 ``totp_required`` with a ``challenge``, to be sent back with ``totp`` and nothing else."""

    email: Email | None = None
    password: GivenPassword | None = None
    challenge: Annotated[str, StringConstraints(max_length=CHALLENGE_MAX_CHARS), AfterValidator(encodable)] | None = (
        None
    )
    totp: Annotated[TotpCode | None, BeforeValidator(blank_is_none)] = None


class RefreshBody(Body):
    """Left out, the cookie's refresh token is meant."""

    refresh_token: RefreshTokenText | None = None


class ProfileBody(Body):
    """Only what is given changes."""

    name: Name | None = None
    language: Language = None
    time_zone: TimeZoneName = None


class PasswordBody(Body):
    current_password: GivenPassword
    new_password: NewPassword


class ForgottenBody(Body):
    email: Email


class ResetBody(Body):
    """``token``: the end of the link that was sent."""

    token: ResetTokenText
    new_password: NewPassword


class PlanOfUserAnswer(Answer):
    id: UUID
    name: str
    slug: str
    max_chips: int
    proxy_gb_limit: Money | None
    on_limit: str


class UserAnswer(Answer):
    """``plan`` is what counts: the own plan, or the default one when ``plan_id`` is null."""

    id: UUID
    name: str
    email: str
    role: str
    language: str | None
    time_zone: str | None
    is_active: bool
    has_totp: bool
    plan_id: UUID | None
    plan: PlanOfUserAnswer
    chips_count: int
    created_at: Moment
    last_login_at: Moment | None


class TokensAnswer(Answer):
    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - the type of RFC 6750


class SignedInAnswer(Answer):
    user: UserAnswer
    tokens: TokensAnswer


def own_origin(request: Request) -> None:
    """A browser that comes from another site is refused before any password is looked at."""
    check_origin(request)


@router.post(
    "/register",
    status_code=201,
    response_model=SignedInAnswer,
    dependencies=[Depends(own_origin)],
    responses=problems("email_taken", "csrf", "invalid_input", "too_many_attempts", "unavailable"),
)
def register(body: RegisterBody, request: Request, now: Now) -> SignedInAnswer:
    """Makes an account and signs in."""
    return _answer(signing_in.sign_up(request, name=body.name, email=body.email, password=body.password, now=now))


@router.post(
    "/login",
    response_model=SignedInAnswer,
    dependencies=[Depends(own_origin)],
    responses=problems(
        "bad_login",
        "totp_required",
        "bad_totp",
        "challenge_expired",
        "account_suspended",
        "csrf",
        "invalid_input",
        "too_many_attempts",
        "conflict",
        "unavailable",
    ),
)
def login(body: LoginBody, request: Request, now: Now) -> SignedInAnswer:
    """Answers tokens and sets them as cookies too. Two-step sign-in takes its code at once or in a second call."""
    if body.challenge is not None:
        return _answer(signing_in.finish_log_in(request, body.challenge, _needed(totp=body.totp), now))
    email, password = _needed(email=body.email), _needed(password=body.password)
    return _answer(signing_in.log_in(request, email, password, body.totp, now))


@router.post(
    "/refresh",
    response_model=SignedInAnswer,
    dependencies=[Depends(own_origin)],
    responses=problems("not_authenticated", "account_suspended", "csrf", "invalid_input", "conflict", "unavailable"),
)
def refresh(request: Request, now: Now, body: RefreshBody | None = None) -> SignedInAnswer:
    """New tokens for a refresh token, which dies by it. Using one twice ends the whole sign-in."""
    token = (body.refresh_token if body else None) or request.cookies.get(REFRESH)
    if not token:
        raise WhagoError("not_authenticated")
    return _answer(signing_in.refresh(request, encodable_or_refused(token), now))


@router.post(
    "/logout",
    status_code=204,
    dependencies=[Depends(current_user)],
    responses=problems(*SIGNED_IN, "csrf"),
)
def logout(request: Request, now: Now, body: RefreshBody | None = None) -> None:
    """Ends this sign-in."""
    token = body.refresh_token if body else None
    signing_in.log_out(request, encodable_or_refused(token) if token else None, now)


@router.post(
    "/forgot-password",
    status_code=204,
    dependencies=[Depends(own_origin)],
    responses=problems("csrf", "invalid_input", "too_many_attempts", "unavailable"),
)
def forgot_password(body: ForgottenBody, request: Request, translate: Translate, now: Now) -> None:
    """Sends a link to this address if there is an account. The answer never tells whether there is."""
    signing_in.ask_for_reset(request, body.email, translate.language, now)


@router.post(
    "/reset-password",
    status_code=204,
    dependencies=[Depends(own_origin)],
    responses=problems("link_expired", "csrf", "invalid_input", "too_many_attempts", "conflict", "unavailable"),
)
def reset_password(body: ResetBody, request: Request, now: Now) -> None:
    """Sets the password with the token of a letter, once; every sign-in of the account ends."""
    signing_in.redeem_reset(request, body.token, body.new_password, now)


@router.get("/me", response_model=UserAnswer, responses=problems(*SIGNED_IN))
def me(request: Request, user: User) -> UserView:
    """Who calls. By cookie it also sets the CSRF cookie that unsafe methods need."""
    csrf_token(request)
    return user


@router.patch(
    "/me",
    response_model=UserAnswer,
    responses=problems(*SIGNED_IN, "csrf", "not_found"),
)
def update_me(body: ProfileBody, user: User) -> UserView:
    """Changes name, language or time zone; null for the last two means the browser's."""
    given = body.model_fields_set
    update_profile(
        user.id,
        name=body.name or user.name,
        language=body.language if "language" in given else user.language,
        time_zone=body.time_zone if "time_zone" in given else user.time_zone,
    )
    return get_user(user.id)


@router.post(
    "/password",
    response_model=SignedInAnswer,
    responses=problems(
        "not_authenticated",
        "account_suspended",
        "sign_in_needed",
        "csrf",
        "invalid_input",
        "too_many_attempts",
        "not_found",
        "unavailable",
    ),
)
def change_password(body: PasswordBody, request: Request, user: Person, now: Now) -> SignedInAnswer:
    """Every other sign-in of the account ends; the answer holds new tokens."""
    return _answer(signing_in.change_password(request, user, body.current_password, body.new_password, now))


def encodable_or_refused(token: str) -> str:
    try:
        return encodable(token)
    except ValueError:
        raise WhagoError("not_authenticated") from None


def _needed(**given: str | None) -> str:
    """The one value given by name. Raises InvalidInput where it is missing."""
    ((name, value),) = given.items()
    if value is None:
        raise InvalidInput(**{name: "This is needed."})
    return value


def _answer(signed_in: SignedIn) -> SignedInAnswer:
    return SignedInAnswer(
        user=UserAnswer.model_validate(signed_in.user),
        tokens=TokensAnswer(access_token=signed_in.access_token, refresh_token=signed_in.refresh_token),
    )
