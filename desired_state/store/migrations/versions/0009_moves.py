"""Since when keys leave nodes, and wishes to rebalance.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Tell since when a placement ends; make room for wishes to rebalance."""
    with op.batch_alter_table("placement", schema=schema_of(STATUS)) as table:
        table.add_column(sa.Column("leaving_at", sa.DateTime(timezone=True), nullable=True))
    placement = sa.table(
        "placement",
        sa.column("leaving"),
        sa.column("leaving_at"),
        sa.column("at"),
        schema=schema_of(STATUS),
    )
    # Nothing tells when it began; the placement itself is the one moment that is not later.
    op.execute(
        placement.update().where(placement.c.leaving.is_not(None)).values(leaving_at=placement.c.at)
    )
    op.create_table(
        "rebalance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rebalance"),
        sa.UniqueConstraint("token", name="uq_rebalance_token"),
        schema=schema_of(DESIRED),
    )
    op.create_table(
        "rebalance_step",
        sa.Column("rebalance_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("rebalance_id", name="pk_rebalance_step"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Forget both."""
    op.drop_table("rebalance_step", schema=schema_of(STATUS))
    op.drop_table("rebalance", schema=schema_of(DESIRED))
    with op.batch_alter_table("placement", schema=schema_of(STATUS)) as table:
        table.drop_column("leaving_at")
