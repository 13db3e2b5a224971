"""What a converged world holds, told from the database alone: the independent answer to "is it right?".

Callers: the state machine, properties of whole turns. It shares nothing with the plan but the model's
own rules (emails, subscriptions). Not here: comparing runs with each other (`oracles`).
"""

from collections import Counter
from datetime import timedelta

from controller.core.features import Features
from controller.core.observed import ObservedClient
from desired_state.model.credentials import derive_secrets
from desired_state.model.ids import Email, Generation, KeyId, NodeName
from tests.fakes.panel import FakePanel
from tests.fakes.store import FakeStore, seed_of
from tests.fakes.world import World
from tests.faults.safety import Violation, parts_of


def check_truth(world: World, node: NodeName) -> None:
    """Compare a panel with what its placements ask for, where the node may be written to."""
    panel, store = world.panels[node], world.store
    placed = {k for (k, n), p in store.placements.items() if n == node and p.leaving is None}
    wanted: dict[str, KeyId] = {}
    for key in placed:
        for email in emails_of(store, key, panel.features, store.nodes[node].bound or ()):
            wanted[email] = key
    ours = [c for c in panel.ours() if not _is_placeholder(store, node, c.email)]
    # A stranger holds the email: the key waits for its rotation.
    taken = {client.email.lower() for client in panel.foreign().values()}
    there = Counter(c.email.lower() for c in ours)
    extra = {e: n for e, n in there.items() if n > 1 or e not in wanted}
    if extra:
        raise Violation(f"L1: {node} holds what nobody wants: {extra}")
    for email, key in wanted.items():
        ended = store.subscriptions[store.keys[key].subscription].ended_by(world.clock.now)
        if ended is None and email not in there and email not in taken:
            raise Violation(f"L1: {node} misses {email}")
    for client in ours:
        key = wanted[client.email.lower()]
        _check_client(world, panel, key, client)


def _check_client(world: World, panel: FakePanel, key: KeyId, client: ObservedClient) -> None:
    store = world.store
    row = store.keys[key]
    subscription = store.subscriptions[row.subscription]
    now = world.clock.now
    enable = subscription.ended_by(now) is None
    secrets = derive_secrets(seed_of(key, row.generation))
    quota = subscription.quota_bytes
    until = subscription.valid_until
    expiry = int((until + timedelta(days=1)).timestamp()) * 1000 if until else 0
    expected: dict[str, object] = {
        "enable": enable,
        "expiry_ms": expiry,
        "total_bytes": 0
        if quota is None
        else store.counter_bases.get((key, panel.node), 0) + quota,
        "sub_id": store.ownership.mark(client.email),
    }
    protocols = {panel.inbounds[i].protocol for i in client.inbound_ids}
    if protocols & {"vless", "vmess"}:
        expected["uuid"] = secrets.uuid
    if "trojan" in protocols:
        expected["password"] = secrets.password
    have = {name: getattr(client, name) for name in expected}
    if have != expected:
        raise Violation(f"L1: {client.email} is {have} instead of {expected}")


def emails_of(
    store: FakeStore, key: KeyId, features: Features, bound: tuple[object, ...]
) -> list[Email]:
    """Return the emails that the present generation of a key has on a node."""
    generation = Generation(store.keys[key].generation)
    if not features.email_per_inbound:
        return [store.ownership.email(key, generation)]
    return [store.ownership.email(key, generation, b.id) for b in bound]  # type: ignore[attr-defined]


def _is_placeholder(store: FakeStore, node: NodeName, email: str) -> bool:
    row = store.journal.get((node, Email(email)))
    return row is not None and row.key is None and parts_of(email) is not None
