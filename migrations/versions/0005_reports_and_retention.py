"""Reports, rollups and retention."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ROLLUPS = ("usage_hours", "chip_usage_months")
MADE = (
    "ledger_archives",
    "report_runs",
    "clocks",
    "usage_checkpoints",
    "proxy_usage_totals",
    "usage_price_months",
)
PRICES_OF_THE_PAST = """
INSERT INTO usage_price_months
       (month_year, chip_id, proxy_id, price_id, provider_id, user_id, total_bytes, total_cost)
SELECT month_year, chip_id, proxy_id, price_id, provider_id, user_id, sum(bytes_transferred), sum(cost)
  FROM proxy_usage_logs
 GROUP BY month_year, chip_id, proxy_id, price_id, provider_id, user_id
"""


def upgrade() -> None:
    _say_what_changed()
    _keep_prices()
    _remember_proofs()
    op.create_index("ix_user_proxy_costs_month_year", "user_proxy_costs", ["month_year"])
    op.add_column("user_proxy_costs", sa.Column("plan_name", sa.String(120), nullable=True))
    op.add_column("user_proxy_costs", sa.Column("plan_price", sa.Numeric(12, 2), nullable=True))
    op.add_column("user_proxy_costs", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("clock_runs", sa.Column("period", sa.Date(), nullable=True))
    op.create_table(
        "clocks",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("every_s", sa.Integer(), nullable=False),
        sa.Column("period", sa.String(8), nullable=True),
        sa.Column("missed", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clocks")),
    )
    _report_runs()
    _ledger_archives()


def downgrade() -> None:
    for table in MADE:
        op.drop_table(table)
    op.drop_column("clock_runs", "period")
    for column in ("closed_at", "plan_price", "plan_name"):
        op.drop_column("user_proxy_costs", column)
    op.drop_index("ix_user_proxy_costs_month_year", "user_proxy_costs")
    op.drop_index("ix_usage_hours_chip_id_hour", "usage_hours")
    op.drop_index("ix_chip_usage_months_user_id_month_year", "chip_usage_months")
    for table in ROLLUPS:
        op.drop_column(table, "changed_at")


def _say_what_changed() -> None:
    """Without a value, a row has not changed since this migration: the nightly audit looks at it all the same."""
    for table in ROLLUPS:
        op.add_column(table, sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True))
        op.create_index(
            f"ix_{table}_changed_at",
            table,
            ["changed_at"],
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 16, "autosummarize": "on"},
        )
    op.create_index("ix_chip_usage_months_user_id_month_year", "chip_usage_months", ["user_id", "month_year"])
    op.create_index("ix_usage_hours_chip_id_hour", "usage_hours", ["chip_id", "hour"])


def _keep_prices() -> None:
    """Filled from the ledger. What an older version still writes meanwhile, the monitor adds."""
    op.create_table(
        "usage_price_months",
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(30, 15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("month_year", "chip_id", "proxy_id", "price_id", name=op.f("pk_usage_price_months")),
    )
    op.execute(PRICES_OF_THE_PAST)
    op.create_index("ix_usage_price_months_user_id_month_year", "usage_price_months", ["user_id", "month_year"])
    op.create_index("ix_usage_price_months_chip_id_month_year", "usage_price_months", ["chip_id", "month_year"])
    op.create_index("ix_usage_price_months_proxy_id", "usage_price_months", ["proxy_id"])


def _remember_proofs() -> None:
    op.create_table(
        "proxy_usage_totals",
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("before", sa.Date(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("proxy_id", name=op.f("pk_proxy_usage_totals")),
    )
    op.create_table(
        "usage_checkpoints",
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(30, 15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("chip_id", "month_year", name=op.f("pk_usage_checkpoints")),
    )


def _report_runs() -> None:
    op.create_table(
        "report_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("language", sa.String(5), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(10), server_default="queued", nullable=False),
        sa.Column("rows_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rows_total", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(200), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_report_runs_state_known"),
        ),
        sa.ForeignKeyConstraint(["requested_by"], ["users.id"], name=op.f("fk_report_runs_requested_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_runs")),
    )
    op.create_index(
        "ix_report_runs_open", "report_runs", ["created_at"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )  # fmt: skip
    op.create_index("ix_report_runs_requested_by_created_at", "report_runs", ["requested_by", "created_at"])
    op.create_index(
        "ix_report_runs_expires_at", "report_runs", ["expires_at"], postgresql_where=sa.text("content IS NOT NULL")
    )


def _ledger_archives() -> None:
    op.create_table(
        "ledger_archives",
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("file_name", sa.String(120), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("row_count", sa.BigInteger(), nullable=True),
        sa.Column("total_bytes", sa.BigInteger(), nullable=True),
        sa.Column("total_cost", sa.Numeric(30, 15), nullable=True),
        sa.Column("late_reports", sa.Integer(), server_default="0", nullable=False),
        sa.Column("late_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("exported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('exporting', 'exported', 'dropped')", name=op.f("ck_ledger_archives_state_known")
        ),
        sa.PrimaryKeyConstraint("month_year", name=op.f("pk_ledger_archives")),
    )
