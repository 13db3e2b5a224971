"""Named data sets: fleets in the states that have broken pages and bots, valid by construction.

Each is built by commands, and by the helpers of `rows` for what the controller owns; a builder gets an
empty prepared store and returns what it is about. Callers: tests of queries run over each of them.
People's messages and adoptions have no tables yet: they join here when they have.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from desired_state.commands import keys, nodes, people, subscriptions
from desired_state.commands.keys import Issued
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, KeyId, NodeName, TariffName
from desired_state.model.node import DeletionPolicy
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import MoveOrder
from desired_state.store.engine import Store
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data import rows, shop
from tests.stores import FrozenClock

NL1, NL2, DE1 = NodeName("nl-1"), NodeName("nl-2"), NodeName("de-1")
MONTH, TRIAL, WORLD = TariffName("month-nl"), TariffName("trial"), TariffName("world")
NOWHERE = TariffName("month-fr")
ONE, TWO = Generation(1), Generation(2)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a data set is about: its keys in order, and the nodes that matter."""

    keys: tuple[KeyId, ...] = ()
    nodes: tuple[NodeName, ...] = (NL1, NL2, DE1)


Builder = Callable[[Store], Awaitable[Scene]]


async def build_empty(store: Store) -> Scene:
    """Nothing at all: the first minute after `db upgrade`."""
    del store
    return Scene(nodes=())


async def build_fleet(store: Store) -> Scene:
    """Three nodes that are ready, four tariffs, a policy, and no key."""
    await rows.apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(),
            make_tariff("trial", days=3, traffic_bytes=GIB, devices=1, prices=(), trial=True),
            make_tariff("world", nodes=make_selector(None), traffic_bytes=None, devices=None),
            make_tariff("month-fr", nodes=make_selector(country="fr")),
            make_policy(),
        ),
    )  # fmt: skip
    for node in (NL1, NL2, DE1):
        await rows.set_status(store, node)
        await rows.bind(store, node)
    return Scene()


async def build_declared(store: Store) -> Scene:
    """Nodes and a key that no controller has looked at yet: status is empty."""
    await rows.apply(store, make_bundle(make_node_spec("nl-1"), make_tariff()))
    issued = await _issue(store, MONTH)
    return Scene((issued.key.id,), (NL1,))


