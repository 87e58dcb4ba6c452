"""Indexes for a long history.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_sums_of_pages()


def downgrade() -> None:
    op.drop_column("usage_day_marks", "chips_as_of")
    op.drop_table("usage_chip_days")
    op.drop_table("exit_ip_lives")


def _add_sums_of_pages() -> None:
    """What pages read at each refresh, added up by clocks; empty until a worker of this version has run."""
    op.create_table(
        "exit_ip_lives",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("median_life_s", sa.Integer(), nullable=True),
        sa.Column("is_least", sa.Boolean(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider_id", name=op.f("pk_exit_ip_lives")),
    )
    op.create_table(
        "usage_chip_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "chip_id", name=op.f("pk_usage_chip_days")),
    )
    op.create_index("ix_usage_chip_days_day", "usage_chip_days", ["day"])
    op.add_column("usage_day_marks", sa.Column("chips_as_of", sa.DateTime(timezone=True), nullable=True))
