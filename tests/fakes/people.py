"""What people and the scheduler write: desired state, one function a use case, as commands would.

Callers: scenarios, the state machine. Nothing here touches a panel; hands on a panel are methods of
`FakePanel`. Not here: what the controller writes.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from controller.core.desired import Approval, ApprovalKind, NodeRequest
from desired_state.model.adoption import AdoptedClient
from desired_state.model.credentials import ClientSecrets, digest_secrets, pack_adopted
from desired_state.model.generation import JournalState
from desired_state.model.ids import (
    Email,
    Generation,
    KeyId,
    NodeName,
    Revision,
    SubscriptionId,
    TariffName,
)
from desired_state.model.node import Match, Mode
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder
from desired_state.model.request import RequestKind
from desired_state.model.subscription import Subscription
from tests.fakes.panel import Entry
from tests.fakes.store import FakeStore, KeyRow, seed_of

if TYPE_CHECKING:
    from tests.fakes.world import World

NL, DE = NodeName("nl-1"), NodeName("de-1")


def key_id(letter: str) -> KeyId:
    """Make a valid key id out of one lower-case letter."""
    return KeyId(letter * 10)


def want(store: FakeStore, letter: str, *nodes: NodeName) -> KeyId:
    """Sell a key and place it; a revoked one comes back with its next generation."""
    key = key_id(letter)
    subscription = SubscriptionId(f"s-{letter}")
    row = store.keys.get(key)
    if row is None:
        row = KeyRow(key, Generation(1), subscription)
    elif row.deleted:
        row = replace(row, generation=Generation(row.generation + 1), deleted=False)
    store.keys[key] = row
    store.subscriptions.setdefault(subscription, Subscription(subscription, TariffName("month")))
    for node in nodes or (NL,):
        store.placements[key, node] = Placement(key, node, "scheduled")
    _bump(store)
    return key


def adopt(world: "World", email: str, letter: str, node: NodeName = NL) -> KeyId:
    """Take over a client that the panel holds; from now on it is no stranger's."""
    store, panel = world.store, world.panels[node]
    (number,) = panel.numbers_of(email)
    client = panel.entries[number].client
    key = want(store, letter, node)
    generation = store.keys[key].generation
    secrets = ClientSecrets(client.uuid, client.password, client.auth)
    store.materials[key, generation] = pack_adopted(secrets, seed_of(key, generation))
    store.adopted[node, Email(email)] = AdoptedClient(
        node=node,
        email=Email(email),
        key=key,
        inbound_ids=client.inbound_ids,
        sub_id=client.sub_id,
        secrets_digest=digest_secrets(client.uuid, "", ""),
        flow=client.flow,
        expiry_ms=client.expiry_ms,
        total_bytes=client.total_bytes,
        limit_ip=client.limit_ip,
        tg_id=client.tg_id,
        generation=generation,
    )
    panel.entries[number] = Entry(client, foreign=False)
    return key


def release(world: "World", email: str, node: NodeName = NL) -> None:
    """Give an adopted client back: a stranger again, whatever the journal says."""
    store, panel = world.store, world.panels[node]
    given = store.adopted.pop((node, Email(email)), None)
    if given is None:
        return
    store.released[node, Email(email)] = given.key
    for number in panel.numbers_of(email):
        panel.entries[number] = Entry(panel.entries[number].client, foreign=True)
    store.keys[given.key] = replace(store.keys[given.key], deleted=True)
    _leave(store, given.key, DeleteReason.REVOKED)


def unwant(store: FakeStore, letter: str) -> None:
    """Revoke a key: it is to go from every node."""
    row = store.keys.get(key_id(letter))
    if row is None or row.deleted:
        return
    store.keys[row.id] = replace(row, deleted=True)
    _leave(store, row.id, DeleteReason.REVOKED)


def rotate(store: FakeStore, letter: str) -> None:
    """Give a key its next generation."""
    row = store.keys.get(key_id(letter))
    if row is not None and not row.deleted:
        store.keys[row.id] = replace(row, generation=Generation(row.generation + 1))
        _bump(store)


def move(
    store: FakeStore,
    letter: str,
    to: NodeName,
    order: MoveOrder = MoveOrder.DELETE_FIRST,
) -> None:
    """Place a key on another node instead of where it is."""
    key = key_id(letter)
    here = [n for (k, n), p in store.placements.items() if k == key and p.leaving is None]
    row = store.keys.get(key)
    if row is None or row.deleted or not here or to in here:
        return
    # A key that was moved on before it arrived still has to leave the place where it really is.
    origin = here[0] if store.has_rows(key, here[0]) else store.placements[key, here[0]].replaces
    _leave(store, key, DeleteReason.MOVED)
    gap = order is MoveOrder.DELETE_FIRST and origin != to
    store.placements[key, to] = Placement(key, to, "moved", replaces=origin if gap else None)
    _bump(store)