async def build_trial(store: Store) -> Scene:
    """A trial with a quarter of its traffic used."""
    await build_fleet(store)
    issued = await _issue(store, TRIAL)
    await _live(store, issued, NL1, used_bytes=GIB // 4)
    return Scene((issued.key.id,))


async def build_expired(store: Store) -> Scene:
    """A month that ended two days ago; its key is still there, to be switched off."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1, used_bytes=3 * GIB)
    _clock(store).advance(days=32)
    return Scene((issued.key.id,))


async def build_over_quota(store: Store) -> Scene:
    """More traffic than was sold, over two nodes and an earlier generation together."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1, used_bytes=150 * GIB)
    await rows.use(store, issued.key.id, NL2, 40 * GIB, base_bytes=10 * GIB, booked_bytes=21 * GIB)
    return Scene((issued.key.id,))


async def build_banned(store: Store) -> Scene:
    """A person whom an operator banned, with two keys."""
    await build_fleet(store)
    async with begin(store, "bot") as work:
        met = await people.meet(work, 7001, language="ru")
        owned = await subscriptions.create(work, MONTH, person=met.person.id)
        issued = [await keys.issue(work, MONTH, subscription=owned.id) for _ in range(2)]
    for one, node in zip(issued, (NL1, NL2), strict=True):
        await _live(store, one, node)
    async with begin(store, "admin:ann") as work:
        await people.ban(work, met.person.id, reason="abuse")
    return Scene(tuple(one.key.id for one in issued))


async def build_frozen(store: Store) -> Scene:
    """A subscription that was frozen ten days before its end, a year ago; its node knows."""
    await build_fleet(store)
    issued = await shop.buy(store, MONTH)
    await _live(store, issued, NL1, projection="0|0|0|0||1")
    _clock(store).advance(days=20)
    async with begin(store, "bot") as work:
        await subscriptions.freeze(work, issued.subscription.id, reason="travels")
    _clock(store).advance(days=365)
    return Scene((issued.key.id,))


async def build_refunded(store: Store) -> Scene:
    """Bought, paid, served, and given back on the third day; another payment waits to be."""
    await build_fleet(store)
    issued = await shop.buy(store, MONTH, charge="to-go-back")
    await _live(store, issued, NL1, used_bytes=GIB)
    _clock(store).advance(days=3)
    await shop.refund(store, "to-go-back", by_provider=True)
    other = await shop.buy(store, MONTH, charge="asked-for")
    await shop.refund(store, "asked-for")
    return Scene((issued.key.id, other.key.id))


async def build_everywhere(store: Store) -> Scene:
    """One key on every node, live on two and waiting on the third."""
    await build_fleet(store)
    issued = await _issue(store, WORLD)
    await _live(store, issued, NL1, used_bytes=5 * GIB)
    await _live(store, issued, NL2)
    await rows.place(store, issued.key.id, DE1)
    await rows.journal(store, issued.key.id, DE1, state=JournalState.INTENDED)
    return Scene((issued.key.id,))


async def build_half_moved(store: Store) -> Scene:
    """A delete-first move: the old node has not let go, the new one waits for it."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1, leaving=DeleteReason.MOVED.value)
    async with begin(store, "bot") as work:
        await keys.move(work, issued.key.id, make_selector(country="de"))
    await rows.place(store, issued.key.id, DE1, reason="moved from nl-1", replaces=NL1)
    return Scene((issued.key.id,), (NL1, DE1))


async def build_overlapping_move(store: Store) -> Scene:
    """A create-first move: the key is live on both nodes."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1)
    async with begin(store, "bot") as work:
        await keys.move(work, issued.key.id, NL2, order=MoveOrder.CREATE_FIRST)
    await _live(store, issued, NL2)
    return Scene((issued.key.id,), (NL1, NL2))


async def build_rotated(store: Store) -> Scene:
    """A rotated key whose old generation is deleted and not yet proved gone."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1)
    async with begin(store, "bot") as work:
        await keys.rotate(work, issued.key.id, expected=ONE)
    return Scene((issued.key.id,), (NL1,))


async def build_revoked(store: Store) -> Scene:
    """A key that was revoked and finalised: a tombstone is all that is left on its node."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await rows.journal(
        store, issued.key.id, NL1, state=JournalState.GONE, delete_reason=DeleteReason.REVOKED
    )
    await rows.use(store, issued.key.id, NL1, 0, booked_bytes=7 * GIB)
    async with begin(store, "bot") as work:
        await keys.revoke(work, issued.key.id)
    return Scene((issued.key.id,), (NL1,))


async def build_unschedulable(store: Store) -> Scene:
    """A key of a tariff that no node fits, and one pinned to a cordoned node."""
    await build_fleet(store)
    nowhere = await _issue(store, NOWHERE)
    async with begin(store, "admin:ann") as work:
        await nodes.cordon(work, NL2)
    async with begin(store, "cli") as work:
        pinned = await keys.issue(work, MONTH, node=NL2)
    return Scene((nowhere.key.id, pinned.key.id))


