"""An audit log that only grows.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Whoever may write rows cannot take any back. The table's owner can, and has to say so first, in that transaction:
# SET LOCAL whago.audit_maintenance = 'on'. Where the processes use a role that owns nothing, none of them can.
REFUSE = """
CREATE FUNCTION whago_audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(current_setting('whago.audit_maintenance', true), '') = 'on' AND pg_has_role(
    session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER'
  ) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'the audit log only grows: % refused', TG_OP
    USING ERRCODE = 'insufficient_privilege', HINT = 'See docs/security.md, audit log.';
END $$
"""
ONLY_GROWS = (
    "CREATE TRIGGER whago_audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
    " FOR EACH STATEMENT EXECUTE FUNCTION whago_audit_only_grows()"
)


def upgrade() -> None:
    op.execute(REFUSE)
    op.execute(ONLY_GROWS)


def downgrade() -> None:
    op.execute("DROP TRIGGER whago_audit_only_grows ON audit_log")
    op.execute("DROP FUNCTION whago_audit_only_grows()")
