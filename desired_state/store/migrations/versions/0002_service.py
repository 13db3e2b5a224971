"""The service's own state: back-off, health, progress of requests.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATUS = "status"
_MOMENTS = ("connected_at", "recovered_at", "certificate_until")
_NUMBERS = ("flaps", "tried_revision")


def upgrade() -> None:
    """Make the table of requests' progress, and room for how a node recovers."""
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        for name in _MOMENTS:
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        for name in _NUMBERS:
            table.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "request_progress",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token", "node", name="pk_request_progress"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("request_progress", schema=schema_of(STATUS))
    with op.batch_alter_table("node_status", schema=schema_of(STATUS)) as table:
        for name in (*_MOMENTS, *_NUMBERS):
            table.drop_column(name)
