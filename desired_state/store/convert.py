"""Rows to values of the model and back; the only place that knows both shapes.

Callers: commands, queries, the controller's reads and records. Declared values are kept as JSON, by
the field names of the model; a field that an older row lacks takes the model's default.
Not here: SQL, secrets but as what they are sealed in.
"""

from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import (
    Email,
    Generation,
    InboundId,
    KeyId,
    NodeName,
    Revision,
    SubscriptionId,
    TariffName,
)
from desired_state.model.inbound import InboundSpec
from desired_state.model.key import Key
from desired_state.model.node import Mode, Node, NodeOverrides, NodeSpec, Recovery
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder, Policy
from desired_state.model.subscription import Subscription
from desired_state.model.tariff import NodeSelector, Tariff
from desired_state.scheduling.result import Move
from desired_state.store.secrets import Place
from desired_state.store.tables.desired import (
    KeyGenerationRow,
    KeyRow,
    MoveRow,
    NodeRow,
    PolicyRow,
    SubscriptionRow,
    TariffRow,
)
from desired_state.store.tables.status import KeyUsageRow, PlacementRow, RemoteGenerationRow

T = TypeVar("T", bound=NodeSpec | Tariff | Policy | InboundSpec)
_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (NodeSpec, Tariff, Policy, InboundSpec)
}


def spec_to_json(value: NodeSpec | Tariff | Policy | InboundSpec) -> dict[str, Any]:
    """Turn a declared value into what its row keeps."""
    return cast("dict[str, Any]", _ADAPTERS[type(value)].dump_python(value, mode="json"))


def spec_from_json(kind: type[T], value: dict[str, Any]) -> T:
    """Read a declared value back from its row."""
    return cast("T", _ADAPTERS[kind].validate_python(value))


def node_from(row: NodeRow) -> Node:
    """A declared node with its overrides."""
    return Node(
        spec=spec_from_json(NodeSpec, row.spec),
        overrides=NodeOverrides(
            paused=row.paused,
            cordoned=row.cordoned,
            draining=row.draining,
            mode=None if row.mode is None else Mode(row.mode),
            recovery=Recovery(row.recovery),
        ),
        orphaned=row.orphaned,
        revision=Revision(row.revision),
    )


def tariff_from(row: TariffRow) -> Tariff:
    """A tariff, withdrawn or not."""
    return spec_from_json(Tariff, row.spec)


def policy_from(row: PolicyRow) -> Policy:
    """A policy."""
    return spec_from_json(Policy, row.spec)


def selector_from(row: KeyRow) -> NodeSelector:
    """The selector of a key; its labels are sorted."""
    return NodeSelector(tuple(sorted(row.selector_labels.items())), row.selector_count)


def key_from(row: KeyRow) -> Key:
    """A key, wanted or deleted."""
    return Key(
        id=KeyId(row.id),
        subscription=SubscriptionId(row.subscription_id),
        generation=Generation(row.generation),
        nodes=selector_from(row),
        pinned=None if row.pinned_node is None else NodeName(row.pinned_node),
        deleted_at=row.deleted_at,
        reason=row.reason,
        revision=Revision(row.revision),
    )


def subscription_from(row: SubscriptionRow, used_bytes: int = 0) -> Subscription:
    """A subscription. `used_bytes`: the sum of `used_bytes_of` over the rows of its keys."""
    return Subscription(
        id=SubscriptionId(row.id),
        tariff=TariffName(row.tariff_name),
        valid_until=row.valid_until,
        quota_bytes=row.quota_bytes,
        devices=row.devices,
        suspended=row.suspended,
        used_bytes=used_bytes,
        banned=row.banned,
        frozen_at=row.frozen_at,
    )


def used_bytes_of(row: KeyUsageRow, period: int) -> int:
    """Bytes that a key used on one node in a paid period; 0 when the row is of an earlier one."""
    if row.period != period:
        return 0
    return row.booked_bytes + max(0, row.counter_bytes - row.base_bytes)


def placement_from(row: PlacementRow) -> Placement:
    """A placement."""
    return Placement(
        key=KeyId(row.key),
        node=NodeName(row.node),
        reason=row.reason,
        replaces=None if row.replaces is None else NodeName(row.replaces),
        leaving=None if row.leaving is None else DeleteReason(row.leaving),
    )


def journal_from(row: RemoteGenerationRow) -> JournalRow:
    """A row of the intent journal."""
    return JournalRow(
        node=NodeName(row.node),
        email=Email(row.email),
        key=None if row.key is None else KeyId(row.key),
        generation=Generation(row.generation),
        inbound_ids=tuple(InboundId(number) for number in row.inbound_ids),
        sub_id=row.sub_id,
        password_bytes=row.password_bytes,
        state=JournalState(row.state),
        create_unknown_at=row.create_unknown_at,
        delete_attempts=row.delete_attempts,
        delete_reason=None if row.delete_reason is None else DeleteReason(row.delete_reason),
        secrets_digest=row.secrets_digest,
        projection=row.projection,
    )


def journal_values(row: JournalRow) -> dict[str, Any]:
    """The columns of a journal row but `gone_at` and `changed_at`, which its writer knows."""
    return {
        "node": row.node,
        "email": row.email,
        "key": row.key,
        "generation": row.generation,
        "inbound_ids": list(row.inbound_ids),
        "sub_id": row.sub_id,
        "password_bytes": row.password_bytes,
        "state": row.state.value,
        "create_unknown_at": row.create_unknown_at,
        "delete_attempts": row.delete_attempts,
        "delete_reason": None if row.delete_reason is None else row.delete_reason.value,
        "secrets_digest": row.secrets_digest,
        "projection": row.projection,
    }


def move_from(row: MoveRow) -> Move:
    """A person's move."""
    return Move(
        key=KeyId(row.key_id),
        from_node=None if row.from_node is None else NodeName(row.from_node),
        to_node=None if row.to_node is None else NodeName(row.to_node),
        order=None if row.move_order is None else MoveOrder(row.move_order),
        revision=Revision(row.revision),
    )


def seed_place(key: str, generation: int) -> Place:
    """Where the seed of a generation is sealed."""
    return Place(KeyGenerationRow.__tablename__, f"{key}/{generation}", "seed")


def installation_place(version: int) -> Place:
    """Where a version of the installation's secret is sealed."""
    return Place("installation_secret", str(version), "value")


def inbound_place(node: str, inbound_id: int, field: str) -> Place:
    """Where `settings` or `stream` of an inbound is sealed."""
    return Place("inbound", f"{node}/{inbound_id}", field)
