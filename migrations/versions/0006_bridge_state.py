"""The bridges' sessions: sealed state and leases."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "bridges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_chips", sa.Integer(), nullable=False),
        sa.Column("is_draining", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bridges")),
    )
    op.create_table(
        "chip_holds",
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("bridge_id", sa.Uuid(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_bridge_id", sa.Uuid(), nullable=True),
        sa.Column("first_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state_key", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("creds", sa.LargeBinary(), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["bridge_id"], ["bridges.id"], name=op.f("fk_chip_holds_bridge_id")),
        sa.ForeignKeyConstraint(["chip_id"], ["chips.id"], name=op.f("fk_chip_holds_chip_id")),
        sa.PrimaryKeyConstraint("chip_id", name=op.f("pk_chip_holds")),
    )
    op.create_index(op.f("ix_chip_holds_bridge_id"), "chip_holds", ["bridge_id"], unique=False)
    op.create_table(
        "chip_signal_keys",
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.LargeBinary(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["chip_id"], ["chip_holds.chip_id"], name=op.f("fk_chip_signal_keys_chip_id")),
        sa.PrimaryKeyConstraint("chip_id", "name", name=op.f("pk_chip_signal_keys")),
    )
    op.add_column(
        "chips",
        sa.Column("thrift", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("chips", "thrift")
    op.drop_table("chip_signal_keys")
    op.drop_index(op.f("ix_chip_holds_bridge_id"), table_name="chip_holds")
    op.drop_table("chip_holds")
    op.drop_table("bridges")
