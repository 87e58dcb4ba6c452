"""The first schema, with its three plans."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "chip_usage_months",
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("chip_id", "month_year", name=op.f("pk_chip_usage_months")),
    )
    op.create_table(
        "clock_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("clock", sa.String(length=40), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock_runs")),
    )
    op.create_index("ix_clock_runs_clock_started_at", "clock_runs", ["clock", "started_at"], unique=False)
    op.create_table(
        "gateway_boots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_tunnels", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_demo", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_boots")),
    )
    op.create_index(op.f("ix_gateway_boots_last_seen_at"), "gateway_boots", ["last_seen_at"], unique=False)
    op.create_table(
        "plans",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("price", sa.Numeric(precision=12, scale=2), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="BRL", nullable=False),
        sa.Column("max_chips", sa.Integer(), nullable=False),
        sa.Column("proxy_gb_limit", sa.Numeric(precision=18, scale=9), nullable=True),
        sa.Column("on_limit", sa.String(length=12), server_default="block", nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("on_limit IN ('block', 'block_new', 'bill')", name=op.f("ck_plans_on_limit_known")),
        sa.CheckConstraint("max_chips >= 0", name=op.f("ck_plans_max_chips_not_negative")),
        sa.CheckConstraint("proxy_gb_limit >= 0", name=op.f("ck_plans_limit_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("slug", name=op.f("uq_plans_slug")),
    )
    op.create_index(
        "uq_plans_one_default", "plans", ["is_default"], unique=True, postgresql_where=sa.text("is_default")
    )
    op.create_table(
        "proxy_providers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("provider_type", sa.String(length=12), nullable=False),
        sa.Column("preset", sa.String(length=40), nullable=False),
        sa.Column("protocol", sa.String(length=6), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("credentials", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("username_template", sa.Text(), nullable=False),
        sa.Column("password_template", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("region", sa.String(length=40), nullable=True),
        sa.Column("lifetime_min", sa.Integer(), server_default="1440", nullable=False),
        sa.Column("ip_check_url", sa.Text(), nullable=True),
        sa.Column("cost_per_gb", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("currency", sa.String(length=3), server_default="BRL", nullable=False),
        sa.Column("bytes_per_gb", sa.BigInteger(), server_default="1000000000", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="100", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("is_demo", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("current_price_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("protocol IN ('http', 'socks5')", name=op.f("ck_proxy_providers_protocol_known")),
        sa.CheckConstraint(
            "provider_type IN ('residential', 'datacenter', 'mobile')", name=op.f("ck_proxy_providers_type_known")
        ),
        sa.CheckConstraint("bytes_per_gb > 0", name=op.f("ck_proxy_providers_gb_positive")),
        sa.CheckConstraint("cost_per_gb >= 0", name=op.f("ck_proxy_providers_cost_not_negative")),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_proxy_providers_port_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proxy_providers")),
    )
    op.create_index(
        "uq_proxy_providers_name",
        "proxy_providers",
        ["name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "proxy_usage_logs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("boot_id", sa.Uuid(), nullable=False),
        sa.Column("tunnel_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("bytes_up", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_down", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("overhead", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_transferred", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("session_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("session_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cost_per_gb", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("bytes_per_gb", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.Column("is_demo", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint(
            "month_year", "boot_id", "tunnel_id", "hour", "price_id", name=op.f("pk_proxy_usage_logs")
        ),
        postgresql_partition_by="RANGE (month_year)",
    )
    op.create_index("ix_proxy_usage_logs_chip_id_hour", "proxy_usage_logs", ["chip_id", "hour"], unique=False)
    op.create_index("ix_proxy_usage_logs_user_id_hour", "proxy_usage_logs", ["user_id", "hour"], unique=False)
    op.create_table(
        "proxy_usage_months",
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("proxy_id", "user_id", "month_year", name=op.f("pk_proxy_usage_months")),
    )
    op.create_table(
        "usage_hours",
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("chip_id", "provider_id", "hour", name=op.f("pk_usage_hours")),
    )
    op.create_index("ix_usage_hours_hour", "usage_hours", ["hour"], unique=False)
    op.create_index("ix_usage_hours_user_id_hour", "usage_hours", ["user_id", "hour"], unique=False)
    op.create_table(
        "proxies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("proxy_type", sa.String(length=8), nullable=False),
        sa.Column("proxy_url", sa.Text(), nullable=False),
        sa.Column("credentials", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("region", sa.String(length=40), nullable=True),
        sa.Column("max_chips", sa.Integer(), nullable=True),
        sa.Column("health_score", sa.Integer(), server_default="100", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("total_bytes_used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("consecutive_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("proxy_type IN ('rotating', 'static')", name=op.f("ck_proxies_type_known")),
        sa.CheckConstraint("health_score BETWEEN 0 AND 100", name=op.f("ck_proxies_health_range")),
        sa.CheckConstraint("max_chips >= 1", name=op.f("ck_proxies_max_chips_positive")),
        sa.ForeignKeyConstraint(["provider_id"], ["proxy_providers.id"], name=op.f("fk_proxies_provider_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proxies")),
    )
    op.create_index(
        "ix_proxies_usable",
        "proxies",
        ["provider_id"],
        unique=False,
        postgresql_where=sa.text("is_active AND deleted_at IS NULL"),
    )
    op.create_table(
        "proxy_provider_prices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("cost_per_gb", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("bytes_per_gb", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["proxy_providers.id"], name=op.f("fk_proxy_provider_prices_provider_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proxy_provider_prices")),
    )
    op.create_index(
        op.f("ix_proxy_provider_prices_provider_id"), "proxy_provider_prices", ["provider_id"], unique=False
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=10), server_default="user", nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=True),
        sa.Column("language", sa.String(length=5), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("is_demo", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("token_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('admin', 'user')", name=op.f("ck_users_role_known")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_users_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index(op.f("ix_users_plan_id"), "users", ["plan_id"], unique=False)
    op.create_index("uq_users_email", "users", ["email"], unique=True, postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("prefix", sa.String(length=40), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("target_kind", sa.String(length=40), nullable=False),
        sa.Column("target_id", sa.String(length=60), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_audit_log_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"], unique=False)
    op.create_table(
        "chips",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(length=120), nullable=False),
        sa.Column("engine", sa.String(length=8), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_reason", sa.String(length=60), nullable=True),
        sa.Column("region", sa.String(length=40), nullable=True),
        sa.Column("phone_number", sa.String(length=20), nullable=True),
        sa.Column("gateway_token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sticky_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bridge_event_no", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("engine IN ('bridge', 'external')", name=op.f("ck_chips_engine_known")),
        sa.CheckConstraint(
            "status IN ('created', 'waiting_proxy', 'connecting', 'waiting_qr', 'connected', 'disconnected',"
            " 'logged_out', 'blocked_quota', 'error')",
            name=op.f("ck_chips_status_known"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_chips_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chips")),
    )
    op.create_index(op.f("ix_chips_status"), "chips", ["status"], unique=False)
    op.create_index("ix_chips_user_id_created_at", "chips", ["user_id", "created_at"], unique=False)
    op.create_index(
        "uq_chips_alias", "chips", ["user_id", "alias"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("dedupe_key", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "level IN ('info', 'warning', 'error', 'success')", name=op.f("ck_notifications_level_known")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notifications_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_unread",
        "notifications",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_index(
        "ix_notifications_user_id_created_at_id", "notifications", ["user_id", "created_at", "id"], unique=False
    )
    op.create_index("uq_notifications_user_id_dedupe_key", "notifications", ["user_id", "dedupe_key"], unique=True)
    op.create_table(
        "quota_leases",
        sa.Column("boot_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("granted_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=40), server_default="open", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('open', 'released', 'expired')", name=op.f("ck_quota_leases_state_known")),
        sa.ForeignKeyConstraint(["boot_id"], ["gateway_boots.id"], name=op.f("fk_quota_leases_boot_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_quota_leases_user_id")),
        sa.PrimaryKeyConstraint("boot_id", "user_id", "month_year", name=op.f("pk_quota_leases")),
    )
    op.create_index(op.f("ix_quota_leases_expires_at"), "quota_leases", ["expires_at"], unique=False)
    op.create_index("ix_quota_leases_user_id_month_year", "quota_leases", ["user_id", "month_year"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_refresh_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_refresh_tokens_token_hash")),
    )
    op.create_index(op.f("ix_refresh_tokens_expires_at"), "refresh_tokens", ["expires_at"], unique=False)
    op.create_index(op.f("ix_refresh_tokens_family_id"), "refresh_tokens", ["family_id"], unique=False)
    op.create_index(op.f("ix_refresh_tokens_user_id"), "refresh_tokens", ["user_id"], unique=False)
    op.create_table(
        "user_proxy_costs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month_year", sa.Date(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_cost", sa.Numeric(precision=30, scale=15), server_default="0", nullable=False),
        sa.Column("leased_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exhausted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_updated", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("leased_bytes >= 0", name=op.f("ck_user_proxy_costs_leased_not_negative")),
        sa.CheckConstraint("total_bytes >= 0", name=op.f("ck_user_proxy_costs_total_not_negative")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_proxy_costs_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_proxy_costs")),
    )
    op.create_index(
        "uq_user_proxy_costs_user_id_month_year", "user_proxy_costs", ["user_id", "month_year"], unique=True
    )
    op.create_table(
        "chip_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["chip_id"], ["chips.id"], name=op.f("fk_chip_events_chip_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chip_events")),
    )
    op.create_index("ix_chip_events_chip_id_id", "chip_events", ["chip_id", "id"], unique=False)
    op.create_table(
        "chip_proxy_assignments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("proxy_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("session_identifier", sa.String(length=120), nullable=False),
        sa.Column("session_token", sa.String(length=40), nullable=False),
        sa.Column("is_exclusive", sa.Boolean(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("assign_reason", sa.String(length=40), nullable=False),
        sa.Column("release_reason", sa.String(length=40), nullable=True),
        sa.Column("exit_ip", postgresql.INET(), nullable=True),
        sa.CheckConstraint(
            "released_at >= assigned_at", name=op.f("ck_chip_proxy_assignments_released_after_assigned")
        ),
        sa.ForeignKeyConstraint(["chip_id"], ["chips.id"], name=op.f("fk_chip_proxy_assignments_chip_id")),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["proxy_providers.id"], name=op.f("fk_chip_proxy_assignments_provider_id")
        ),
        sa.ForeignKeyConstraint(["proxy_id"], ["proxies.id"], name=op.f("fk_chip_proxy_assignments_proxy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chip_proxy_assignments")),
    )
    op.create_index(
        "ix_chip_proxy_assignments_active_proxy",
        "chip_proxy_assignments",
        ["proxy_id"],
        unique=False,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index(
        "ix_chip_proxy_assignments_chip_id_assigned_at",
        "chip_proxy_assignments",
        ["chip_id", "assigned_at"],
        unique=False,
    )
    op.create_index(
        "uq_chip_proxy_assignments_active_chip",
        "chip_proxy_assignments",
        ["chip_id"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index(
        "uq_chip_proxy_assignments_active_token",
        "chip_proxy_assignments",
        ["provider_id", "session_token"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index(
        "uq_chip_proxy_assignments_exclusive_proxy",
        "chip_proxy_assignments",
        ["proxy_id"],
        unique=True,
        postgresql_where=sa.text("released_at IS NULL AND is_exclusive"),
    )
    op.create_table(
        "exit_ip_observations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("chip_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("exit_ip", postgresql.INET(), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("asn", sa.String(length=80), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("observations", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["chip_proxy_assignments.id"], name=op.f("fk_exit_ip_observations_assignment_id")
        ),
        sa.ForeignKeyConstraint(["chip_id"], ["chips.id"], name=op.f("fk_exit_ip_observations_chip_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exit_ip_observations")),
    )
    op.create_index(
        op.f("ix_exit_ip_observations_assignment_id"), "exit_ip_observations", ["assignment_id"], unique=False
    )
    op.create_index(
        "ix_exit_ip_observations_chip_id_first_seen_at",
        "exit_ip_observations",
        ["chip_id", "first_seen_at"],
        unique=False,
    )
    op.create_index(op.f("ix_exit_ip_observations_exit_ip"), "exit_ip_observations", ["exit_ip"], unique=False)

    now = datetime.now(UTC)
    op.bulk_insert(
        sa.table(
            "plans",
            *[
                sa.column(name)
                for name in (
                    "id",
                    "name",
                    "slug",
                    "price",
                    "currency",
                    "max_chips",
                    "proxy_gb_limit",
                    "on_limit",
                    "is_default",
                    "created_at",
                    "updated_at",
                )
            ],
        ),
        [
            _plan(uuid4(), "Free", "free", "0", 1, "0.1", now, is_default=True),
            _plan(uuid4(), "Business", "business", "97", 3, "1", now),
            _plan(uuid4(), "Enterprise", "enterprise", "297", 10, "5", now),
        ],
    )


def _plan(
    plan_id: UUID,
    name: str,
    slug: str,
    price: str,
    max_chips: int,
    limit_gb: str,
    now: datetime,
    *,
    is_default: bool = False,
) -> dict[str, object]:
    return {
        "id": plan_id,
        "name": name,
        "slug": slug,
        "price": Decimal(price),
        "currency": "BRL",
        "max_chips": max_chips,
        "proxy_gb_limit": Decimal(limit_gb),
        "on_limit": "block",
        "is_default": is_default,
        "created_at": now,
        "updated_at": now,
    }


def downgrade() -> None:
    op.drop_index(op.f("ix_exit_ip_observations_exit_ip"), table_name="exit_ip_observations")
    op.drop_index("ix_exit_ip_observations_chip_id_first_seen_at", table_name="exit_ip_observations")
    op.drop_index(op.f("ix_exit_ip_observations_assignment_id"), table_name="exit_ip_observations")
    op.drop_table("exit_ip_observations")
    op.drop_index(
        "uq_chip_proxy_assignments_exclusive_proxy",
        table_name="chip_proxy_assignments",
        postgresql_where=sa.text("released_at IS NULL AND is_exclusive"),
    )
    op.drop_index(
        "uq_chip_proxy_assignments_active_token",
        table_name="chip_proxy_assignments",
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.drop_index(
        "uq_chip_proxy_assignments_active_chip",
        table_name="chip_proxy_assignments",
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.drop_index("ix_chip_proxy_assignments_chip_id_assigned_at", table_name="chip_proxy_assignments")
    op.drop_index(
        "ix_chip_proxy_assignments_active_proxy",
        table_name="chip_proxy_assignments",
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.drop_table("chip_proxy_assignments")
    op.drop_index("ix_chip_events_chip_id_id", table_name="chip_events")
    op.drop_table("chip_events")
    op.drop_index("uq_user_proxy_costs_user_id_month_year", table_name="user_proxy_costs")
    op.drop_table("user_proxy_costs")
    op.drop_index(op.f("ix_refresh_tokens_user_id"), table_name="refresh_tokens")
    op.drop_index(op.f("ix_refresh_tokens_family_id"), table_name="refresh_tokens")
    op.drop_index(op.f("ix_refresh_tokens_expires_at"), table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index("ix_quota_leases_user_id_month_year", table_name="quota_leases")
    op.drop_index(op.f("ix_quota_leases_expires_at"), table_name="quota_leases")
    op.drop_table("quota_leases")
    op.drop_index("uq_notifications_user_id_dedupe_key", table_name="notifications")
    op.drop_index("ix_notifications_user_id_created_at_id", table_name="notifications")
    op.drop_index("ix_notifications_unread", table_name="notifications", postgresql_where=sa.text("read_at IS NULL"))
    op.drop_table("notifications")
    op.drop_index("uq_chips_alias", table_name="chips", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_chips_user_id_created_at", table_name="chips")
    op.drop_index(op.f("ix_chips_status"), table_name="chips")
    op.drop_table("chips")
    op.drop_index(op.f("ix_audit_log_at"), table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_index(op.f("ix_api_keys_user_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index("uq_users_email", table_name="users", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(op.f("ix_users_plan_id"), table_name="users")
    op.drop_table("users")
    op.drop_index(op.f("ix_proxy_provider_prices_provider_id"), table_name="proxy_provider_prices")
    op.drop_table("proxy_provider_prices")
    op.drop_index(
        "ix_proxies_usable", table_name="proxies", postgresql_where=sa.text("is_active AND deleted_at IS NULL")
    )
    op.drop_table("proxies")
    op.drop_index("ix_usage_hours_user_id_hour", table_name="usage_hours")
    op.drop_index("ix_usage_hours_hour", table_name="usage_hours")
    op.drop_table("usage_hours")
    op.drop_table("proxy_usage_months")
    op.drop_index("ix_proxy_usage_logs_user_id_hour", table_name="proxy_usage_logs")
    op.drop_index("ix_proxy_usage_logs_chip_id_hour", table_name="proxy_usage_logs")
    op.drop_table("proxy_usage_logs")
    op.drop_index(
        "uq_proxy_providers_name", table_name="proxy_providers", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_table("proxy_providers")
    op.drop_index("uq_plans_one_default", table_name="plans", postgresql_where=sa.text("is_default"))
    op.drop_table("plans")
    op.drop_index(op.f("ix_gateway_boots_last_seen_at"), table_name="gateway_boots")
    op.drop_table("gateway_boots")
    op.drop_index("ix_clock_runs_clock_started_at", table_name="clock_runs")
    op.drop_table("clock_runs")
    op.drop_table("chip_usage_months")
