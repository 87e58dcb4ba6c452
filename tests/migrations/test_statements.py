"""New migrations do nothing that the version before, which still runs, would suffer from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.migrations.dangerous import BIG, found_in
from whago.domain.models import Base

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"
PUBLISHED = "0007"  # up to here they were published before this rule
NEW = sorted(path for path in VERSIONS.glob("*.py") if path.name[:4] > PUBLISHED)


def upgrade(*lines: str) -> str:
    return "def upgrade() -> None:\n" + "\n".join(f"    {line}" for line in lines)


@pytest.mark.parametrize("path", NEW, ids=[path.stem for path in NEW])
def test_a_new_migration_runs_beside_the_version_before(path: Path) -> None:
    assert found_in(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "op.alter_column('users', 'name', type_=sa.Text())",
        "op.alter_column('users', 'name', new_column_name='full_name')",
        "op.alter_column('users', 'language', nullable=False)",
        "op.drop_column('users', 'name')",
        "op.drop_table('users')",
        "op.drop_constraint('ck_users_role_known', 'users')",
        "op.add_column('users', sa.Column('zeal', sa.Integer(), nullable=False))",
        "op.create_index('ix_chips_zeal', 'chips', ['zeal'])",
        "op.create_foreign_key('fk_x', 'users', 'plans', ['a'], ['b'])",
        "op.execute('ALTER TABLE users ALTER COLUMN name TYPE text')",
        "op.execute('ALTER TABLE users ALTER name SET NOT NULL')",
        "op.execute('ALTER TABLE users DROP COLUMN name')",
        "op.execute('ALTER TABLE users RENAME COLUMN name TO full_name')",
        "op.execute('ALTER TABLE users ADD COLUMN zeal int NOT NULL')",
        "op.execute(f'ALTER TABLE users ADD CONSTRAINT ck_x CHECK ({condition})')",
        "op.execute('CREATE INDEX ix_x ON chips (zeal)')",
        "op.execute('LOCK TABLE chips')",
    ],
)
def test_a_dangerous_statement_is_found(line: str) -> None:
    assert len(found_in(upgrade(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "op.add_column('users', sa.Column('zeal', sa.Integer(), nullable=True))",
        "op.add_column('users', sa.Column('zeal', sa.Integer(), nullable=False, server_default='0'))",
        "op.create_index('ix_plans_zeal', 'plans', ['zeal'])",
        "online.create_index('ix_chips_zeal', 'chips', ['zeal'])",
        "op.execute('ALTER TABLE users ADD CONSTRAINT ck_x CHECK (true) NOT VALID')",
        "op.execute('ALTER TABLE users VALIDATE CONSTRAINT ck_x')",
        "op.execute('ALTER TABLE users ADD COLUMN zeal int NOT NULL DEFAULT 0')",
        "op.execute('CREATE INDEX CONCURRENTLY ix_x ON chips (zeal)')",
    ],
)
def test_an_expanding_statement_passes(line: str) -> None:
    assert found_in(upgrade(line)) == []


def test_a_table_that_the_migration_makes_may_have_any_index() -> None:
    made = "op.create_table('chips', sa.Column('id', sa.Uuid()))"
    assert found_in(upgrade(made, "op.create_index('ix_chips_id', 'chips', ['id'])")) == []


def test_what_takes_a_migration_back_may_take_things_away() -> None:
    assert found_in("def downgrade() -> None:\n    op.drop_column('users', 'zeal')") == []


def test_the_large_tables_exist() -> None:
    assert set(Base.metadata.tables) >= BIG
