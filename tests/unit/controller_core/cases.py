"""One node's desired state and look, as small as a test wants them.

Callers: the tests of this folder. `converge` makes a look that shows exactly what is wanted.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.core.binding import match_digest, resolve_matches, survey_inbounds
from controller.core.desired import Desired, KeyOnNode
from controller.core.draw import make_plan
from controller.core.expect import Shapes, limits_of, wanted_clients
from controller.core.features import features_of
from controller.core.observed import Observation, ObservedClient, ObservedInbound
from controller.core.plan import Plan
from desired_state.model.credentials import derive_secrets, digest_secrets
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import (
    Email,
    Epoch,
    Generation,
    InboundId,
    KeyId,
    NodeName,
    Revision,
    SubscriptionId,
    TariffName,
)
from desired_state.model.node import Mode
from desired_state.model.ownership import InstallationSecret, Ownership
from desired_state.model.subscription import Subscription

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NODE = NodeName("nl-1")
OWNERSHIP = Ownership((InstallationSecret(1, b"a secret of this test"),))
V2, V302, V310, V328, V360 = (2, 9, 4), (3, 0, 2), (3, 1, 0), (3, 2, 8), (3, 6, 0)


def seed_of(key: KeyId, generation: int) -> bytes:
    """Return the seed that these tests give a generation."""
    return f"{key}/{generation}".encode().ljust(32, b".")


def make_inbound(inbound: int = 1, protocol: str = "vless", **changes: Any) -> ObservedInbound:
    """Make an enabled inbound: VLESS over TCP with Reality unless said otherwise."""
    values: dict[str, Any] = {"port": 20000 + inbound, "tag": f"in-{inbound}"}
    if protocol == "vless":
        values |= {"network": "tcp", "security": "reality"}
    return ObservedInbound(InboundId(inbound), protocol, **values | changes)


INBOUNDS = (make_inbound(),)


def make_subscription(**changes: Any) -> Subscription:
    """Make one in force for ten more days, with 100 GB and three devices."""
    values: dict[str, Any] = {
        "id": SubscriptionId("s1"),
        "tariff": TariffName("month"),
        "valid_until": NOW + timedelta(days=10),
        "quota_bytes": 100 * 10**9,
        "devices": 3,
    }
    return Subscription(**values | changes)


def make_key(letter: str = "a", generation: int = 1, **changes: Any) -> KeyOnNode:
    """Make a key that is placed here; its id is ten times the letter."""
    values: dict[str, Any] = {"subscription": make_subscription()}
    return KeyOnNode(key=KeyId(letter * 10), generation=Generation(generation), **values | changes)


def make_desired(*keys: KeyOnNode, inbounds: Any = INBOUNDS, **changes: Any) -> Desired:
    """Make a node in mode enforce whose inbounds are bound."""
    values: dict[str, Any] = {
        "node": NODE,
        "mode": Mode.ENFORCE,
        "revision": Revision(7),
        "epoch": Epoch(0),
        "ownership": OWNERSHIP,
        "keys": keys,
        "bound": resolve_matches((), inbounds),
        "match_digest": match_digest(()),
    }
    return Desired(**values | changes)


def make_look(
    *clients: ObservedClient,
    version: tuple[int, int, int] = V360,
    inbounds: Any = INBOUNDS,
    **changes: Any,
) -> Observation:
    """Make a look at a panel of a version."""
    text = ".".join(map(str, version))
    return Observation(NODE, text, features_of(version), inbounds, clients, **changes)


def make_client(email: str, **changes: Any) -> ObservedClient:
    """Make somebody's client, attached to inbound 1."""
    values: dict[str, Any] = {"inbound_ids": (InboundId(1),), "sub_id": "somebody", "uuid": "u-1"}
    return ObservedClient(email=email, **values | changes)


def converge(desired: Desired, look: Observation) -> tuple[Desired, Observation]:
    """Journal every wanted client as live and show it on the panel as it should be."""
    shapes = Shapes(survey_inbounds(desired, look.inbounds), look.features)
    rows, clients = [], []
    for key in desired.keys:
        limits = limits_of(key.subscription, key.counter_base_bytes, desired.policy, NOW)
        kinds = shapes.of_key((), OWNERSHIP.email(key.key, key.generation))
        for want in wanted_clients(key, kinds, limits, OWNERSHIP):
            secrets = derive_secrets(seed_of(key.key, key.generation), want.shape.password_bytes)
            rows.append(
                make_row(
                    want.email,
                    key=key.key,
                    generation=key.generation,
                    inbound_ids=want.shape.inbound_ids,
                    projection=want.projection,
                    password_bytes=want.shape.password_bytes,
                    secrets_digest=digest_secrets(secrets.uuid, secrets.password, secrets.auth),
                )
            )
            clients.append(
                ObservedClient(
                    email=want.email,
                    inbound_ids=want.shape.inbound_ids,
                    sub_id=OWNERSHIP.mark(want.email),
                    uuid=secrets.uuid,
                    password=secrets.password,
                    auth=secrets.auth,
                    flow=want.shape.flow,
                    enable=want.enable,
                    expiry_ms=want.expiry_ms,
                    total_bytes=want.total_bytes,
                    limit_ip=want.limit_ip,
                )
            )
    return (
        replace(desired, journal=(*desired.journal, *rows)),
        replace(look, clients=(*look.clients, *clients)),
    )


def make_row(email: str, **changes: Any) -> JournalRow:
    """Make a live row whose subId is our mark."""
    values: dict[str, Any] = {
        "node": NODE,
        "key": KeyId("a" * 10),
        "generation": Generation(1),
        "inbound_ids": (InboundId(1),),
        "sub_id": OWNERSHIP.mark(email),
        "state": JournalState.LIVE,
    }
    return JournalRow(email=Email(email), **values | changes)


def change_client(look: Observation, email: str, **changes: Any) -> Observation:
    """Edit one client by hand."""
    return replace(
        look,
        clients=tuple(replace(c, **changes) if c.email == email else c for c in look.clients),
    )


def drop_client(look: Observation, *emails: str) -> Observation:
    """Delete clients by hand."""
    return replace(look, clients=tuple(c for c in look.clients if c.email not in emails))


def brief(plan: Plan) -> list[tuple[str, str, str]]:
    """Write a plan's actions as (verb, email, reason)."""
    return [(a.verb.value, a.email, a.reason) for a in plan.actions]


def plan(desired: Desired, look: Observation, now: datetime = NOW) -> Plan:
    """Draw the plan."""
    return make_plan(desired, look, now)
