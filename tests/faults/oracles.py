"""Four questions about a run: end state, idempotence, counts, and safety after each effect.

Callers: the explorer, mutants. The end state and the counts are compared with a run without faults.
Not here: running (`explorer`), safety (`safety`).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.core.conditions import ConditionType
from controller.core.observed import ObservedClient
from desired_state.model.generation import JournalState
from desired_state.model.ids import InboundId, KeyId
from tests.fakes.panel import FakePanel
from tests.fakes.world import World
from tests.faults.safety import Violation


@dataclass(frozen=True)
class Facts:
    """A settled world reduced to what must be equal: panels, journal, placements, conditions."""

    clients: tuple[object, ...]
    journal: tuple[tuple[object, ...], ...]
    placements: tuple[object, ...]
    bound: tuple[object, ...]
    conditions: tuple[object, ...]
    doubled: tuple[str, ...]
    inbounds: tuple[object, ...]
    managed: tuple[object, ...]


@dataclass(frozen=True)
class Counts:
    """How often each email was created and removed, by node."""

    created: Counter[tuple[str, str]]
    deleted: Counter[tuple[str, str]]
    touched: frozenset[tuple[str, str]]


def facts(world: World) -> Facts:
    """Take the facts of a world. Counters, moments and attempts are no facts, nor are placeholders."""
    left_out = placeholders(world) | _switched_off(world)
    hopeless = left_out | _taken(world)
    return Facts(
        clients=tuple(
            sorted(
                (
                    (name, *_plain(client, panel))
                    for name, panel in world.panels.items()
                    for client in _clients(panel)
                    if (name, client.email) not in left_out
                ),
                key=repr,
            )
        ),
        journal=tuple(
            sorted((*place, str(row.state), row.sub_id, _on(row.inbound_ids, world.panels[place[0]]))
                   for place, row in world.store.journal.items() if place not in hopeless)
        ),
        placements=tuple(sorted(map(repr, world.store.placements.values()))),
        bound=tuple((n, row.bound, row.guid) for n, row in world.store.nodes.items()),
        conditions=tuple(
            (n, tuple((c.type, c.reason, c.status) for c in row.status.conditions))
            for n, row in world.store.nodes.items()
        ),
        doubled=tuple(sorted(e for panel in world.panels.values() for e in panel.doubled)),
        inbounds=tuple(
            (name, one.id, one.protocol, one.port, one.tag, one.remark, one.enable, one.stream)
            for name, panel in world.panels.items()
            for one in panel.inbounds.values()
        ),
        managed=tuple(
            (*place, row.state.value, row.reason, row.inbound_id, row.port, row.sent_at is None)
            for place, row in sorted(world.store.managed.items())
        ),
    )  # fmt: skip


def placeholders(world: World) -> set[tuple[str, str]]:
    """Name the clients that only keep an inbound from running empty.

    Whether one is needed depends on which deletes meet in a turn: they are no part of what must be equal.
    """
    return {place for place, row in world.store.journal.items() if row.key is None}


def counts(world: World) -> Counts:
    """Take the counts of a world since it was made."""
    kept = placeholders(world) | _switched_off(world)
    created: Counter[tuple[str, str]] = Counter()
    deleted: Counter[tuple[str, str]] = Counter()
    touched: set[tuple[str, str]] = set()
    for name, panel in world.panels.items():
        created.update({(name, email): n for email, n in panel.created.items()})
        created.update({(name, f"inbound {one}"): n for one, n in panel.added.items()})
        deleted.update({(name, email): n for email, n in panel.deleted.items()})
        deleted.update({(name, f"inbound {one}"): n for one, n in panel.dropped.items()})
        touched |= {(name, email) for email in (*panel.created, *panel.deleted, *panel.updated)}
    for place in kept:
        created.pop(place, None)
        touched.discard(place)
    return Counts(created, deleted, frozenset(touched))


def without_tombstones(these: Facts) -> Facts:
    """Leave out what is recorded as gone: what never came into being has no tombstone."""
    return replace(these, journal=tuple(j for j in these.journal if JournalState.GONE not in j))


def check_end(world: World, clean: Facts, *, may_never_be: bool = False) -> None:
    """L1: what stands now is what stands after a run without faults."""
    now = facts(world)
    if may_never_be:
        now, clean = without_tombstones(now), without_tombstones(clean)
    if now == clean:
        return
    for name in (
        "clients",
        "journal",
        "placements",
        "bound",
        "conditions",
        "doubled",
        "inbounds",
        "managed",
    ):
        have, want = getattr(now, name), getattr(clean, name)
        if have != want:
            raise Violation(f"L1: {name} differ: {_difference(have, want)}")


def check_counts(world: World, clean: Counts, spare: int) -> None:
    """D1 to D3: nothing created or deleted more often, nothing touched that a clean run leaves alone.

    Args:
        world: the settled world.
        clean: the counts of the run without faults.
        spare: how many creates and deletes more a named rule of the explorer allows each email.
    """
    now = counts(world)
    for what, have, want in (
        ("D1: created", now.created, clean.created),
        ("D2: deleted", now.deleted, clean.deleted),
    ):
        for place, times in have.items():
            if times > want[place] + spare:
                raise Violation(f"{what} {times} times instead of {want[place]}: {place}")
    if spare == 0 and not now.touched <= clean.touched:
        raise Violation(f"D3: touched too: {sorted(now.touched - clean.touched)}")


def check_idle(world: World) -> None:
    """I1: a further turn of every node writes nothing, on no panel and not in the database."""
    before = world.writes()
    turns = world.round()
    written = world.writes() - before
    if written:
        effects = [type(e).__name__ for t in turns for e in t.effects]
        raise Violation(f"I1: {written} writes in a converged world: {effects}")


def check_served(world: World) -> None:
    """L1: the running Xray serves whatever the panel shows enabled, and nothing else."""
    for name, panel in world.panels.items():
        if wrong := panel.process.wrong(panel):
            raise Violation(f"L1: Xray of {name} does not do as the panel shows: {sorted(wrong)}")


def check_rows(world: World) -> None:
    """Live rows of nodes that are in sync are really there."""
    ready = {
        name
        for name, row in world.store.nodes.items()
        if (found := row.status.find(ConditionType.READY)) is not None and found.status
    }
    for (node, email), row in world.store.journal.items():
        there = any(c.email.lower() == email.lower() for c in world.panels[node].ours())
        # A placeholder, or a client that is off, is not put back as long as nothing needs it.
        needed = row.key is not None and _in_force(world, row.key)
        needed = needed and (node, email) not in _taken(world)
        if node in ready and row.state is JournalState.LIVE and needed and not there:
            raise Violation(f"L1: {email} is recorded as live and is not on {node}")


def _in_force(world: World, key: KeyId) -> bool:
    row = world.store.keys.get(key)
    subscription = None if row is None else world.store.subscriptions.get(row.subscription)
    return subscription is not None and subscription.ended_by(world.clock.now) is None


def _taken(world: World) -> set[tuple[str, str]]:
    """Name rows whose email a stranger holds: nothing of ours can be there."""
    return {
        (name, email)
        for (name, email), row in world.store.journal.items()
        if row.state is not JournalState.GONE
        and email.lower() in {c.email.lower() for c in world.panels[name].foreign().values()}
    }


def _clients(panel: FakePanel) -> Iterator[ObservedClient]:
    return (entry.client for entry in panel.entries.values())


def _switched_off(world: World) -> set[tuple[str, str]]:
    """Name entries that live on a switched-off inbound alone: it depends on the look whether they exist."""
    found = set()
    for place, row in world.store.journal.items():
        panel = world.panels[place[0]]
        if panel.features.email_per_inbound and not _on(row.inbound_ids, panel):
            found.add(place)
    return found


def _on(ids: tuple[InboundId, ...], panel: FakePanel) -> tuple[InboundId, ...]:
    """Leave out inbounds that are switched off: nothing is created or deleted there."""
    return tuple(i for i in ids if i not in panel.inbounds or panel.inbounds[i].enable)


def _plain(c: ObservedClient, panel: FakePanel) -> tuple[object, ...]:
    """Reduce a client to what must be equal: everything but counters and the panel's raw record."""
    return (
        c.email, _on(c.inbound_ids, panel), c.enable, c.expiry_ms, c.total_bytes, c.limit_ip, c.flow,
        c.sub_id, c.uuid, c.password, c.auth, c.tg_id, c.reset, c.comment, c.group,
    )  # fmt: skip


def _difference(have: object, want: object) -> str:
    if isinstance(have, tuple) and isinstance(want, tuple):
        extra = [x for x in have if x not in want]
        missing = [x for x in want if x not in have]
        if len(extra) == len(missing) == 1:
            pairs = zip(extra[0], missing[0], strict=False)
            return f"{extra[0][:2]}: {[(a, b) for a, b in pairs if a != b]}"
        return f"extra {[x[:3] for x in extra]}, missing {[x[:3] for x in missing]}"[:600]
    return f"{have} instead of {want}"[:900]
