"""Backups that were made, and nodes that wait for a person after one was restored.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Make room for both; no node waits."""
    moment = sa.DateTime(timezone=True)
    with op.batch_alter_table("node", schema=schema_of(DESIRED)) as table:
        table.add_column(sa.Column("recovery", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "recovery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("backup", sa.Text(), nullable=False),
        sa.Column("taken_at", moment, nullable=False),
        sa.Column("restored_at", moment, nullable=False),
        sa.Column("replaced", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("accepted_at", moment, nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recovery"),
        schema=schema_of(DESIRED),
    )
    op.create_table(
        "backup",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("taken_at", moment, nullable=False),
        sa.Column("finished_at", moment, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("nodes", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("verified_at", moment, nullable=True),
        sa.Column("removed_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_backup"),
        schema=schema_of(STATUS),
    )
    op.create_index("ix_backup_taken_at", "backup", ["taken_at"], schema=schema_of(STATUS))


def downgrade() -> None:
    """Forget both."""
    op.drop_index("ix_backup_taken_at", table_name="backup", schema=schema_of(STATUS))
    op.drop_table("backup", schema=schema_of(STATUS))
    op.drop_table("recovery", schema=schema_of(DESIRED))
    with op.batch_alter_table("node", schema=schema_of(DESIRED)) as table:
        table.drop_column("recovery")
