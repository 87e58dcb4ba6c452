"""Health, failover and draining of the pool."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ZERO = sa.text("0")
FALSE = sa.text("false")
MOMENT = sa.DateTime(timezone=True)

FAILING = "ix_chip_proxy_assignments_failing"


def added() -> Sequence[tuple[str, Sequence[sa.Column[Any]]]]:
    """Made anew at each call: a column belongs to one table."""
    providers = (
        sa.Column("weight", sa.Integer(), server_default=sa.text("100"), nullable=False),
        sa.Column("is_draining", sa.Boolean(), server_default=FALSE, nullable=False),
        sa.Column("trouble", sa.String(length=40), nullable=True),
        sa.Column("trouble_since", MOMENT, nullable=True),
    )
    proxies = (
        sa.Column("ok_weight", sa.Double(), server_default=ZERO, nullable=False),
        sa.Column("bad_weight", sa.Double(), server_default=ZERO, nullable=False),
        sa.Column("weighed_at", MOMENT, nullable=True),
        sa.Column("refusals", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("ip_changes", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("last_ok_at", MOMENT, nullable=True),
        sa.Column("last_dial_at", MOMENT, nullable=True),
        sa.Column("ejected_until", MOMENT, nullable=True),
        sa.Column("ejections", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("returned_at", MOMENT, nullable=True),
        sa.Column("is_draining", sa.Boolean(), server_default=FALSE, nullable=False),
    )
    assignments = (
        sa.Column("failures", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("refusals", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("failing_since", MOMENT, nullable=True),
        sa.Column("first_ok_at", MOMENT, nullable=True),
    )
    return (("proxy_providers", providers), ("proxies", proxies), ("chip_proxy_assignments", assignments))


def upgrade() -> None:
    for table, columns in added():
        for column in columns:
            op.add_column(table, column)
    op.create_check_constraint(op.f("ck_proxy_providers_weight_positive"), "proxy_providers", "weight >= 1")
    op.create_index(
        FAILING,
        "chip_proxy_assignments",
        ["failing_since"],
        unique=False,
        postgresql_where=sa.text("released_at IS NULL AND failing_since IS NOT NULL"),
    )
    op.create_table(
        "proxy_probe_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("probes", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=ZERO, nullable=False),
        sa.Column("cost", sa.Numeric(precision=30, scale=15), server_default=ZERO, nullable=False),
        sa.PrimaryKeyConstraint("day", "provider_id", "purpose", name=op.f("pk_proxy_probe_days")),
    )


def downgrade() -> None:
    op.drop_table("proxy_probe_days")
    op.drop_index(FAILING, table_name="chip_proxy_assignments")
    op.drop_constraint(op.f("ck_proxy_providers_weight_positive"), "proxy_providers")
    for table, columns in reversed(added()):
        for column in reversed(columns):
            op.drop_column(table, column.name)
