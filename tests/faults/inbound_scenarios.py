"""Worlds with a declared inbound: missing, on another port, gone from the manifests, in somebody's way.

Callers: `scenarios`, which collects all worlds. Beside it stands an inbound that nobody declared, with a
client that is not ours, and clients of strangers stand on the declared one too. Not here: faults.
"""

from dataclasses import replace

from controller.core.desired import DeclaredInbound
from controller.core.features import Version
from controller.core.observed import ObservedClient
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import InboundDeletion, InboundSpec, Reality
from tests.fakes import people
from tests.fakes.panel import TROJAN, VLESS, FakePanel
from tests.fakes.world import World
from tests.faults.settling import settle

FRONT = InboundSpec(
    name=InboundName("front"),
    protocol="vless",
    port=20443,
    tag="x3f-front",
    remark="x3f-front",
    reality=Reality("www.example.org:443", ("www.example.org",)),
    deletion_policy=InboundDeletion.DELETE,
)


def guest(number: int, inbound: int) -> ObservedClient:
    """Make a client that has nothing to do with us."""
    return ObservedClient(
        email=f"visitor{number}",
        inbound_ids=(InboundId(inbound),),
        sub_id=f"visit-{number}",
        uuid=f"00000000-0000-4000-9000-{number:012d}",
        password=f"pass-{number}",
        raw={"extra": number},
    )


def declare(world: World, spec: InboundSpec = FRONT, *, leaving: bool = False) -> None:
    """Declare an inbound on the only node, or let its document vanish."""
    world.store.inbounds[world.panel.node, spec.name] = DeclaredInbound(spec, leaving)
    world.store.changes += 1


def with_keys(version: Version) -> World:
    """Make a node with two keys, an inbound that nobody declared, and a stranger's client on that."""
    world = World.of(FakePanel.of(version, VLESS))
    for letter in "ab":
        people.want(world.store, letter)
    world.panel.add_by_hand(guest(1, 1))
    return world


def inbound_missing(version: Version) -> World:
    """It is declared, and the panel lacks it."""
    world = with_keys(version)
    declare(world)
    return world


def only_inbound_missing(version: Version) -> World:
    """It is declared, and the panel has no inbound at all."""
    world = World.of(FakePanel.of(version))
    world.panel.inbounds.clear()
    people.want(world.store, "a")
    declare(world)
    return world


def only_declared(version: Version) -> World:
    """Make a node whose eight keys live on the declared inbound, the only one there is."""
    world = World.of(FakePanel.of(version))
    world.panel.inbounds.clear()
    for letter in "abcdefgh":
        people.want(world.store, letter)
    declare(world)
    return settle(world)


def settled_front(version: Version) -> World:
    """Make a node whose keys live on the declared inbound too, with a stranger's client beside them."""
    world = with_keys(version)
    declare(world)
    settle(world)
    world.panel.add_by_hand(guest(2, 2))
    return settle(world)


def inbound_changed(version: Version) -> World:
    """Its port and its Reality's target are declared otherwise."""
    world = settled_front(version)
    other = Reality("www.example.net:443", ("www.example.net",))
    declare(world, replace(FRONT, port=20444, reality=other))
    return world


def inbound_leaves(version: Version) -> World:
    """Its document is gone, and nobody else's client is on it."""
    world = settled_front(version)
    world.panel.delete_by_hand("visitor2")
    declare(world, leaving=True)
    return world


def inbound_leaves_with_a_guest(version: Version) -> World:
    """Its document is gone, and a stranger's client is on it."""
    world = settled_front(version)
    declare(world, leaving=True)
    return world


def inbound_in_the_way(version: Version) -> World:
    """Somebody's inbound listens where it is to listen."""
    world = settle(with_keys(version))
    theirs = replace(TROJAN, port=FRONT.port, remark="theirs", tag="theirs")
    world.panel.set_inbound(theirs)
    world.panel.add_by_hand(guest(3, int(theirs.id)))
    declare(world)
    return world


def inbound_deleted_by_hand(version: Version) -> World:
    """A person deleted it, and the clients on it with it."""
    world = settled_front(version)
    world.panel.delete_by_hand("visitor2")
    world.panel.remove_inbound(InboundId(2))
    return world
