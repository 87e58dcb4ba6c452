"""Users, for administrators: with the chips of each and the proxy of every chip."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from whago.domain.actions.accounts import end_all_sign_ins
from whago.domain.actions.second_factors import reset_totp
from whago.domain.actions.users import UserFields, create_user, delete_user, update_user
from whago.domain.queries.chips import ChipView, chips_of_users
from whago.domain.queries.usage import MonthUsage, usage_of_month
from whago.domain.queries.users import UserView, get_user, list_users
from whago.domain.rules.roles import Role
from whago.kit.passwords import hash_password
from whago.web.api.auth import Language, UserAnswer
from whago.web.api.chips import ChipAnswer
from whago.web.api.fields import PAGE, Body, Cursor, Email, Limit, ListAnswer, Name, NewPassword, Search, blank_is_none
from whago.web.api.providers import ADMIN, CHANGED
from whago.web.api.usage import UsageAnswer
from whago.web.deps import Admin, Looker, Month, Now, Zone
from whago.web.errors import problems

CHIPS_SHOWN: Final = 100  # of one user in a list; the rest are at /admin/chips

router = APIRouter(prefix="/admin/users", tags=["admin: users"])

PlanId = Annotated[UUID | None, BeforeValidator(blank_is_none)]


class UserBody(Body):
    """What is left out keeps its value. ``plan_id`` null is the default plan."""

    name: Name | None = None
    email: Email | None = None
    password: Annotated[NewPassword | None, BeforeValidator(blank_is_none)] = None
    role: Role | None = None
    plan_id: PlanId = None
    is_active: bool | None = None
    language: Language = None


class NewUserBody(UserBody):
    name: Name
    email: Email
    password: NewPassword


class AdminUserAnswer(UserAnswer):
    """``chips``: the first hundred, each with its proxy."""

    chips: list[ChipAnswer]


@router.get("", response_model=ListAnswer[AdminUserAnswer], responses=problems(*ADMIN))
def get_users(
    _admin: Looker,
    month: Month,
    search: Search = None,
    role: Role | None = None,
    plan_id: Annotated[UUID | None, Query()] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> ListAnswer[AdminUserAnswer]:
    """Newest first; `search` looks into name and e-mail."""
    page = list_users(search=search, role=role, plan_id=plan_id, limit=limit, cursor=cursor)
    chips = chips_of_users([user.id for user in page.items], month=month)
    items = [_answer(user, chips.get(user.id, [])) for user in page.items]
    return ListAnswer(items=items, next_cursor=page.next_cursor)


@router.post("", status_code=201, response_model=AdminUserAnswer, responses=problems(*CHANGED, "email_taken"))
def post_user(body: NewUserBody, admin: Admin, now: Now) -> AdminUserAnswer:
    """Makes a customer, or somebody of the house with a role."""
    wanted = UserFields(
        name=body.name,
        email=body.email,
        role=body.role or Role.USER,
        plan_id=body.plan_id,
        is_active=body.is_active is not False,
        language=body.language,
        password_hash=hash_password(body.password),
    )
    return _answer(get_user(create_user(admin.id, wanted, now=now)), [])


@router.get("/{user_id}", response_model=AdminUserAnswer, responses=problems(*ADMIN, "not_found"))
def get_one_user(user_id: UUID, _admin: Looker, month: Month) -> AdminUserAnswer:
    """One user."""
    return _told(user_id, month)


@router.get("/{user_id}/usage", response_model=UsageAnswer, responses=problems(*ADMIN, "not_found"))
def get_user_usage(user_id: UUID, _admin: Looker, now: Now, tz: Zone) -> MonthUsage:
    """A user's running month."""
    return usage_of_month(get_user(user_id).id, now=now, tz=tz)


@router.put(
    "/{user_id}", response_model=AdminUserAnswer, responses=problems(*CHANGED, "not_found", "email_taken", "last_admin")
)
def put_user(user_id: UUID, body: UserBody, admin: Admin, now: Now, tz: Zone, month: Month) -> AdminUserAnswer:
    """Changes what is given. Suspending, or a new password, ends every sign-in of the user."""
    update_user(admin.id, user_id, _merged(body, get_user(user_id)), now=now, tz=tz)
    return _told(user_id, month)


@router.patch(
    "/{user_id}", response_model=AdminUserAnswer, responses=problems(*CHANGED, "not_found", "email_taken", "last_admin")
)
def patch_user(user_id: UUID, body: UserBody, admin: Admin, now: Now, tz: Zone, month: Month) -> AdminUserAnswer:
    """The same as PUT."""
    return put_user(user_id, body, admin, now, tz, month)


@router.delete("/{user_id}", status_code=204, responses=problems(*CHANGED, "not_found", "user_in_use", "last_admin"))
def remove_user(user_id: UUID, admin: Admin, now: Now) -> None:
    """Removes a user without chips; usage and bills stay."""
    delete_user(admin.id, user_id, now=now)


@router.post("/{user_id}/sign-out", status_code=204, responses=problems(*CHANGED, "not_found"))
def sign_user_out(user_id: UUID, admin: Admin, now: Now) -> None:
    """Ends every sign-in of a user, at once. API keys go on."""
    end_all_sign_ins(admin.id, user_id, now=now)


@router.post(
    "/{user_id}/totp/reset", status_code=204, responses=problems(*CHANGED, "not_found", "own_account", "totp_off")
)
def reset_second_factor(user_id: UUID, admin: Admin, now: Now) -> None:
    """For a colleague or customer who lost phone and recovery codes: two-step sign-in is off, every sign-in ends."""
    reset_totp(admin.id, user_id, now=now)


def _merged(body: UserBody, current: UserView) -> UserFields:
    clearable = ("plan_id", "language")
    given: dict[str, Any] = {
        name: getattr(body, name)
        for name in body.model_fields_set - {"password"}
        if getattr(body, name) is not None or name in clearable
    }
    names = ("name", "email", "role", "plan_id", "is_active", "language")
    return UserFields(
        **{name: given.get(name, getattr(current, name)) for name in names},
        password_hash=hash_password(body.password) if body.password else None,
    )


def _told(user_id: UUID, month: date) -> AdminUserAnswer:
    return _answer(get_user(user_id), chips_of_users([user_id], month=month).get(user_id, []))


def _answer(user: UserView, chips: list[ChipView]) -> AdminUserAnswer:
    known = UserAnswer.model_validate(user)
    return AdminUserAnswer(**dict(known), chips=[ChipAnswer.model_validate(chip) for chip in chips[:CHIPS_SHOWN]])
