"""Where manifests come from, and how they were found last.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import schema_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DESIRED = "desired"
TABLE = "manifest_source"


def upgrade() -> None:
    """Make room for what was fetched last, and for what is wrong with it."""
    moment = sa.DateTime(timezone=True)
    many = sa.JSON().with_variant(JSONB(), "postgresql")
    with op.batch_alter_table(TABLE, schema=schema_of(DESIRED)) as table:
        table.alter_column("applied_at", existing_type=moment, nullable=True)
        for name in ("fetched_revision", "error_code", "error"):
            table.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("faults", many, nullable=False, server_default="[]"))
        for name in ("fetched_at", "error_since", "checked_at"):
            table.add_column(sa.Column(name, moment))
    row = sa.table(
        TABLE,
        sa.column("fetched_revision"),
        sa.column("applied_revision"),
        sa.column("fetched_at"),
        sa.column("checked_at"),
        sa.column("applied_at"),
        schema=schema_of(DESIRED),
    )
    # What was applied was fetched.
    op.execute(
        row.update().values(
            fetched_revision=row.c.applied_revision,
            fetched_at=row.c.applied_at,
            checked_at=row.c.applied_at,
        )
    )


def downgrade() -> None:
    """Forget how sources were found; one that never was applied goes."""
    row = sa.table(TABLE, sa.column("applied_at"), schema=schema_of(DESIRED))
    op.execute(row.delete().where(row.c.applied_at.is_(None)))
    moment = sa.DateTime(timezone=True)
    with op.batch_alter_table(TABLE, schema=schema_of(DESIRED)) as table:
        for name in (
            "checked_at", "error_since", "faults", "error", "error_code", "fetched_at",
            "fetched_revision",
        ):  # fmt: skip
            table.drop_column(name)
        table.alter_column("applied_at", existing_type=moment, nullable=False)
