"""Alerts, channels and their deliveries."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A chip's life is changed in many places, also by statements without objects; a trigger sees every one of them. It
# writes only when a webhook of the owner asks for the event.
CHIP_STATUS_FUNCTION = """
CREATE FUNCTION whago_chip_status_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO customer_events (user_id, type, data)
  SELECT NEW.user_id, 'chip.status_changed', jsonb_build_object(
    'chip_id', NEW.id, 'alias', NEW.alias,
    'before', CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END,
    'after', CASE WHEN NEW.deleted_at IS NULL THEN NEW.status ELSE 'deleted' END,
    'reason', CASE WHEN NEW.deleted_at IS NULL THEN NEW.status_reason END)
  WHERE EXISTS (
    SELECT FROM channels WHERE user_id = NEW.user_id AND kind = 'webhook' AND deleted_at IS NULL AND is_active
      AND 'chip.status_changed' = ANY (events));
  RETURN NULL;
END $$
"""
CHIP_STATUS_TRIGGERS = (
    "CREATE TRIGGER whago_chip_made AFTER INSERT ON chips FOR EACH ROW EXECUTE FUNCTION whago_chip_status_changed()",
    "CREATE TRIGGER whago_chip_status_changed AFTER UPDATE OF status, deleted_at ON chips"
    " FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status"
    " OR (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL))"
    " EXECUTE FUNCTION whago_chip_status_changed()",
)

CHIP_PROXY_FUNCTION = """
CREATE FUNCTION whago_chip_proxy_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  owner uuid;
  name text;
BEGIN
  SELECT user_id, alias INTO owner, name FROM chips WHERE id = NEW.chip_id;
  INSERT INTO customer_events (user_id, type, data)
  SELECT owner, 'chip.proxy_changed', jsonb_build_object(
    'chip_id', NEW.chip_id, 'alias', name, 'session_identifier', NEW.session_identifier, 'reason', NEW.assign_reason,
    'assigned_at', NEW.assigned_at)
  WHERE EXISTS (
    SELECT FROM channels WHERE user_id = owner AND kind = 'webhook' AND deleted_at IS NULL AND is_active
      AND 'chip.proxy_changed' = ANY (events));
  RETURN NULL;
END $$
"""
CHIP_PROXY_TRIGGER = (
    "CREATE TRIGGER whago_chip_proxy_changed AFTER INSERT ON chip_proxy_assignments"
    " FOR EACH ROW EXECUTE FUNCTION whago_chip_proxy_changed()"
)

# The first exit IP of a new assignment is compared with the last one of the assignment before.
CHIP_EXIT_IP_FUNCTION = """
CREATE FUNCTION whago_chip_exit_ip_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  owner uuid;
  name text;
  known inet := OLD.exit_ip;
BEGIN
  SELECT user_id, alias INTO owner, name FROM chips WHERE id = NEW.chip_id;
  IF NOT EXISTS (
    SELECT FROM channels WHERE user_id = owner AND kind = 'webhook' AND deleted_at IS NULL AND is_active
      AND 'chip.exit_ip_changed' = ANY (events)) THEN
    RETURN NULL;
  END IF;
  IF known IS NULL THEN
    SELECT exit_ip INTO known FROM chip_proxy_assignments
    WHERE chip_id = NEW.chip_id AND id <> NEW.id AND assigned_at <= NEW.assigned_at AND exit_ip IS NOT NULL
    ORDER BY assigned_at DESC LIMIT 1;
  END IF;
  IF known IS DISTINCT FROM NEW.exit_ip THEN
    INSERT INTO customer_events (user_id, type, data) VALUES (owner, 'chip.exit_ip_changed', jsonb_build_object(
      'chip_id', NEW.chip_id, 'alias', name, 'before', host(known), 'after', host(NEW.exit_ip)));
  END IF;
  RETURN NULL;
