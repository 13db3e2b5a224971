"""How full nodes were, to tell when they will be.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make room for samples of how many keys nodes held."""
    op.create_table(
        "capacity_sample",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("keys", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("at", "node", name="pk_capacity_sample"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("capacity_sample", schema=schema_of(STATUS))
