"""What pages of all customers read: each provider's days, and indexes of lists.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from whago.main.online import create_index, drop_index

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage_provider_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("day", "provider_id", name=op.f("pk_usage_provider_days")),
    )
    op.add_column("usage_day_marks", sa.Column("providers_as_of", sa.DateTime(timezone=True), nullable=True))
    create_index(
        "ix_chips_created_at_id", "chips", ["created_at", "id"], postgresql_where=sa.text("deleted_at IS NULL")
    )
    create_index("ix_chip_usage_months_month_year", "chip_usage_months", ["month_year"])


def downgrade() -> None:
    drop_index("ix_chip_usage_months_month_year", "chip_usage_months")
    drop_index("ix_chips_created_at_id", "chips")
    op.drop_column("usage_day_marks", "providers_as_of")
    op.drop_table("usage_provider_days")
