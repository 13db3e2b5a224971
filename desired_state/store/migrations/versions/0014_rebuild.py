"""What a request is about, beside its kind and node.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

DESIRED = "desired"


def upgrade() -> None:
    """Give requests a detail; those that exist have none."""
    kind = sa.JSON().with_variant(JSONB(), "postgresql")
    with op.batch_alter_table("request", schema=schema_of(DESIRED)) as table:
        table.add_column(sa.Column("detail", kind, nullable=False, server_default="{}"))


def downgrade() -> None:
    """Forget it."""
    with op.batch_alter_table("request", schema=schema_of(DESIRED)) as table:
        table.drop_column("detail")