async def build_debt_on_a_dead_node(store: Store) -> Scene:
    """A node died, its key lives elsewhere by failover, and its delete is still owed."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL2)
    await rows.place(store, issued.key.id, NL1, leaving=DeleteReason.MOVED.value)
    await rows.journal(store, issued.key.id, NL1, delete_reason=DeleteReason.MOVED)
    await _say(
        store, NL1,
        ("Unreachable", "Timeout", "no answer for 12 minutes"), ("Ready", "Unreachable", ""),
        failures=7,
    )  # fmt: skip
    return Scene((issued.key.id,), (NL1, NL2))


async def build_orphaned_payment(store: Store) -> Scene:
    """Payments that nothing belongs to: no purchase, one that was paid already, a refund alone.

    And what is paid and has no key, and a subscription that nobody paid for.
    """
    await build_fleet(store)
    issued = await shop.buy(store, MONTH, charge="first")
    await shop.pay(store, None, "nobody-knows")
    await shop.pay(store, await shop.purchase_of(store, issued), "second")
    await shop.refund_unknown(store, "only-refunded")
    async with begin(store, "bot") as work:
        met = await people.meet(work, 7002)
        await subscriptions.create(work, MONTH, person=met.person.id)
        await keys.revoke(work, issued.key.id)
    return Scene((issued.key.id,))


async def build_adopted_and_foreign(store: Store) -> Scene:
    """A client of ours that we did not create, strangers that are counted, one quarantined."""
    await build_fleet(store)
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1, sub_id="given-by-hand", secrets_digest="a.b.c")
    await rows.journal(store, None, NL1)
    counts = {"desired": 1, "live": 1, "foreign": 12, "quarantined": 1, "drift": 0}
    await _say(store, NL1, ("Ready", "InSync", ""), counts=counts, owned_seen=2, placed_seen=1)
    return Scene((issued.key.id,), (NL1,))


async def build_blocked(store: Store) -> Scene:
    """More deletes than a guard lets through: a set waits for a person."""
    await build_fleet(store)
    issued = [await _issue(store, MONTH) for _ in range(6)]
    emails = []
    for key in issued:
        await rows.place(store, key.key.id, NL1)
        emails.append(str((await rows.journal(store, key.key.id, NL1)).email))
    async with begin(store, "bot") as work:
        for key in issued:
            await keys.revoke(work, key.key.id)
    withheld = {"kind": "deletes", "digest": "0123456789abcdef" * 4, "emails": sorted(emails)}
    await _say(
        store, NL1,
        ("Blocked", "TooManyDeletes", "6 of 6"), ("Ready", "Blocked", ""),
        blocked_sets=[withheld],
    )  # fmt: skip
    return Scene(tuple(key.key.id for key in issued), (NL1,))


async def build_orphaned_node(store: Store) -> Scene:
    """Two nodes vanished from the manifests: one keeps its key, one is to be drained."""
    drained = make_node_spec("nl-2", deletion_policy=DeletionPolicy.DRAIN)
    await rows.apply(store, make_bundle(make_node_spec("nl-1"), drained, make_tariff()))
    issued = await _issue(store, MONTH)
    await _live(store, issued, NL1)
    await rows.apply(store, make_bundle(make_tariff(), revision="r2"))
    return Scene((issued.key.id,), (NL1, NL2))


DATASETS: Mapping[str, Builder] = MappingProxyType(
    {
        "empty": build_empty,
        "fleet without keys": build_fleet,
        "declared, never looked at": build_declared,
        "trial": build_trial,
        "expired": build_expired,
        "over quota": build_over_quota,
        "banned": build_banned,
        "frozen": build_frozen,
        "refunded": build_refunded,
        "key on all nodes": build_everywhere,
        "half-moved": build_half_moved,
        "moved create-first": build_overlapping_move,
        "rotated": build_rotated,
        "revoked": build_revoked,
        "unschedulable": build_unschedulable,
        "debt on a dead node": build_debt_on_a_dead_node,
        "orphaned payment": build_orphaned_payment,
        "adopted and foreign clients": build_adopted_and_foreign,
        "blocked": build_blocked,
        "orphaned nodes": build_orphaned_node,
    }
)


# -- parts -----------------------------------------------------------------------------------------


async def _issue(store: Store, tariff: TariffName) -> Issued:
    async with begin(store, "bot") as work:
        return await keys.issue(work, tariff)


async def _live(
    store: Store,
    issued: Issued,
    node: NodeName,
    *,
    used_bytes: int = 0,
    leaving: str | None = None,
    **fields: str,
) -> None:
    """Place, journal and prove a key on a node."""
    await rows.place(store, issued.key.id, node, leaving=leaving)
    await rows.journal(store, issued.key.id, node, **fields)
    await rows.use(store, issued.key.id, node, used_bytes)


async def _say(
    store: Store, node: NodeName, *conditions: tuple[str, str, str], **columns: object
) -> None:
    """Replace a node's status; `Ready` holds only where it stands alone."""
    now = store.clock.now()
    alone = len(conditions) == 1
    found = [
        rows.condition(kind, reason, now, message, status=kind != "Ready" or alone)
        for kind, reason, message in conditions
    ]
    await rows.replace_status(store, node, *found, **columns)


def _clock(store: Store) -> FrozenClock:
    assert isinstance(store.clock, FrozenClock), "data sets need a clock that can be moved"
    return store.clock
