"""Four questions about a run: end state, idempotence, counts, and safety after each effect.

Callers: the explorer, mutants. The end state and the counts are compared with a run without faults.
Not here: running (`explorer`), safety (`safety`).
"""

from collections import Counter
from dataclasses import dataclass, replace

from desired_state.model.generation import JournalState
from tests.fakes.world import World
from tests.faults.safety import Violation


@dataclass(frozen=True)
class Facts:
    """A settled world reduced to what must be equal: panels, journal, placements, conditions."""

    clients: tuple[object, ...]
    journal: tuple[object, ...]
    placements: tuple[object, ...]
    bound: tuple[object, ...]
    conditions: tuple[object, ...]
    doubled: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How often each email was created and removed, by node."""

    created: Counter[tuple[str, str]]
    deleted: Counter[tuple[str, str]]
    touched: frozenset[tuple[str, str]]


def facts(world: World) -> Facts:
    """Take the facts of a world. Counters, moments and attempts are no facts."""
    return Facts(
        clients=tuple(
            (name, frozenset(Counter(_plain(c) for c in _clients(panel)).items()))
            for name, panel in world.panels.items()
        ),
        journal=tuple(
            sorted((*place, str(row.state), row.sub_id, row.inbound_ids)
                   for place, row in world.store.journal.items())
        ),
        placements=tuple(sorted(map(repr, world.store.placements.values()))),
        bound=tuple((n, row.bound, row.guid) for n, row in world.store.nodes.items()),
        conditions=tuple(
            (n, tuple((c.type, c.reason, c.status) for c in row.status.conditions))
            for n, row in world.store.nodes.items()
        ),
        doubled=tuple(sorted(e for panel in world.panels.values() for e in panel.doubled)),
    )  # fmt: skip


def counts(world: World) -> Counts:
    """Take the counts of a world since it was made."""
    created: Counter[tuple[str, str]] = Counter()
    deleted: Counter[tuple[str, str]] = Counter()
    touched: set[tuple[str, str]] = set()
    for name, panel in world.panels.items():
        created.update({(name, email): n for email, n in panel.created.items()})
        deleted.update({(name, email): n for email, n in panel.deleted.items()})
        touched |= {(name, email) for email in (*panel.created, *panel.deleted, *panel.updated)}
    return Counts(created, deleted, frozenset(touched))


def check_end(world: World, clean: Facts) -> None:
    """L1: what stands now is what stands after a run without faults."""
    now = facts(world)
    if now == clean:
        return
    for name in ("clients", "journal", "placements", "bound", "conditions", "doubled"):
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


def check_rows(world: World) -> None:
    """Every row of a settled world is live or gone, and live ones are really there."""
    for (node, email), row in world.store.journal.items():
        there = any(c.email.lower() == email.lower() for c in world.panels[node].ours())
        if row.state is JournalState.LIVE and not there:
            raise Violation(f"L1: {email} is recorded as live and is not on {node}")


def _clients(panel: object) -> list[object]:
    return [entry.client for entry in panel.entries.values()]  # type: ignore[attr-defined]


def _plain(client: object) -> object:
    return replace(client, up_bytes=0, down_bytes=0)  # type: ignore[type-var]


def _difference(have: object, want: object) -> str:
    if isinstance(have, tuple) and isinstance(want, tuple):
        extra = [x for x in have if x not in want]
        missing = [x for x in want if x not in have]
        return f"extra {extra}, missing {missing}"[:600]
    return f"{have} instead of {want}"[:600]
