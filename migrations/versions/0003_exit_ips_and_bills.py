"""Exit-IP continuity, providers' bills and calibration."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NEW_TABLES = (
    "exit_ip_duplicates",
    "exit_ip_days",
    "provider_billing",
    "provider_readings",
    "provider_usage_days",
    "provider_calibrations",
)


def upgrade() -> None:
    _add_columns()
    _create_exit_ips()
    _create_bills()
    _create_calibrations()


def downgrade() -> None:
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.drop_index("ix_exit_ip_observations_last_seen_at", table_name="exit_ip_observations")
    op.drop_index("ix_chip_proxy_assignments_active_exit_ip", table_name="chip_proxy_assignments")
    for column in ("paused_at", "exit_ip_changed_at", "expected_exit_ip"):
        op.drop_column("chip_proxy_assignments", column)
    for name in ("exit_ip_every_range", "exit_ip_policy_known", "country_form_known"):
        op.drop_constraint(op.f(f"ck_proxy_providers_{name}"), "proxy_providers", type_="check")
    for column in ("exit_ip_every_min", "exit_ip_policy", "country_form"):
        op.drop_column("proxy_providers", column)


def _add_columns() -> None:
    op.add_column(
        "proxy_providers", sa.Column("country_form", sa.String(length=6), server_default="lower", nullable=False)
    )
    op.add_column(
        "proxy_providers", sa.Column("exit_ip_policy", sa.String(length=8), server_default="alert", nullable=False)
    )
    op.add_column("proxy_providers", sa.Column("exit_ip_every_min", sa.Integer(), server_default="60", nullable=False))
    op.create_check_constraint(
        op.f("ck_proxy_providers_country_form_known"), "proxy_providers", "country_form IN ('lower', 'upper')"
    )
    op.create_check_constraint(
        op.f("ck_proxy_providers_exit_ip_policy_known"),
        "proxy_providers",
        "exit_ip_policy IN ('tolerate', 'alert', 'pause')",
    )
    op.create_check_constraint(
        op.f("ck_proxy_providers_exit_ip_every_range"), "proxy_providers", "exit_ip_every_min BETWEEN 5 AND 1440"
    )
    op.add_column("chip_proxy_assignments", sa.Column("expected_exit_ip", postgresql.INET(), nullable=True))
    op.add_column("chip_proxy_assignments", sa.Column("exit_ip_changed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chip_proxy_assignments", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_chip_proxy_assignments_active_exit_ip",
        "chip_proxy_assignments",
        ["exit_ip"],
        unique=False,
        postgresql_where=sa.text("released_at IS NULL"),
    )


def _create_exit_ips() -> None:
    op.create_index("ix_exit_ip_observations_last_seen_at", "exit_ip_observations", ["last_seen_at"], unique=False)
    op.create_table(
        "exit_ip_duplicates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("exit_ip", postgresql.INET(), nullable=False),
        sa.Column("older_assignment_id", sa.Uuid(), nullable=False),
        sa.Column("younger_assignment_id", sa.Uuid(), nullable=False),
        sa.Column("younger_chip_id", sa.Uuid(), nullable=False),
        sa.Column("younger_provider_id", sa.Uuid(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("over_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exit_ip_duplicates")),
    )
    op.create_index(
        "uq_exit_ip_duplicates_open",
        "exit_ip_duplicates",
        ["exit_ip", "younger_assignment_id"],
        unique=True,
        postgresql_where=sa.text("over_at IS NULL"),
    )
    op.create_index(
        "ix_exit_ip_duplicates_younger_provider_id_found_at",
        "exit_ip_duplicates",
        ["younger_provider_id", "found_at"],
        unique=False,
    )
    op.create_table(
        "exit_ip_days",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("chip_days", sa.Integer(), nullable=False),
        sa.Column("steady_chip_days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("provider_id", "day", name=op.f("pk_exit_ip_days")),
    )


def _create_bills() -> None:
    op.create_table(
        "provider_billing",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("usage_tz", sa.String(length=60), server_default="UTC", nullable=False),
        sa.Column("lag_min", sa.Integer(), nullable=True),
        sa.Column("threshold_percent", sa.Numeric(precision=6, scale=3), server_default="2", nullable=False),
        sa.Column("account", sa.String(length=120), nullable=True),
        sa.Column("api_url", sa.Text(), nullable=True),
        sa.Column("transfer_url", sa.Text(), nullable=True),
        sa.Column("low_balance_bytes", sa.BigInteger(), nullable=True),
        sa.Column("request_overhead_bytes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reconcile_from", sa.Date(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=True),
        sa.Column("balance_bytes", sa.BigInteger(), nullable=True),
        sa.Column("balance_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("lag_min BETWEEN 0 AND 4320", name=op.f("ck_provider_billing_lag_range")),
        sa.CheckConstraint("threshold_percent > 0", name=op.f("ck_provider_billing_threshold_positive")),
        sa.CheckConstraint("request_overhead_bytes >= 0", name=op.f("ck_provider_billing_overhead_not_negative")),
        sa.ForeignKeyConstraint(["provider_id"], ["proxy_providers.id"], name=op.f("fk_provider_billing_provider_id")),
        sa.PrimaryKeyConstraint("provider_id", name=op.f("pk_provider_billing")),
    )
    op.create_table(
        "provider_readings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counter", sa.String(length=4), nullable=False),
        sa.Column("vendor_bytes", sa.BigInteger(), nullable=False),
        sa.Column("chip_bytes", sa.BigInteger(), nullable=False),
        sa.Column("house_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("counter IN ('used', 'left')", name=op.f("ck_provider_readings_counter_known")),
        sa.ForeignKeyConstraint(["provider_id"], ["proxy_providers.id"], name=op.f("fk_provider_readings_provider_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_readings")),
    )
    op.create_index("ix_provider_readings_provider_id_at", "provider_readings", ["provider_id", "at"], unique=False)
    op.create_table(
        "provider_usage_days",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("vendor_bytes", sa.BigInteger(), nullable=False),
        sa.Column("resolution_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("chip_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("house_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tunnels", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expected_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("difference_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("difference_percent", sa.Numeric(precision=12, scale=3), nullable=True),
        sa.Column("difference_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("vendor_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('api', 'reading', 'csv')", name=op.f("ck_provider_usage_days_source_known")),
        sa.CheckConstraint(
            "verdict IN ('agrees', 'differs', 'unjudged')", name=op.f("ck_provider_usage_days_verdict_known")
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["proxy_providers.id"], name=op.f("fk_provider_usage_days_provider_id")
        ),
        sa.PrimaryKeyConstraint("provider_id", "day", name=op.f("pk_provider_usage_days")),
    )


def _create_calibrations() -> None:
    op.create_table(
        "provider_calibrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("fit", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("problem", sa.String(length=60), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'refused', 'failed')", name=op.f("ck_provider_calibrations_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["proxy_providers.id"], name=op.f("fk_provider_calibrations_provider_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_calibrations")),
    )
    op.create_index(
        "ix_provider_calibrations_provider_id_started_at",
        "provider_calibrations",
        ["provider_id", "started_at"],
        unique=False,
    )
