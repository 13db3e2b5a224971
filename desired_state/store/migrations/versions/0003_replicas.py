"""Replicas and their leases of nodes.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make the tables of replicas, leases, and wake-ups between replicas."""
    schema = schema_of(STATUS)
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "replica",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("ended_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_replica"),
        schema=schema,
    )
    op.create_table(
        "node_lease",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("taken_at", moment),
        sa.Column("removes_at", moment),
        sa.Column("touched_at", moment),
        sa.PrimaryKeyConstraint("node", name="pk_node_lease"),
        schema=schema,
    )
    op.create_index("ix_node_lease_holder", "node_lease", ["holder"], schema=schema)
    op.create_table(
        "node_wake",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_node_wake"),
        schema=schema,
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("node_wake", "node_lease", "replica"):
        op.drop_table(table, schema=schema_of(STATUS))