def drain(store: FakeStore, node: NodeName) -> None:
    """Ask every key to leave a node."""
    store.nodes[node].draining = True
    for (key, where), placement in list(store.placements.items()):
        if where == node and placement.leaving is None:
            store.placements[key, where] = replace(placement, leaving=DeleteReason.DRAINED)
            _forget_if_nowhere(store, key, where)
    _bump(store)


def fail_over(store: FakeStore, node: NodeName) -> None:
    """Have every key of a node that was given up live elsewhere; it is back, and owes their deletion."""
    for (key, where), placement in list(store.placements.items()):
        if where == node and placement.leaving is None:
            store.placements[key, where] = replace(placement, leaving=DeleteReason.FAILED_OVER)
            _forget_if_nowhere(store, key, where)
    _bump(store)


def set_until(store: FakeStore, letter: str, until: datetime | None) -> None:
    """Set the day on which a key's subscription ends."""
    _change(store, letter, valid_until=until)


def set_quota(store: FakeStore, letter: str, quota_bytes: int | None) -> None:
    """Set the traffic that a key's subscription allows."""
    _change(store, letter, quota_bytes=quota_bytes)


def set_used(store: FakeStore, letter: str, used_bytes: int) -> None:
    """Book traffic to a subscription, as sampling does."""
    _change(store, letter, used_bytes=used_bytes)


def set_devices(store: FakeStore, letter: str, devices: int | None) -> None:
    """Set how many devices a subscription allows."""
    _change(store, letter, devices=devices)


def suspend(store: FakeStore, letter: str, *, suspended: bool = True) -> None:
    """Freeze a subscription, or thaw it."""
    _change(store, letter, suspended=suspended)


def lose_subscription(store: FakeStore, letter: str) -> None:
    """Lose the row of a subscription, as a bad migration does."""
    store.subscriptions.pop(SubscriptionId(f"s-{letter}"), None)
    _bump(store)


def set_mode(store: FakeStore, node: NodeName, mode: Mode) -> None:
    """Set the mode of a node."""
    store.nodes[node].mode = mode
    _bump(store)


def set_matches(store: FakeStore, node: NodeName, *matches: Match) -> None:
    """Declare which inbounds carry keys."""
    store.nodes[node].matches = matches
    _bump(store)


def ask(store: FakeStore, node: NodeName, kind: RequestKind, token: str = "r1") -> None:
    """Ask the controller for something at a node."""
    store.nodes[node].requests += (NodeRequest(token, kind),)
    store.changes += 1


def approve(store: FakeStore, node: NodeName, now: datetime) -> int:
    """Approve every set that the node's status shows as withheld; returns how many were new."""
    row = store.nodes[node]
    known = {a.digest for a in row.approvals}
    fresh = tuple(
        Approval(ApprovalKind(s.kind), s.digest, frozenset(s.emails), now)
        for s in row.status.blocked_sets
        if s.digest not in known
    )
    row.approvals += fresh
    store.changes += 1
    return len(fresh)


def forget_everything(store: FakeStore) -> None:
    """Lose keys, subscriptions and placements, as a wrong database does; the journal stays."""
    store.keys, store.subscriptions, store.placements = {}, {}, {}
    _bump(store)


def forget_old_tombstones(store: FakeStore, now: datetime, after: timedelta) -> None:
    """Remove tombstones that are older than `after`, as retention does."""
    for place, at in list(store.gone_at.items()):
        if now - at >= after:
            del store.journal[place], store.gone_at[place]
    store.changes += 1


def _leave(store: FakeStore, key: KeyId, reason: DeleteReason) -> None:
    for (k, node), placement in list(store.placements.items()):
        if k == key and placement.leaving is None:
            store.placements[k, node] = replace(placement, leaving=reason)
            _forget_if_nowhere(store, k, node)
    _bump(store)


def _forget_if_nowhere(store: FakeStore, key: KeyId, node: NodeName) -> None:
    """Drop a leaving placement that was never sent anywhere."""
    rows = [r for (where, _), r in store.journal.items() if where == node and r.key == key]
    if all(r.state is JournalState.GONE for r in rows):
        del store.placements[key, node]


def _change(store: FakeStore, letter: str, **fields: object) -> None:
    subscription = SubscriptionId(f"s-{letter}")
    old = store.subscriptions.get(subscription)
    if old is not None:
        store.subscriptions[subscription] = replace(old, **fields)  # type: ignore[arg-type]
        _bump(store)


def _bump(store: FakeStore) -> None:
    store.revision = Revision(store.revision + 1)
    store.changes += 1
