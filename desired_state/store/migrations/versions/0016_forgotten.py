"""Nodes that a person declared gone for good, and what was written off for them.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Make both tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "forgotten_node",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("panel", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_forgotten_node"),
        schema=schema_of(DESIRED),
    )
    op.create_index("ix_forgotten_node_node", "forgotten_node", ["node"], schema=schema_of(DESIRED))
    op.create_table(
        "write_off",
        sa.Column("forgotten_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("clients", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.BigInteger(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.PrimaryKeyConstraint("forgotten_id", name="pk_write_off"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Drop both; tombstones that were written off become debts of nodes that nobody declares."""
    journal = sa.table(
        "remote_generation", sa.column("state"), sa.column("gone_at"), schema=schema_of(STATUS)
    )
    written_off = journal.update().where(journal.c.state == "written-off")
    op.execute(written_off.values(state="live", gone_at=None))
    op.drop_table("write_off", schema=schema_of(STATUS))
    op.drop_table("forgotten_node", schema=schema_of(DESIRED))
