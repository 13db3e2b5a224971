"""Which deletes were taken from the fleet's share, and who follows a source of manifests.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Name deletes, so that one which is tried again takes nothing more; make room for signs of life."""
    with op.batch_alter_table("delete_budget", schema=schema_of(STATUS)) as table:
        kind = sa.JSON().with_variant(JSONB(), "postgresql")
        table.add_column(sa.Column("emails", kind, nullable=False, server_default="[]"))
    with op.batch_alter_table("manifest_source", schema=schema_of(DESIRED)) as table:
        table.add_column(sa.Column("looked_at", sa.DateTime(timezone=True)))
        every = sa.Column("looks_every_s", sa.BigInteger(), nullable=False, server_default="0")
        table.add_column(every)


def downgrade() -> None:
    """Keep how many they were."""
    with op.batch_alter_table("manifest_source", schema=schema_of(DESIRED)) as table:
        table.drop_column("looks_every_s")
        table.drop_column("looked_at")
    with op.batch_alter_table("delete_budget", schema=schema_of(STATUS)) as table:
        table.drop_column("emails")
