"""The shop: purchases, payments, bans, frozen subscriptions, devices, tokens of commands.

Applied by `x3fleet db upgrade`. Never edited once released.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import ref, schema_of

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DESIRED = "desired"
_TABLES = ("command_token", "device", "payment", "purchase")


def upgrade() -> None:
    """Make room for all of it; nobody is banned and nothing frozen so far."""
    with op.batch_alter_table("person", schema=schema_of(DESIRED)) as table:
        table.add_column(_moment("banned_at", null=True))
        table.add_column(sa.Column("ban_reason", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("revision", sa.BigInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("subscription", schema=schema_of(DESIRED)) as table:
        table.add_column(_moment("frozen_at", null=True))
        table.add_column(
            sa.Column("banned", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    _create_purchase()
    _create_payment()
    _create_device()
    op.create_table(
        "command_token",
        _text("token"), _text("action"), _text("subject"), _moment("at"), _number("revision"),
        sa.PrimaryKeyConstraint("token", name="pk_command_token"),
        schema=schema_of(DESIRED),
    )  # fmt: skip


def downgrade() -> None:
    """Forget all of it."""
    for name in _TABLES:
        op.drop_table(name, schema=schema_of(DESIRED))
    with op.batch_alter_table("subscription", schema=schema_of(DESIRED)) as table:
        for name in ("banned", "frozen_at"):
            table.drop_column(name)
    with op.batch_alter_table("person", schema=schema_of(DESIRED)) as table:
        for name in ("revision", "ban_reason", "banned_at"):
            table.drop_column(name)


def _create_purchase() -> None:
    op.create_table(
        "purchase",
        _text("id"), _text("kind"), _number("person_id"), _text("tariff_name"), _json("sold"),
        _number("amount_minor"), _text("currency"), _text("subscription_id", null=True),
        _text("token", null=True), _moment("created_at"), _moment("fulfilled_at", null=True),
        _number("gave_s", null=True), _moment("gave_until", null=True),
        _number("gave_bytes", null=True), _json("before", null=True),
        _moment("taken_back_at", null=True), _text("keeps"), _number("revision"),
        sa.PrimaryKeyConstraint("id", name="pk_purchase"),
        sa.UniqueConstraint("token", name="uq_purchase_token"),
        _refers("purchase", "person_id", "person", "id"),
        _refers("purchase", "tariff_name", "tariff", "name"),
        _refers("purchase", "subscription_id", "subscription", "id"),
        schema=schema_of(DESIRED),
    )  # fmt: skip
    _index("purchase", "person_id")
    _index("purchase", "subscription_id")


def _create_payment() -> None:
    op.create_table(
        "payment",
        # SQLite numbers rows by itself only in a column that is exactly INTEGER.
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _text("provider"), _text("charge"), _text("purchase_id", null=True),
        _text("credited_id", null=True), _number("amount_minor", null=True), _text("currency"),
        _moment("recorded_at"), _moment("credited_at", null=True), _text("debt"),
        _moment("refund_asked_at", null=True), _text("refund_reason"), _number("refunded_minor"),
        _moment("refunded_at", null=True), _number("revision"),
        sa.PrimaryKeyConstraint("id", name="pk_payment"),
        sa.UniqueConstraint("provider", "charge", name="uq_payment_provider_charge"),
        sa.UniqueConstraint("credited_id", name="uq_payment_credited_id"),
        _refers("payment", "purchase_id", "purchase", "id"),
        _refers("payment", "credited_id", "purchase", "id"),
        schema=schema_of(DESIRED),
    )  # fmt: skip
    _index("payment", "purchase_id")


def _create_device() -> None:
    op.create_table(
        "device",
        _text("subscription_id"), _text("id"), _text("title"), _moment("first_seen_at"),
        _moment("last_seen_at"), _number("revision"),
        sa.PrimaryKeyConstraint("subscription_id", "id", name="pk_device"),
        _refers("device", "subscription_id", "subscription", "id"),
        schema=schema_of(DESIRED),
    )  # fmt: skip


def _text(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=null)


def _number(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _moment(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _json(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON().with_variant(JSONB(), "postgresql"), nullable=null)


def _refers(table: str, column: str, other: str, key: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{other}"
    return sa.ForeignKeyConstraint([column], [ref(DESIRED, f"{other}.{key}")], name=name)


def _index(table: str, column: str) -> None:
    op.create_index(f"ix_{table}_{column}", table, [column], schema=schema_of(DESIRED))
