"""What must hold after every effect: the safety promises S1 to S6 and S8, asked of the truth.

The watch of a `World`. It looks at what the panel really holds and who made it, never at what the core
believes. S7 (the lease's deadline) is the worker's. Callers: the explorer, the state machine. Not here:
end states and counts (`oracles`).
"""

from dataclasses import dataclass, field
from functools import lru_cache

from controller.core import effects as fx
from controller.core.observed import NotObserved, ObservedClient, ObservedInbound
from controller.core.turn import MOST_DOUBTS
from desired_state.model.generation import JournalState
from desired_state.model.ids import InboundId, KeyId, NodeName
from desired_state.model.node import Mode
from desired_state.model.ownership import EmailParts
from tests.fakes.panel import GUIDS_SINCE, FakePanel
from tests.fakes.store import OWNERSHIP
from tests.fakes.world import World

REMOVING = (fx.Verb.DELETE, fx.Verb.DETACH, fx.Verb.DROP_INBOUND)
UNKNOWN_CREATE_WAIT_S = 60


class Violation(AssertionError):
    """A promise was broken; the message begins with its number."""


@lru_cache(maxsize=4096)
def parts_of(email: str) -> EmailParts | None:
    """Read an email of ours."""
    return OWNERSHIP.parse(email)


@dataclass
class _TurnSoFar:
    node: NodeName
    observes: int = 0
    calls: int = 0
    members: int = 0
    restarts: int = 0
    blind: bool = False
    unanswered: bool = False
    reserved: int | None = None
    owned_at_start: int = 0
    deleted: set[str] = field(default_factory=set)
    allowed: set[str] = field(default_factory=set)
    draining: bool = False
    foreign_before: dict[int, ObservedClient] = field(default_factory=dict)
    inbounds_before: dict[InboundId, ObservedInbound] = field(default_factory=dict)
    extras_before: dict[str, object] = field(default_factory=dict)
    served_before: frozenset[KeyId] = frozenset()


