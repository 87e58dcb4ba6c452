"""Users: who signs in, and everybody for administrators."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select

from whago.domain.models import ApiKey, Chip, Plan, RefreshToken, TotpFactor, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, has_text, page_of
from whago.domain.rules.roles import Permit, is_staff, may
from whago.errors import WhagoError
from whago.kit.db import reading

NEWEST_FIRST = Order((User.created_at, User.id), (as_moment, as_id), descending=True)


@dataclass(frozen=True, slots=True)
class PlanOfUser:
    """The plan that counts for a user: the own one, or the default plan."""

    id: UUID
    name: str
    slug: str
    max_chips: int
    proxy_gb_limit: Decimal | None
    on_limit: str


@dataclass(frozen=True, slots=True)
class UserView:
    """``plan_id`` is None for a user on the default plan; ``plan`` is what counts.

    ``has_totp``: sign-ins need a code of an authenticator app.
    """

    id: UUID
    name: str
    email: str
    role: str
    language: str | None
    time_zone: str | None
    is_active: bool
    plan_id: UUID | None
    plan: PlanOfUser
    chips_count: int
    created_at: datetime
    last_login_at: datetime | None
    has_totp: bool
    token_generation: int = field(repr=False)

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def is_staff(self) -> bool:
        return is_staff(self.role)

    def may(self, permit: Permit) -> bool:
        """Whether the role allows it."""
        return may(self.role, permit)


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """What a password is checked against."""

    user_id: UUID
    password_hash: str = field(repr=False)


CHIPS = (
    select(func.count())
    .select_from(Chip)
    .where(Chip.user_id == User.id, Chip.deleted_at.is_(None))
    .correlate(User)
    .scalar_subquery()
)
HAS_TOTP = (
    select(TotpFactor.user_id)
    .where(TotpFactor.user_id == User.id, TotpFactor.confirmed_at.is_not(None))
    .correlate(User)
    .exists()
)


def stored_login(email: str) -> StoredLogin | None:
    """The account of an e-mail in lower case, active or not."""
    query = select(User.id, User.password_hash).where(User.email == email, User.deleted_at.is_(None))
    with reading() as db:
        row = db.execute(query).one_or_none()
    return StoredLogin(row.id, row.password_hash) if row is not None else None


def password_hash_of(user_id: UUID) -> str:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        found = db.scalar(select(User.password_hash).where(User.id == user_id, User.deleted_at.is_(None)))
    if found is None:
        raise WhagoError("not_found")
    return found


def find_user(user_id: UUID) -> UserView | None:
    """A user that was not deleted."""
    return _one_or_none(_query().where(User.id == user_id))


def get_user(user_id: UUID) -> UserView:
    """Raises WhagoError("not_found")."""
    user = find_user(user_id)
    if user is None:
        raise WhagoError("not_found")
    return user


def user_of_api_key(key_hash: bytes) -> tuple[UserView, frozenset[str]] | None:
    """The owner of a key that still holds, and the scopes of the key."""
    query = (
        _query()
        .join(ApiKey, ApiKey.user_id == User.id)
        .add_columns(ApiKey.scopes)
        .where(ApiKey.key_hash == key_hash, ApiKey.revoked_at.is_(None))
    )
    with reading() as db:
        row = db.execute(query).one_or_none()
    return (_view(row[:4]), frozenset(row[4])) if row is not None else None


def user_of_sign_in(user_id: UUID, family_id: UUID) -> tuple[UserView, bool] | None:
    """A user, and whether this sign-in still holds; None when the user is gone."""
    holds = select(RefreshToken.id).where(
        RefreshToken.family_id == family_id, RefreshToken.user_id == user_id, RefreshToken.revoked_at.is_(None)
    )
    with reading() as db:
        row = db.execute(_query().where(User.id == user_id).add_columns(holds.exists())).one_or_none()
    return (_view(row[:4]), bool(row[4])) if row is not None else None


def user_of_refresh_token(token_hash: bytes, *, now: datetime) -> tuple[UserView, UUID] | None:
    """The owner of a refresh token that could still be used, and the family of the token."""
    query = (
        _query()
        .join(RefreshToken, RefreshToken.user_id == User.id)
        .add_columns(RefreshToken.family_id)
        .where(
            RefreshToken.token_hash == token_hash,
            RefreshToken.used_at.is_(None),
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > now,
        )
    )
    with reading() as db:
        row = db.execute(query).one_or_none()
    return (_view(row[:4]), row[4]) if row is not None else None


def list_users(
    *,
    search: str | None = None,
    role: str | None = None,
    plan_id: UUID | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[UserView]:
    """All users, newest first; ``search`` looks into name and e-mail."""
    query = _query()
    if search:
        query = query.where(has_text(search, User.name, User.email))
    if role is not None:
        query = query.where(User.role == role)
    if plan_id is not None:
        query = query.where(Plan.id == plan_id)
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda user: (user.created_at, user.id)
        )


def _query() -> Select[*tuple[Any, ...]]:
    counts = or_(Plan.id == User.plan_id, and_(User.plan_id.is_(None), Plan.is_default))
    return select(User, Plan, CHIPS, HAS_TOTP).join(Plan, counts).where(User.deleted_at.is_(None))


def _one_or_none(query: Select[*tuple[Any, ...]]) -> UserView | None:
    with reading() as db:
        row = db.execute(query).one_or_none()
    return _view(row) if row is not None else None


def _view(row: Any) -> UserView:
    user, plan, chips, has_totp = row
    return UserView(
        id=user.id,
        name=user.name,
        email=user.email,
        role=user.role,
        language=user.language,
        time_zone=user.time_zone,
        is_active=user.is_active,
        plan_id=user.plan_id,
        plan=PlanOfUser(plan.id, plan.name, plan.slug, plan.max_chips, plan.proxy_gb_limit, plan.on_limit),
        chips_count=chips,
        created_at=user.created_at,
        last_login_at=user.last_login_at,
        has_totp=has_totp,
        token_generation=user.token_generation,
    )
