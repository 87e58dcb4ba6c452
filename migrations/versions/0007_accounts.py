"""Password reset, scopes of API keys, the reader's time zone, the log of chips' statuses, and days added up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

EVERY_SCOPE = "{read,write,admin}"  # keys made before may go on doing whatever their owners may

# A chip's status is changed in many places, also by statements without objects; a trigger sees every one of them.
STATUS_FUNCTION = """
CREATE FUNCTION whago_log_chip_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chip_status_changes (chip_id, status, at)
  VALUES (NEW.id, NEW.status, CASE WHEN TG_OP = 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END);
  RETURN NULL;
END $$
"""
STATUS_TRIGGERS = (
    "CREATE TRIGGER whago_log_first_status AFTER INSERT ON chips FOR EACH ROW EXECUTE FUNCTION whago_log_chip_status()",
    "CREATE TRIGGER whago_log_status AFTER UPDATE OF status ON chips FOR EACH ROW"
    " WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION whago_log_chip_status()",
)
# What events told of the time before, and how each chip is now.
STATUSES_SO_FAR = """
INSERT INTO chip_status_changes (chip_id, status, at)
SELECT chip_id, status, at FROM (
  SELECT id AS chip_id, 'created' AS status, created_at AS at FROM chips WHERE deleted_at IS NULL
  UNION ALL
  SELECT e.chip_id, substr(e.kind, 8), e.created_at FROM chip_events e JOIN chips c ON c.id = e.chip_id
  WHERE e.kind LIKE 'status\\_%' AND c.deleted_at IS NULL
  UNION ALL
  SELECT id, status, now() FROM chips WHERE deleted_at IS NULL
) AS told ORDER BY at
"""


def upgrade() -> None:
    op.create_table(
        "password_resets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("language", sa.String(length=5), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_password_resets_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_resets")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_password_resets_token_hash")),
    )
    op.create_index(op.f("ix_password_resets_user_id"), "password_resets", ["user_id"])
    op.create_index(
        "ix_password_resets_due_at", "password_resets", ["due_at"], postgresql_where=sa.text("sent_at IS NULL")
    )
    op.create_index("ix_password_resets_requested_at", "password_resets", ["requested_at"])
    op.add_column("users", sa.Column("time_zone", sa.String(length=60), nullable=True))
    op.add_column(
        "api_keys",
        sa.Column("scopes", postgresql.ARRAY(sa.String(length=10)), server_default=EVERY_SCOPE, nullable=False),
    )
    op.create_table(
        "chip_status_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["chip_id"], ["chips.id"], name=op.f("fk_chip_status_changes_chip_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chip_status_changes")),
    )
    op.create_index("ix_chip_status_changes_chip_id_id", "chip_status_changes", ["chip_id", "id"])
    op.create_index("ix_audit_log_action_id", "audit_log", ["action", "id"])
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", "provider_id", name=op.f("pk_usage_days")),
    )
    op.create_index("ix_usage_days_day", "usage_days", ["day"])
    op.create_table(
        "usage_day_marks",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_usage_day_marks")),
    )
    op.execute(STATUSES_SO_FAR)
    op.execute(STATUS_FUNCTION)
    for trigger in STATUS_TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    op.drop_table("usage_day_marks")
    op.drop_table("usage_days")
    op.drop_index("ix_audit_log_action_id", "audit_log")
    op.execute("DROP TRIGGER whago_log_status ON chips")
    op.execute("DROP TRIGGER whago_log_first_status ON chips")
    op.execute("DROP FUNCTION whago_log_chip_status()")
    op.drop_table("chip_status_changes")
    op.drop_column("api_keys", "scopes")
    op.drop_column("users", "time_zone")
    op.drop_table("password_resets")