class Safety:
    """Checks every effect of every turn, and counts what it checked."""

    def __init__(self) -> None:
        self.checked = 0
        self._turn = _TurnSoFar(NodeName(""))

    # -- the watch ---------------------------------------------------------------------------------

    def begins(self, world: World, node: NodeName) -> None:
        row = world.store.nodes[node]
        self._turn = _TurnSoFar(
            node,
            owned_at_start=sum(1 for _ in world.panels[node].ours()),
            allowed={e.lower() for a in row.approvals for e in a.emails},
            draining=row.draining,
        )

    def before(self, world: World, node: NodeName, effect: fx.Effect[object]) -> None:
        turn = self._turn
        if isinstance(effect, fx.Observe):
            turn.observes += 1
        visits = isinstance(effect, (fx.Observe, fx.Write))
        if visits and world.store.nodes[node].mode is Mode.PAUSED:
            raise Violation(f"S4: {type(effect).__name__} on a paused node")
        if isinstance(effect, fx.Write):
            self._before_write(world, world.panels[node], effect)

    def after(
        self, world: World, node: NodeName, effect: fx.Effect[object], result: object
    ) -> None:
        self.checked += 1
        turn, panel = self._turn, world.panels[node]
        if isinstance(effect, fx.Observe):
            turn.blind, turn.unanswered = isinstance(result, NotObserved), False
        elif isinstance(effect, fx.Write):
            self._after_write(panel, effect)
            self._nobody_is_cut_off(world, panel, effect)
            turn.unanswered = result.verdict is fx.Verdict.UNKNOWN  # type: ignore[attr-defined]
        elif isinstance(effect, fx.ReserveDeletes) and result:
            turn.reserved = (turn.reserved or 0) + len(effect.emails)
        elif isinstance(effect, fx.Finalise):
            self._nothing_lives(world, panel, effect)
        elif isinstance(effect, fx.WriteStatus):
            _no_secret(panel, effect)
        if node not in world.suspended and not isinstance(effect, fx.Observe):
            one_generation(panel)

    # -- S1, S4, S5, S8 before a write -----------------------------------------------------------------

    def _before_write(self, world: World, panel: FakePanel, write: fx.Write) -> None:
        turn, row = self._turn, world.store.nodes[panel.node]
        turn.calls += 1
        turn.members += len(write.members)
        if turn.blind:
            raise Violation(f"S8: {write.verb} although the last look failed")
        if turn.unanswered:
            raise Violation(f"S8: {write.verb} after a write without an answer and before a look")
        turn.restarts += write.verb is fx.Verb.RESTART
        if turn.restarts > 1:
            raise Violation(f"S8: {turn.restarts} restarts of Xray in one turn")
        # One to begin with, two for each call or for a doubt about what is missing, one to bury.
        if turn.observes > 2 * turn.calls + MOST_DOUBTS:
            raise Violation(f"S8: {turn.observes} looks for {turn.calls} writes")
        if row.mode is Mode.OBSERVE or (row.mode is Mode.UPSERT_ONLY and write.verb in REMOVING):
            raise Violation(f"S4: {write.verb} in mode {row.mode}")
        if row.guid and panel.version >= GUIDS_SINCE and panel.guid != row.guid:
            raise Violation(f"S4: {write.verb} on panel {panel.guid}, bound to {row.guid}")
        turn.foreign_before = panel.foreign()
        turn.inbounds_before = _foreign_inbounds(panel)
        for member in write.members:
            _names_no_foreigner(panel, write, member)
        if write.verb is fx.Verb.UPDATE:
            turn.extras_before = {
                c.email: c.raw.get("extra") for c in panel.ours() if "extra" in c.raw
            }
        if write.verb is fx.Verb.DELETE:
            self._deletes_are_covered(world, panel, write)
        turn.served_before = _cut_keys(world, panel, write) & _served(world, panel)

    def _deletes_are_covered(self, world: World, panel: FakePanel, write: fx.Write) -> None:
        turn, policy = self._turn, world.store.nodes[panel.node].policy
        turn.deleted |= {m.email.lower() for m in write.members} & _unwanted(world, panel)
        rows = world.store.journal.values()
        debts = {r.email.lower() for r in rows if r.node == panel.node and r.delete_attempts}
        if (turn.reserved or 0) < len(turn.deleted - turn.allowed - debts):
            raise Violation(f"S5: {len(turn.deleted)} deletes, reserved {turn.reserved}")
        limit = max(policy.max_delete_floor, int(policy.max_delete_share * turn.owned_at_start))
        beyond = turn.deleted - turn.allowed
        if len(beyond) > limit and not turn.draining:
            raise Violation(f"S5: {len(beyond)} deletes without approval, {limit} allowed")

    # -- S1, S3 afterwards -----------------------------------------------------------------------------

    def _after_write(self, panel: FakePanel, write: fx.Write) -> None:
        if panel.foreign() != self._turn.foreign_before:
            raise Violation(f"S1: {write.verb} changed a foreign client")
        if _foreign_inbounds(panel) != self._turn.inbounds_before:
            raise Violation(f"S1: {write.verb} changed an inbound that nobody declared")
        _keys_are_kept(panel)
        for client in panel.ours():
            extra = self._turn.extras_before.get(client.email)
            if extra is not None and client.raw.get("extra") != extra:
                raise Violation(f"update lost an unknown field of {client.email}")
        self._turn.extras_before = {}

    def _nobody_is_cut_off(self, world: World, panel: FakePanel, write: fx.Write) -> None:
        """What is unbound leaves no key in force without a client, unless a person approved it."""
        dark = self._turn.served_before - _served(world, panel)
        asked = {p.key for e in self._turn.allowed if (p := parts_of(e)) is not None}
        if dark - asked:
            raise Violation(f"S5: {write.verb} cut off {sorted(dark - asked)} without approval")

    def _nothing_lives(self, world: World, panel: FakePanel, effect: fx.Finalise) -> None:
        there = {c.email.lower() for c in panel.ours()}
        for gone in effect.gone:
            if gone.row.email.lower() in there:
                raise Violation(f"S3: {gone.row.email} finalised while it exists")
            if gone.row.delete_reason is None:
                raise Violation(f"S5: {gone.row.email} deleted without a reason")
            since = gone.row.create_unknown_at
            if since and (world.clock.now - since).total_seconds() < UNKNOWN_CREATE_WAIT_S:
                raise Violation(f"S3: {gone.row.email} finalised too soon after its unknown create")


def _foreign_inbounds(panel: FakePanel) -> dict[InboundId, ObservedInbound]:
    return {i: one for i, one in panel.inbounds.items() if i not in panel.own_inbounds}


