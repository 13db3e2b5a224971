"""How busy a node is.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make room for traffic, CPU and memory of a node as last sampled."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        rate = sa.Column("traffic_rate_bps", sa.BigInteger(), nullable=False, server_default="0")
        table.add_column(rate)
        table.add_column(sa.Column("cpu_share", sa.Double()))
        table.add_column(sa.Column("memory_share", sa.Double()))
        table.add_column(sa.Column("sampled_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Forget it."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        for name in ("sampled_at", "memory_share", "cpu_share", "traffic_rate_bps"):
            table.drop_column(name)