END $$
"""
CHIP_EXIT_IP_TRIGGER = (
    "CREATE TRIGGER whago_chip_exit_ip_changed AFTER UPDATE OF exit_ip ON chip_proxy_assignments"
    " FOR EACH ROW WHEN (NEW.exit_ip IS NOT NULL AND OLD.exit_ip IS DISTINCT FROM NEW.exit_ip)"
    " EXECUTE FUNCTION whago_chip_exit_ip_changed()"
)


def upgrade() -> None:
    _alerts()
    _channels()
    _customer_events()
    _deliveries()
    op.add_column("users", sa.Column("quota_thresholds", postgresql.ARRAY(sa.SmallInteger()), nullable=True))
    op.add_column("users", sa.Column("has_channels", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("user_proxy_costs", sa.Column("told_percent", sa.SmallInteger(), server_default="0", nullable=False))
    _notifications()
    op.execute(CHIP_STATUS_FUNCTION)
    op.execute(CHIP_PROXY_FUNCTION)
    op.execute(CHIP_EXIT_IP_FUNCTION)
    for trigger in (*CHIP_STATUS_TRIGGERS, CHIP_PROXY_TRIGGER, CHIP_EXIT_IP_TRIGGER):
        op.execute(trigger)


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name=op.f("ck_alerts_severity_known")),
        sa.CheckConstraint("cleared_at >= raised_at", name=op.f("ck_alerts_cleared_after_raised")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_alerts_user_id")),
        sa.ForeignKeyConstraint(["acknowledged_by"], ["users.id"], name=op.f("fk_alerts_acknowledged_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open", "alerts", ["kind", "subject"], unique=True, postgresql_where=sa.text("cleared_at IS NULL")
    )
    op.create_index("ix_alerts_raised_at_id", "alerts", ["raised_at", "id"])
    op.create_index(op.f("ix_alerts_user_id"), "alerts", ["user_id"])


def _channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("secret", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.String(length=40)), nullable=True),
        sa.Column("events", postgresql.ARRAY(sa.String(length=40)), server_default="{}", nullable=False),
        sa.Column("thresholds", postgresql.ARRAY(sa.SmallInteger()), server_default="{80,100}", nullable=False),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_to", sa.Time(), nullable=True),
        sa.Column("time_zone", sa.String(length=60), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirm_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('in_app', 'email', 'webhook')", name=op.f("ck_channels_kind_known")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_channels_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index(
        "ix_channels_user_id_kind", "channels", ["user_id", "kind"], postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index(
        "uq_channels_one_in_app",
        "channels",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'in_app' AND deleted_at IS NULL"),
    )


def _customer_events() -> None:
    op.create_table(
        "customer_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("routed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_customer_events_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_events")),
        sa.UniqueConstraint("number", name=op.f("uq_customer_events_number")),
    )
    op.create_index(
        "ix_customer_events_unrouted", "customer_events", ["number"], postgresql_where=sa.text("routed_at IS NULL")
    )
    op.create_index("ix_customer_events_created_at", "customer_events", ["created_at"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("secret", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.String(length=8), server_default="pending", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('notice', 'event', 'test', 'confirm')", name=op.f("ck_deliveries_kind_known")),
        sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'failed')", name=op.f("ck_deliveries_state_known")),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_deliveries_channel_id")),
        sa.ForeignKeyConstraint(["notification_id"], ["notifications.id"], name=op.f("fk_deliveries_notification_id")),
        sa.ForeignKeyConstraint(["event_id"], ["customer_events.id"], name=op.f("fk_deliveries_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    for columns in (["channel_id", "notification_id"], ["channel_id", "event_id"]):
        op.create_index("uq_deliveries_" + "_".join(columns), "deliveries", columns, unique=True)
    op.create_index(
        "ix_deliveries_due_at", "deliveries", ["due_at"], postgresql_where=sa.text("state IN ('pending', 'sending')")
    )
    for columns in (["channel_id", "created_at", "id"], ["notification_id"], ["event_id"], ["created_at"]):
        op.create_index("ix_deliveries_" + "_".join(columns), "deliveries", columns)
    op.create_table(
        "delivery_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("reason", sa.String(length=60), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('sent', 'retry', 'failed', 'cut_off')", name=op.f("ck_delivery_attempts_outcome_known")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempts")),
    )
    op.create_index(
        "uq_delivery_attempts_delivery_id_number", "delivery_attempts", ["delivery_id", "number"], unique=True
    )


def _notifications() -> None:
    """What was told before there were channels is not sent out now."""
    op.add_column("notifications", sa.Column("alert_id", sa.Uuid(), nullable=True))
    op.add_column("notifications", sa.Column("in_app", sa.Boolean(), server_default="true", nullable=False))
    op.add_column("notifications", sa.Column("routed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(op.f("fk_notifications_alert_id"), "notifications", "alerts", ["alert_id"], ["id"])
    op.create_index(op.f("ix_notifications_alert_id"), "notifications", ["alert_id"])
    op.execute("UPDATE notifications SET routed_at = created_at")
    op.create_index(
        "ix_notifications_unrouted", "notifications", ["created_at"], postgresql_where=sa.text("routed_at IS NULL")
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER whago_chip_exit_ip_changed ON chip_proxy_assignments")
    op.execute("DROP TRIGGER whago_chip_proxy_changed ON chip_proxy_assignments")
    op.execute("DROP TRIGGER whago_chip_status_changed ON chips")
    op.execute("DROP TRIGGER whago_chip_made ON chips")
    for function in ("chip_exit_ip_changed", "chip_proxy_changed", "chip_status_changed"):
        op.execute(f"DROP FUNCTION whago_{function}()")
    op.drop_table("delivery_attempts")
    op.drop_table("deliveries")
    op.drop_table("customer_events")
    op.drop_table("channels")
    op.drop_index("ix_notifications_unrouted", table_name="notifications")
    op.drop_index(op.f("ix_notifications_alert_id"), table_name="notifications")
    op.drop_constraint(op.f("fk_notifications_alert_id"), "notifications", type_="foreignkey")
    for column in ("routed_at", "in_app", "alert_id"):
        op.drop_column("notifications", column)
    op.drop_table("alerts")
    op.drop_column("user_proxy_costs", "told_percent")
    op.drop_column("users", "has_channels")
    op.drop_column("users", "quota_thresholds")