def _keys_are_kept(panel: FakePanel) -> None:
    """What the server was given when it was created stays, and nothing of ours stands there twice."""
    ports = [one.port for one in panel.inbounds.values()]
    if len(ports) != len(set(ports)):
        raise Violation(f"S1: two inbounds on one port: {sorted(ports)}")
    for i in panel.own_inbounds & panel.inbounds.keys():
        if '"privateKey": "kept"' not in panel.inbounds[i].stream:
            raise Violation(f"S1: inbound {i} lost its key")


def one_generation(panel: FakePanel) -> None:
    """S2: never two live generations of one key on one node."""
    seen: dict[KeyId, int] = {}
    for client in panel.ours():
        parts = parts_of(client.email)
        if parts is not None and seen.setdefault(parts.key, parts.generation) != parts.generation:
            raise Violation(f"S2: {parts.key} in two generations on {panel.node}")


def one_node(world: World, key: KeyId) -> bool:
    """Whether a key lives on one node at most."""
    there = [
        name
        for name, panel in world.panels.items()
        if any((p := parts_of(c.email)) is not None and p.key == key for c in panel.ours())
    ]
    return len(there) <= 1


def _names_no_foreigner(panel: FakePanel, write: fx.Write, member: fx.ClientRecord) -> None:
    if write.verb is fx.Verb.CREATE:
        return
    spelling = member.current.email if member.current is not None else member.email
    where = member.inbound_ids[0] if panel.features.email_per_inbound else None
    for number in panel.numbers_of(spelling, where):
        if panel.entries[number].foreign:
            raise Violation(f"S1: {write.verb} names the foreign client {spelling}")


def _unwanted(world: World, panel: FakePanel) -> set[str]:
    """Return emails there whose delete takes something away: not those that are put back at once."""
    store = world.store
    wanted = {
        (key, store.keys[key].generation)
        for (key, node), placement in store.placements.items()
        if node == panel.node and placement.leaving is None
    }
    found = set()
    for client in panel.ours():
        # An adopted client keeps the email that it had: only its adoption says whose it is.
        parts = parts_of(client.email) or store.adopted.get((panel.node, client.email))
        if parts is None or (parts.key, parts.generation) not in wanted:
            found.add(client.email.lower())
    return found


def _served(world: World, panel: FakePanel) -> frozenset[KeyId]:
    """Return keys that are to live there, are in force, and do: client and inbound are switched on."""
    store = world.store
    on = {inbound.id for inbound in panel.inbounds.values() if inbound.enable}
    found = set()
    for client in panel.ours():
        parts = parts_of(client.email)
        if parts is None or not client.enable or not on.intersection(client.inbound_ids):
            continue
        key, placement = store.keys.get(parts.key), store.placements.get((parts.key, panel.node))
        if key is None or placement is None or placement.leaving is not None:
            continue
        owner = store.subscriptions.get(key.subscription)
        if key.generation == parts.generation and owner and not owner.ended_by(world.clock.now):
            found.add(parts.key)
    return frozenset(found)


def _cut_keys(world: World, panel: FakePanel, write: fx.Write) -> frozenset[KeyId]:
    """Return the keys that a write takes off inbounds that are not bound any more.

    A delete of what the binding asks for is none: it clears the way for the same client.
    """
    bound = {b.id for b in world.store.nodes[panel.node].bound or ()}
    keys = set()
    for member in write.members:
        parts = parts_of(member.email)
        unbound = parts is not None and parts.inbound is not None and parts.inbound not in bound
        if parts and (write.verb is fx.Verb.DETACH or (write.verb is fx.Verb.DELETE and unbound)):
            keys.add(parts.key)
    return frozenset(keys)


def _no_secret(panel: FakePanel, effect: fx.WriteStatus) -> None:
    text = repr(effect)
    for client in panel.ours():
        for secret in (client.sub_id, client.uuid, client.password, client.auth):
            if secret and secret in text:
                raise Violation(f"S8: a secret of {client.email} in the status or its events")


def no_live_tombstone(world: World) -> None:
    """Nothing that is recorded as gone is alive; asked of a settled world."""
    for (node, email), row in world.store.journal.items():
        alive = {c.email.lower() for c in world.panels[node].ours()}
        if row.state is JournalState.GONE and email.lower() in alive:
            raise Violation(f"S3: {email} is recorded as gone and lives on {node}")
