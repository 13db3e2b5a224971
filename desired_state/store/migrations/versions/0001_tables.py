"""Tables of desired state and status.

Applied by `x3fleet db upgrade`. Never edited once released: what changes later is its own revision.
Types are plain ones: no later change of the code changes this history.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from desired_state.store.migrations.schemas import ref, schema_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

DESIRED, STATUS = "desired", "status"


def upgrade() -> None:
    """Make every table, and the counter that revisions are taken from."""
    _create_installation()
    _create_declared()
    _create_sold()
    _create_asked()
    _create_decided()
    _create_seen()
    counter = sa.table(
        "revision_counter", sa.column("id"), sa.column("value"), schema=schema_of(DESIRED)
    )
    op.bulk_insert(counter, [{"id": 1, "value": 0}])


def downgrade() -> None:
    """Drop every table, those that refer to others first."""
    for group, tables in ((STATUS, _STATUS_TABLES), (DESIRED, _DESIRED_TABLES)):
        for table in tables:
            op.drop_table(table, schema=schema_of(group))


_STATUS_TABLES = (
    "request_answer",
    "remote_generation",
    "placement",
    "node_status",
    "key_usage",
    "inbound",
    "heal",
    "event",
    "delete_budget",
    "cycle",
    "approval_started",
)
_DESIRED_TABLES = (
    "move",
    "key_generation",
    "key",
    "subscription",
    "plan_approval",
    "wake",
    "tariff",
    "revision_counter",
    "request",
    "policy",
    "person",
    "node",
    "manifest_source",
    "installation_secret",
    "installation",
    "audit_event",
)


# Columns side by side: one a line would hide the tables.
# fmt: off


def _create_installation() -> None:
    """Who we are, how far the revisions are, who did what."""
    _create(
        DESIRED, "installation",
        _number("id"), _text("name"), _text("email_template"), _moment("created_at"),
        key=("id",),
    )
    _create(
        DESIRED, "installation_secret",
        _number("version"), _text("value"), _moment("created_at"),
        key=("version",),
    )
    _create(
        DESIRED, "revision_counter",
        _number("id"), _number("value"),
        key=("id",),
    )
    _create(
        DESIRED, "wake",
        _serial(), _number("revision"), _text("node", null=True), _moment("at"),
        key=("id",),
        indexes=(("revision",),),
    )
    _create(
        DESIRED, "audit_event",
        _serial(), _moment("at"), _text("actor"), _text("action"), _text("subject"),
        _json("detail"), _number("revision", null=True),
        key=("id",),
        indexes=(("subject",),),
    )


def _create_declared() -> None:
    """What manifests declare."""
    _create(
        DESIRED, "manifest_source",
        _text("name"), _text("applied_revision"), _moment("applied_at"), _number("revision"),
        key=("name",),
    )
    _create(
        DESIRED, "node",
        _text("name"), _json("spec"), _text("source"), _flag("orphaned"), _flag("paused"),
        _flag("cordoned"), _flag("draining"), _text("mode", null=True), _moment("created_at"),
        _moment("changed_at"), _number("revision"),
        key=("name",),
    )
    _create(
        DESIRED, "tariff",
        _text("name"), _json("spec"), _text("source"), _flag("withdrawn"), _number("revision"),
        key=("name",),
    )
    _create(
        DESIRED, "policy",
        _text("name"), _json("spec"), _text("source"), _number("revision"),
        key=("name",),
    )


def _create_sold() -> None:
    """What people hold."""
    _create(
        DESIRED, "person",
        _serial(), _number("telegram_id", null=True), _text("language"), _moment("created_at"),
        key=("id",),
        unique=("telegram_id",),
    )
    _create(
        DESIRED, "subscription",
        _text("id"), _number("person_id", null=True), _text("tariff_name"),
        _moment("valid_until", null=True), _number("quota_bytes", null=True),
        _number("devices", null=True), _flag("suspended"), _text("suspended_reason"),
        _number("period"), _moment("period_started_at"), _moment("created_at"), _number("revision"),
        key=("id",),
        refers={"person_id": "person.id", "tariff_name": "tariff.name"},
        indexes=(("person_id",), ("tariff_name",)),
    )
    _create(
        DESIRED, "key",
        _text("id"), _text("subscription_id"), _number("generation"), _json("selector_labels"),
        _number("selector_count", null=True), _text("pinned_node", null=True),
        _text("token", null=True), _moment("deleted_at", null=True), _text("reason"),
        _moment("created_at"), _number("revision"),
        key=("id",),
        refers={"pinned_node": "node.name", "subscription_id": "subscription.id"},
        unique=("token",),
        indexes=(("pinned_node",), ("subscription_id",)),
    )
    _create(
        DESIRED, "key_generation",
        _text("key_id"), _number("generation"), _text("seed"), _moment("created_at"),
        key=("key_id", "generation"),
        refers={"key_id": "key.id"},
    )
    _create(
        DESIRED, "move",
        _serial(), _text("key_id"), _text("from_node", null=True), _text("to_node", null=True),
        _text("move_order", null=True), _moment("at"), _number("revision"),
        key=("id",),
        refers={"key_id": "key.id"},
        indexes=(("key_id",),),
    )


def _create_asked() -> None:
    """What only the controller can do, and what it may."""
    _create(
        DESIRED, "request",
        _text("token"), _text("kind"), _text("node", null=True), _text("actor"), _moment("at"),
        _number("revision"),
        key=("token",),
        indexes=(("revision",),),
    )
    _create(
        DESIRED, "plan_approval",
        _serial(), _text("node"), _text("kind"), _text("digest"), _json("emails"), _text("actor"),
        _moment("at"), _number("revision"),
        key=("id",),
        refers={"node": "node.name"},
        indexes=(("node",),),
    )


def _create_decided() -> None:
    """What the controller decided and did."""
    _create(
        STATUS, "placement",
        _text("key"), _text("node"), _text("reason"), _text("replaces", null=True),
        _text("leaving", null=True), _moment("at"),
        key=("key", "node"),
        indexes=(("node",),),
    )
    _create(
        STATUS, "remote_generation",
        _text("node"), _text("email"), _text("key", null=True), _number("generation"),
        _json("inbound_ids"), _text("sub_id"), _number("password_bytes"), _text("state"),
        _moment("create_unknown_at", null=True), _number("delete_attempts"),
        _text("delete_reason", null=True), _text("secrets_digest"), _text("projection"),
        _moment("gone_at", null=True), _moment("changed_at"),
        key=("node", "email"),
        indexes=(("key",),),
    )
    _create(
        STATUS, "key_usage",
        _text("key"), _text("node"), _number("period"), _number("base_bytes"),
        _number("counter_bytes"), _number("booked_bytes"), _moment("changed_at"),
        key=("key", "node"),
        indexes=(("node",),),
    )
    _create(
        STATUS, "delete_budget",
        _serial(), _text("node"), _number("deletes"), _number("owned"), _moment("at"),
        key=("id",),
        indexes=(("at",),),
    )
    _create(
        STATUS, "heal",
        _text("node"), _text("email"), _json("times"),
        key=("node", "email"),
    )
    _create(
        STATUS, "approval_started",
        _number("approval_id"), _text("node"), _moment("at"),
        key=("approval_id",),
    )


def _create_seen() -> None:
    """What the controller saw and answered."""
    _create(
        STATUS, "node_status",
        _text("node"), _json("conditions"), _text("version"), _text("family"),
        _text("guid", null=True), _text("xray"), _number("observed_revision"), _json("counts"),
        _number("owned_seen"), _number("placed_seen"), _json("blocked_sets"), _text("plan_digest"),
        _text("refused_fingerprint"), _text("bound_guid", null=True), _text("match_digest"),
        _moment("bound_at", null=True), _number("failures"), _moment("next_look_at", null=True),
        _moment("changed_at"),
        key=("node",),
    )
    _create(
        STATUS, "inbound",
        _text("node"), _number("inbound_id"), _flag("bound"), _text("protocol"), _number("port"),
        _text("tag"), _text("remark"), _flag("enable"), _text("listen"), _text("network"),
        _text("security"), _text("flow"), _flag("carries_flow"), _text("method"),
        _number("password_bytes", null=True), _text("settings", null=True),
        _text("stream", null=True), _text("facts_digest"),
        key=("node", "inbound_id"),
    )
    _create(
        STATUS, "request_answer",
        _text("token"), _text("node"), _text("outcome"), _json("detail"), _moment("at"),
        key=("token", "node"),
    )
    _create(
        STATUS, "cycle",
        _text("id"), _text("node"), _text("result"), _moment("started_at"), _moment("finished_at"),
        _number("observed_revision"), _text("plan_digest"), _json("counts"),
        key=("id",),
        indexes=(("node", "started_at"),),
    )
    _create(
        STATUS, "event",
        _serial(), _moment("at"), _text("node"), _text("name"), _text("key"), _text("email"),
        _text("detail"), _text("cycle_id"),
        key=("id",),
        indexes=(("key",), ("node", "at")),
    )


# fmt: on


def _create(
    group: str,
    table: str,
    *columns: sa.Column[object],
    key: tuple[str, ...],
    refers: Mapping[str, str] | None = None,
    unique: tuple[str, ...] = (),
    indexes: tuple[tuple[str, ...], ...] = (),
) -> None:
    """Make one table with every constraint named; `refers` maps a column to `table.column`."""
    schema = schema_of(group)
    op.create_table(
        table,
        *columns,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        *(
            sa.ForeignKeyConstraint(
                [column], [ref(group, target)], name=f"fk_{table}_{column}_{target.split('.')[0]}"
            )
            for column, target in (refers or {}).items()
        ),
        *(sa.UniqueConstraint(column, name=f"uq_{table}_{column}") for column in unique),
        schema=schema,
    )
    for fields in indexes:
        op.create_index(f"ix_{table}_{'_'.join(fields)}", table, list(fields), schema=schema)


def _text(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=null)


def _number(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def _serial() -> sa.Column[object]:
    # SQLite numbers rows by itself only in a column that is exactly INTEGER.
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _moment(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False)
