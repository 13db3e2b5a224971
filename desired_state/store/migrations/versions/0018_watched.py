"""For how long a controller saw a node fail: a failover counts that, and no stop of the controller.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make room for it; whoever is failing now is watched from now on."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        table.add_column(sa.Column("watched_s", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        table.drop_column("watched_s")
