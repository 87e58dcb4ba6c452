"""Two-factor sign-in, roles, and where each sign-in came from.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ROLES = "role IN ('admin', 'support', 'finance', 'user')"
ROLES_BEFORE = "role IN ('admin', 'user')"
SIGN_IN_COLUMNS = {  # empty for sign-ins that began before
    "began_at": sa.DateTime(timezone=True),
    "last_seen_at": sa.DateTime(timezone=True),
    "address": sa.String(length=45),
    "user_agent": sa.String(length=300),
}


def upgrade() -> None:
    _allow_roles(ROLES)
    for name, kind in SIGN_IN_COLUMNS.items():
        op.add_column("refresh_tokens", sa.Column(name, kind, nullable=True))
    op.create_table(
        "totp_factors",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("sealed_secret", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default="-1", nullable=False),
        sa.Column("uses", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_totp_factors_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp_factors")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_recovery_codes_code_hash")),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"])


def downgrade() -> None:
    op.drop_table("recovery_codes")
    op.drop_table("totp_factors")
    for name in SIGN_IN_COLUMNS:
        op.drop_column("refresh_tokens", name)
    op.execute("UPDATE users SET role = 'user' WHERE role IN ('support', 'finance')")  # never more than they had
    _allow_roles(ROLES_BEFORE)


def _allow_roles(condition: str) -> None:
    """Looked at apart from being set, so that nobody is kept from the table meanwhile."""
    op.execute(
        "ALTER TABLE users DROP CONSTRAINT ck_users_role_known,"
        f" ADD CONSTRAINT ck_users_role_known CHECK ({condition}) NOT VALID"
    )
    op.execute("ALTER TABLE users VALIDATE CONSTRAINT ck_users_role_known")
