"""Folded history, and what the controller tells people.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op

from desired_state.store.migrations.schemas import schema_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"
_TEXTS = ("before", "after", "outcome", "plan_digest")
_NUMBERS = (("epoch", "0"), ("times", "1"))


def upgrade() -> None:
    """Tell more in each event; make room for alerts, notifications and their deliveries."""
    with op.batch_alter_table("event", schema=schema_of(STATUS)) as table:
        for name in _TEXTS:
            table.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        for name, first in _NUMBERS:
            table.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default=first))
        table.add_column(sa.Column("last_at", sa.DateTime(timezone=True), nullable=True))
    event = sa.table("event", sa.column("at"), sa.column("last_at"), schema=schema_of(STATUS))
    op.execute(event.update().values(last_at=event.c.at))
    with op.batch_alter_table("event", schema=schema_of(STATUS)) as table:
        table.alter_column("last_at", existing_type=sa.DateTime(timezone=True), nullable=False)
        table.create_index("ix_event_last_at", ["last_at"])
    _create_alert()
    _create_notification()
    _create_webhook_delivery()
    op.create_table(
        "notification_replay",
        _serial(),
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notification_replay"),
        schema=schema_of(DESIRED),
    )


def downgrade() -> None:
    """Forget all of it."""
    op.drop_table("notification_replay", schema=schema_of(DESIRED))
    for name in ("webhook_delivery", "notification", "alert"):
        op.drop_table(name, schema=schema_of(STATUS))
    with op.batch_alter_table("event", schema=schema_of(STATUS)) as table:
        table.drop_index("ix_event_last_at")
        for name in (*_TEXTS, *(number for number, _ in _NUMBERS), "last_at"):
            table.drop_column(name)


def _create_alert() -> None:
    op.create_table(
        "alert",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("came_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("notification_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_alert"),
        schema=schema_of(STATUS),
    )


def _create_notification() -> None:
    op.create_table(
        "notification",
        _serial(),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("resolves", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        schema=schema_of(STATUS),
    )
    op.create_index("ix_notification_at", "notification", ["at"], schema=schema_of(STATUS))


def _create_webhook_delivery() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column("notification_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replay_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", "hook", name="pk_webhook_delivery"),
        schema=schema_of(STATUS),
    )
    op.create_index(
        "ix_webhook_delivery_state_next_at",
        "webhook_delivery",
        ["state", "next_at"],
        schema=schema_of(STATUS),
    )


def _serial() -> sa.Column[object]:
    # SQLite numbers rows by itself only in a column that is exactly INTEGER.
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)
