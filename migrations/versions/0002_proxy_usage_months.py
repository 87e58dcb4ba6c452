"""What the monitor added up of each proxy, so that it need not add the whole ledger up again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "proxy_usage_months",
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("proxy_id", "user_id", "month_year", name=op.f("pk_proxy_usage_months")),
    )


def downgrade() -> None:
    op.drop_table("proxy_usage_months")
