"""How somebody signs in: the second step, and the devices that are signed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.sign_ins import SignInView, second_factor, sign_ins
from whago.web.deps import SECURITY_PAGE, Parted, remembered_claims
from whago.web.pages.devices import device_name, is_phone
from whago.web.pages.rendering import CustomerPage, Page

API: Final = "/api/v1/auth"

router = APIRouter(prefix=SECURITY_PAGE)


@dataclass(frozen=True, slots=True)
class Device:
    """A sign-in as its owner recognises it. ``name``: None for what does not say."""

    id: UUID
    name: str | None
    is_phone: bool
    address: str | None
    began_at: datetime
    last_seen_at: datetime
    is_current: bool


@router.get("")
def security_page(page: CustomerPage, parts: Parted) -> Response:
    """The page, or for htmx the part of it that refreshes."""
    factor = second_factor(page.owner_id)
    claims = remembered_claims(page.request)
    assert page.user is not None
    return page.draw(
        "settings/_security.html" if page.is_fragment else "settings/security.html",
        factor=factor,
        is_owed=parts.config.require_staff_totp and page.user.is_staff and factor.enabled_at is None,
        devices=[_device(one, claims.family_id if claims else None) for one in sign_ins(page.owner_id, now=page.now)],
    )


@router.get("/totp-on")
def set_up(page: CustomerPage) -> Response:
    return _dialog(page, "totp_on", api=f"POST {API}/totp")


@router.get("/totp-off")
def turn_off(page: CustomerPage) -> Response:
    say = page.translate
    return _dialog(
        page,
        "totp_proof",
        api=f"POST {API}/totp/disable",
        title=say("Turn two-step sign-in off?"),
        text=say("From then on the password alone opens your account. Every other device is signed out."),
        act=say("Turn off"),
        done=say("Two-step sign-in is off."),
    )


@router.get("/codes")
def new_codes(page: CustomerPage) -> Response:
    say = page.translate
    return _dialog(
        page,
        "totp_proof",
        api=f"POST {API}/totp/recovery-codes",
        title=say("New recovery codes"),
        text=say("You get ten new ones; those that you have are worth nothing any more."),
        act=say("Make new codes"),
        done=None,
    )


@router.get("/sign-out")
def sign_out(page: CustomerPage) -> Response:
    return _dialog(page, "sign_out", api=f"POST {API}/sign-ins/end-all")


def _device(one: SignInView, current: UUID | None) -> Device:
    agent = one.user_agent or ""
    return Device(
        id=one.id,
        name=device_name(agent),
        is_phone=is_phone(agent),
        address=one.address,
        began_at=one.began_at,
        last_seen_at=one.last_seen_at,
        is_current=one.id == current,
    )


def _dialog(page: Page, template: str, **context: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(SECURITY_PAGE, 303)
    return page.draw(f"settings/{template}.html", **context)
