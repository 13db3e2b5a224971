"""When a node was seen well last, where somebody asked: keys leave other nodes on the word of that.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make the table; nobody has asked yet."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "sight",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=True),
        sa.Column("confirms_until", moment, nullable=True),
        sa.PrimaryKeyConstraint("node", name="pk_sight"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("sight", schema=schema_of(STATUS))
