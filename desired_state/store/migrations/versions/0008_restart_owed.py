"""Whether a panel's Xray has to be restarted before it serves clients that were edited.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make room for it; nothing is owed at first."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        table.add_column(
            sa.Column("restart_owed", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        table.drop_column("restart_owed")
