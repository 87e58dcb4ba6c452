"""How the caller signs in: the second factor, and the devices that are signed in. By a sign-in only, never by a key."""

from __future__ import annotations

from uuid import UUID

import segno
from fastapi import APIRouter, Request

from whago.domain.actions import accounts, second_factors
from whago.domain.queries.sign_ins import second_factor, sign_ins
from whago.domain.queries.users import UserView
from whago.domain.rules.totp import provisioning_uri
from whago.web.api.auth import SIGNED_IN, TotpCode
from whago.web.api.fields import Answer, Body, GivenPassword, ListAnswer, Moment
from whago.web.cookies import drop_sign_in
from whago.web.deps import Now, Parted, Person, remembered_claims
from whago.web.errors import problems
from whago.web.parts import parts_of
from whago.web.signing_in import check_own_password

HELD = (*SIGNED_IN, "sign_in_needed")
CHANGED = (*HELD, "csrf", "conflict", "too_many_attempts")
QR_SCALE = 5  # pixels a module
QR_BORDER = 3  # modules; the norm asks for four, and cameras are content with three

router = APIRouter(prefix="/auth", tags=["auth"])


class PasswordOnlyBody(Body):
    current_password: GivenPassword


class CodeBody(Body):
    totp: TotpCode


class ProofBody(PasswordOnlyBody):
    """``totp``: a code of the app, or a recovery code."""

    totp: TotpCode


class SecondFactorAnswer(Answer):
    """``is_required``: the settings of this installation ask for it from the caller's role."""

    is_enabled: bool
    is_required: bool
    enabled_at: Moment | None
    recovery_codes_left: int


class NewTotpAnswer(Answer):
    """Shown this once. ``qr``: the address as a picture, an SVG in a ``data:`` URL."""

    secret: str
    otpauth_uri: str
    qr: str


class RecoveryCodesAnswer(Answer):
    """Shown this once; each opens the account once, in place of a code of the app."""

    recovery_codes: list[str]


class SignInAnswer(Answer):
    """``last_seen_at``: to a quarter of an hour."""

    id: UUID
    began_at: Moment
    last_seen_at: Moment
    expires_at: Moment
    address: str | None
    user_agent: str | None
    is_current: bool


@router.get("/totp", response_model=SecondFactorAnswer, responses=problems(*HELD))
def get_totp(user: Person, parts: Parted) -> SecondFactorAnswer:
    """Whether two-step sign-in is on."""
    told = second_factor(user.id)
    return SecondFactorAnswer(
        is_enabled=told.enabled_at is not None,
        is_required=parts.config.require_staff_totp and user.is_staff,
        enabled_at=told.enabled_at,
        recovery_codes_left=told.recovery_codes_left,
    )


@router.post("/totp", status_code=201, response_model=NewTotpAnswer, responses=problems(*CHANGED, "totp_on"))
def begin_totp(body: PasswordOnlyBody, request: Request, user: Person, now: Now) -> NewTotpAnswer:
    """A secret for an authenticator app. It counts as soon as a code of it was confirmed, within the hour."""
    check_own_password(request, user, body.current_password)
    secret = second_factors.begin_totp(user.id, vault=parts_of(request).vault, now=now)
    uri = provisioning_uri(secret, user.email)
    picture = segno.make(uri, error="m").svg_data_uri(scale=QR_SCALE, border=QR_BORDER, light="#fff")
    return NewTotpAnswer(secret=secret, otpauth_uri=uri, qr=picture)


@router.post("/totp/confirm", response_model=RecoveryCodesAnswer, responses=problems(*CHANGED, "totp_on", "totp_off"))
def confirm_totp(body: CodeBody, request: Request, user: Person, now: Now) -> RecoveryCodesAnswer:
    """Turns two-step sign-in on. Every other sign-in of the caller ends."""
    parts = parts_of(request)
    parts.attempts.before_code(user.id)
    codes = second_factors.confirm_totp(user.id, body.totp, vault=parts.vault, family_id=_family(request), now=now)
    parts.attempts.code_accepted(user.id)
    return RecoveryCodesAnswer(recovery_codes=codes)


@router.post(
    "/totp/recovery-codes",
    status_code=201,
    response_model=RecoveryCodesAnswer,
    responses=problems(*CHANGED, "totp_off"),
)
def renew_recovery_codes(body: ProofBody, request: Request, user: Person, now: Now) -> RecoveryCodesAnswer:
    """Ten new ones; those before are worth nothing."""
    _check_proof(request, user, body)
    codes = second_factors.renew_recovery_codes(user.id, body.totp, vault=parts_of(request).vault, now=now)
    parts_of(request).attempts.code_accepted(user.id)
    return RecoveryCodesAnswer(recovery_codes=codes)


@router.post("/totp/disable", status_code=204, responses=problems(*CHANGED, "totp_off"))
def disable_totp(body: ProofBody, request: Request, user: Person, now: Now) -> None:
    """Turns two-step sign-in off. Every other sign-in of the caller ends."""
    parts = parts_of(request)
    _check_proof(request, user, body)
    second_factors.disable_totp(user.id, body.totp, vault=parts.vault, family_id=_family(request), now=now)
    parts.attempts.code_accepted(user.id)


@router.get("/sign-ins", response_model=ListAnswer[SignInAnswer], responses=problems(*HELD))
def get_sign_ins(request: Request, user: Person, now: Now) -> ListAnswer[SignInAnswer]:
    """The devices that are signed in, the one seen last first."""
    own = _family(request)
    items = [
        SignInAnswer(
            **{name: getattr(one, name) for name in SignInAnswer.model_fields if name != "is_current"},
            is_current=one.id == own,
        )
        for one in sign_ins(user.id, now=now)
    ]
    return ListAnswer(items=items, next_cursor=None)


@router.delete("/sign-ins/{sign_in_id}", status_code=204, responses=problems(*CHANGED, "not_found"))
def end_sign_in(sign_in_id: UUID, request: Request, user: Person, now: Now) -> None:
    """Signs one device out, at once."""
    accounts.end_one_sign_in(user.id, sign_in_id, now=now)
    if sign_in_id == _family(request):
        drop_sign_in(request)


@router.post("/sign-ins/end-all", status_code=204, responses=problems(*CHANGED))
def end_every_sign_in(request: Request, user: Person, now: Now) -> None:
    """Signs every device out, this one too."""
    accounts.end_all_sign_ins(user.id, user.id, now=now)
    drop_sign_in(request)


def _check_proof(request: Request, user: UserView, body: ProofBody) -> None:
    check_own_password(request, user, body.current_password)
    parts_of(request).attempts.before_code(user.id)


def _family(request: Request) -> UUID:
    claims = remembered_claims(request)
    assert claims is not None  # ``Person`` has asked for it
    return claims.family_id
