"""What a panel was found to hold, and what a person took over of it.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import ref, schema_of

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Make both tables."""
    moment = sa.DateTime(timezone=True)
    facts = sa.JSON().with_variant(JSONB(), "postgresql")
    key = ref(DESIRED, "key.id")
    op.create_table(
        "adoption",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("sub_id", sa.Text(), nullable=False),
        sa.Column("secrets_digest", sa.Text(), nullable=False),
        sa.Column("facts", facts, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("released_at", moment, nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "node", "email", name="pk_adoption"),
        sa.ForeignKeyConstraint(["key_id"], [key], name="fk_adoption_key_id_key"),
        schema=schema_of(DESIRED),
    )
    op.create_index("ix_adoption_node", "adoption", ["node"], schema=schema_of(DESIRED))
    op.create_table(
        "found_client",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("facts", facts, nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("found_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("node", "number", name="pk_found_client"),
        schema=schema_of(STATUS),
    )


def downgrade() -> None:
    """Drop both; adopted keys stay keys, and their clients are strangers to them."""
    op.drop_table("found_client", schema=schema_of(STATUS))
    op.drop_table("adoption", schema=schema_of(DESIRED))
