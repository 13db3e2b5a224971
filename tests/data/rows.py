"""Rows of status as the controller would write them, and what tests ask of the database.

Callers: tests and the named data sets. Desired state is written by commands alone; only what the
controller owns is made here. Not here: data sets.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from desired_state.commands.manifests import Applied, apply_bundle
from desired_state.manifests.bundle import Bundle
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName
from desired_state.store.convert import journal_values
from desired_state.store.engine import Store
from desired_state.store.installation import read_ownership
from desired_state.store.tables.desired import WakeRow
from desired_state.store.tables.status import (
    InboundRow,
    KeyUsageRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)
from desired_state.store.unit_of_work import begin

FIRST = Generation(1)
INBOUND = InboundId(1)
"""The one bound inbound of a node in the data sets: VLESS with Reality."""


async def apply(store: Store, bundle: Bundle) -> Applied:
    """Apply a bundle in a transaction of its own."""
    async with begin(store, "test") as work:
        return await apply_bundle(work, bundle)


async def wakes_since(store: Store, revision: int) -> set[str | None]:
    """Nodes that were woken at a revision or later; None is the scheduler."""
    async with store.reading() as session:
        return set(await session.scalars(select(WakeRow.node).where(WakeRow.revision >= revision)))


async def place(store: Store, key: KeyId, node: NodeName, **columns: Any) -> None:
    """Place a key on a node."""
    values = {"reason": "best of its labels", "at": store.clock.now()} | columns
    async with store.recording() as session:
        session.add(PlacementRow(key=key, node=node, **values))


async def journal(
    store: Store,
    key: KeyId | None,
    node: NodeName,
    generation: Generation = FIRST,
    **fields: Any,
) -> JournalRow:
    """Journal a generation of a key on a node, live unless said otherwise; None: a placeholder."""
    async with store.reading() as session:
        ownership = await read_ownership(session, store.vault)
    email = ownership.email(key or KeyId("placeholdr"), generation)
    values = {
        "inbound_ids": (INBOUND,), "state": JournalState.LIVE, "sub_id": ownership.mark(email),
    } | fields  # fmt: skip
    # A live row was seen as it should be, unless a test says otherwise.
    is_live = values["state"] is JournalState.LIVE
    values = {"projection": "1|0|0|0||1" if is_live else ""} | values
    row = JournalRow(
        node=node,
        email=Email(email),
        key=key,
        generation=generation,
        **values,
    )
    gone_at = store.clock.now() if row.state is JournalState.GONE else None
    async with store.recording() as session:
        session.add(
            RemoteGenerationRow(
                **journal_values(row), gone_at=gone_at, changed_at=store.clock.now()
            )
        )
    return row


async def bind(store: Store, node: NodeName, **columns: Any) -> None:
    """Bind a node to its one inbound."""
    values = {
        "protocol": "vless", "port": 443, "tag": "in-443", "remark": "main", "network": "tcp",
        "security": "reality", "flow": "xtls-rprx-vision", "carries_flow": True, "bound": True,
    } | columns  # fmt: skip
    async with store.recording() as session:
        session.add(InboundRow(node=node, inbound_id=INBOUND, **values))


async def set_status(store: Store, node: NodeName, *conditions: Any, **columns: Any) -> None:
    """Write a node's status; without conditions it is ready."""
    now = store.clock.now()
    values: dict[str, Any] = {
        "version": "3.2.8", "family": "v31", "xray": "running", "match_digest": "m",
        "bound_at": now, "changed_at": now,
        "conditions": [*conditions] or [condition("Ready", "InSync", now)],
    }  # fmt: skip
    async with store.recording() as session:
        session.add(NodeStatusRow(node=node, **values | columns))


async def replace_status(store: Store, node: NodeName, *conditions: Any, **columns: Any) -> None:
    """Write a node's status over the one that it has."""
    async with store.recording() as session:
        await session.delete(await session.get_one(NodeStatusRow, node))
    await set_status(store, node, *conditions, **columns)


def condition(
    kind: str, reason: str, since: datetime, message: str = "", *, status: bool = True
) -> dict[str, object]:
    """Make one condition as it is stored."""
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "status": status,
        "since": since.isoformat(),
    }


async def use(store: Store, key: KeyId, node: NodeName, used_bytes: int, **columns: Any) -> None:
    """Record what a key used on a node in its subscription's first period."""
    values = {"counter_bytes": used_bytes, "changed_at": store.clock.now()} | columns
    async with store.recording() as session:
        session.add(KeyUsageRow(key=key, node=node, **values))
