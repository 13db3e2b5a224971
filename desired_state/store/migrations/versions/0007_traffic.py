"""How far the counters of a key's clients were counted, and by direction.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATUS = "status"


def upgrade() -> None:
    """Make room for marks, and for what went up and down."""
    with op.batch_alter_table("key_usage", schema=schema_of(STATUS)) as table:
        for name in ("up_bytes", "down_bytes"):
            table.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("marks", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Forget them: sums stay."""
    with op.batch_alter_table("key_usage", schema=schema_of(STATUS)) as table:
        for name in ("marks", "down_bytes", "up_bytes"):
            table.drop_column(name)
