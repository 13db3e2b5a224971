"""Decide where keys live: `place_keys`, a pure function of keys, nodes, loads and placements.

Called at the start of `plan` and `reconcile now`, and by the scheduler's job. Its answer is a list of
what to write; the same inputs in any order give the same answer, and a second run on its own answer
adds nothing. Not here: drain and failover (`leave`), keys on too many nodes (`surplus`), rebalance
(`balance`), moves that persons ask for (`moves`), which end placements for reasons of their own.

| a key that is          | and lives         | gets                                                |
| ---------------------- | ----------------- | --------------------------------------------------- |
| revoked                | anywhere          | every placement ended, reason revoked               |
| wanted, `count: N`     | on fewer than N   | the best of the eligible nodes, until there are N   |
| wanted, `count: all`   | anywhere          | every eligible node that it is not on               |
| wanted and pinned      | nowhere           | that node, if it is eligible; its labels do not matter |
| wanted                 | on enough nodes   | nothing: it stays, even where labels fit no more    |
| wanted, `count: N`     | on more than N    | the worst of them ended, once the others are live   |
| adopted                | not where it was  | that node, whatever else keeps new keys off it      |
| told to move by a person | on the old node | another placement that replaces the old one         |
"""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import Policy
from desired_state.scheduling.balance import NOTHING, Balance, even_out
from desired_state.scheduling.draft import Draft
from desired_state.scheduling.eligible import NodeState, count_keys, render_labels
from desired_state.scheduling.leave import leave_nodes
from desired_state.scheduling.moves import make_move, order_of_moves
from desired_state.scheduling.proofs import Proofs
from desired_state.scheduling.result import Move, PlacementResult
from desired_state.scheduling.rooms import Rooms
from desired_state.scheduling.surplus import end_surplus, sources_of


def place_keys(  # noqa: PLR0913 - one argument a kind of fact
    keys: Iterable[Key],
    nodes: Iterable[NodeState],
    placements: Iterable[Placement],
    *,
    policies: tuple[Policy, ...] = (),
    moves: Iterable[Move] = (),
    live: Container[tuple[KeyId, NodeName]] = frozenset(),
    doubted: Container[tuple[KeyId, NodeName]] = frozenset(),
    now: datetime | None = None,
    balance: Balance = NOTHING,
    adopted: Mapping[KeyId, tuple[NodeName, ...]] = MappingProxyType({}),
) -> PlacementResult:
    """Bring placements up to what keys are owed, moving none that is valid.

    Args:
        keys: wanted and revoked ones; placements of other keys count as load and are left alone.
        nodes: every node of the fleet, orphaned ones too.
        placements: all of them, those that are leaving too.
        policies: every policy.
        moves: what persons asked for and was not made yet, in any order; made by `revision`.
        live: keys proved to exist on nodes; a create-first move ends the old placement only when
            the new one is among them, and its node serves.
        doubted: those of them that no recent look confirms: nothing ends on their word.
        now: decides which nodes are given up; None gives none up.
        balance: what is to be evened out, besides what policies want by themselves.
        adopted: nodes that hold what a key was adopted with, and that the journal does not know yet.
    """
    present = tuple(placements)
    draft = Draft(Rooms(nodes, policies, count_keys(present)), present)
    proofs = Proofs(draft.rooms, live, doubted)
    known = {key.id: key for key in keys}
    wanted = [known[name] for name in sorted(known) if known[name].is_wanted]
    for key in known.values():
        if not key.is_wanted:
            draft.end_all(key.id, DeleteReason.REVOKED)
    asked = sorted(moves, key=order_of_moves)
    for move in asked:
        moved = known.get(move.key)
        if moved is not None and moved.is_wanted:
            make_move(draft, moved, move, proofs)
    lost = leave_nodes(draft, known, proofs, now)
    end_surplus(draft, wanted, sources_of(asked), proofs)
    draft.rooms.forget_order()
    for key in wanted:
        if key.id in adopted:
            _fill_adopted(draft, key, adopted[key.id])
        _fill(draft, key)
    even_out(draft, known, tuple(policies), balance)
    if lost:
        draft.free(lost)
    return draft.result(looks=proofs.asked)


def _fill(draft: Draft, key: Key) -> None:
    if key.pinned is not None:
        _fill_pinned(draft, key, key.pinned)
    elif key.nodes.count is None:
        _fill_all(draft, key)
    else:
        _fill_some(draft, key, key.nodes.count - len(draft.lives(key.id)))


def _fill_adopted(draft: Draft, key: Key, nodes: tuple[NodeName, ...]) -> None:
    """Place a key where its client stands already: nothing is created, so no room is needed."""
    for node in nodes:
        room = draft.rooms.by_name.get(node)
        if room is None or room.state.node.is_draining or node in draft.own(key.id):
            continue
        if key.nodes.count is not None and len(draft.lives(key.id)) >= key.nodes.count:
            return
        room.keys += 1
        draft.add(Placement(key.id, node, "adopted there"))


def _fill_pinned(draft: Draft, key: Key, node: NodeName) -> None:
    # A key that lives elsewhere stays there: only a move ends a valid placement.
    if draft.lives(key.id):
        return
    refusal = draft.try_place(Placement(key.id, node, "pinned"))
    if refusal is not None:
        draft.say_short(key, 1, f"{node} {refusal}")


def _fill_all(draft: Draft, key: Key) -> None:
    draft.place_everywhere(key)
    # Refusals of single nodes are told by `explain_key`: the key is short when it lives nowhere.
    if not draft.lives(key.id):
        draft.say_short(key, max(1, len(draft.rooms.covered(key.nodes.labels))))


def _fill_some(draft: Draft, key: Key, missing: int) -> None:
    if missing <= 0:
        return
    labels = key.nodes.labels
    picked = draft.rooms.pick(labels, missing, without=draft.own(key.id))
    for room in picked:
        draft.add(Placement(key.id, room.name, f"best of {render_labels(labels)}"))
    if len(picked) < missing:
        draft.say_short(key, missing - len(picked))
