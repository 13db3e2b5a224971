"""Keys that are to leave a node because they live elsewhere, while they are not served there.

Decided anew at every reading: between the pass that ended a placement and its delete lie turns, the fleet's
share, an approval, an outage; the new node may be dead by then. Callers: `reads`. Not here: the pass
(`scheduling.proofs`), keys that leave for another reason, and those that move delete-first: they have to go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from controller.core.desired import KeyOnNode
from controller.runtime.looks import Looks
from controller.runtime.tables import JOURNAL, KEY, PLACEMENT
from desired_state.model.generation import JournalState
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import policy_for
from desired_state.scheduling.eligible import is_serving
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies

_ELSEWHERE = (DeleteReason.MOVED, DeleteReason.DRAINED, DeleteReason.SURPLUS)
"""A key that left so is served until the last moment: it has to be served elsewhere by a recent look."""
_OWED = DeleteReason.FAILED_OVER
_REASONS = tuple(reason.value for reason in (*_ELSEWHERE, _OWED))
_NEW = PLACEMENT.alias("new")
_LEAVING = (
    select(
        PLACEMENT.c.key, PLACEMENT.c.leaving, _NEW.c.node, _NEW.c.replaces,
        func.max(JOURNAL.c.changed_at),
    )
    .select_from(
        PLACEMENT.join(KEY, KEY.c.id == PLACEMENT.c.key)
        .join(
            _NEW,
            and_(
                _NEW.c.key == PLACEMENT.c.key,
                _NEW.c.node != PLACEMENT.c.node,
                _NEW.c.leaving.is_(None),
            ),
        )
        .outerjoin(
            JOURNAL,
            and_(
                JOURNAL.c.key == _NEW.c.key,
                JOURNAL.c.node == _NEW.c.node,
                JOURNAL.c.generation == KEY.c.generation,
                JOURNAL.c.state == JournalState.LIVE.value,
            ),
        )
    )
    .where(
        PLACEMENT.c.node == bindparam("here"),
        PLACEMENT.c.leaving.in_(_REASONS),
        KEY.c.deleted_at.is_(None),
    )
    .group_by(PLACEMENT.c.key, PLACEMENT.c.leaving, _NEW.c.node, _NEW.c.replaces)
    .order_by(PLACEMENT.c.key, _NEW.c.node)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays for now. `by`: keys, each with a node that it waits for.

    `asked`: nodes that nobody has looked at lately. `watches`: the answer depends on other nodes.
    """

    by: Mapping[KeyId, NodeName]
    asked: frozenset[NodeName] = frozenset()
    watches: bool = False


async def read_kept(
    session: AsyncSession, node: NodeName, now: datetime, looks: Looks | None
) -> Kept:
    """Read which keys that leave a node are served nowhere else as far as anybody knows.

    Args:
        session: of the reading.
        node: the one that they leave.
        now: by the clock that rows are stamped with.
        looks: tell until when recent looks confirm what is recorded of nodes; None: records are believed.
    """
    rows = (await (await session.connection()).execute(_LEAVING, {"here": node})).all()
    if not rows:
        return Kept({})
    seen_at = None if looks is None else await looks.within(session)
    policies = await read_policies(session)
    serving = {
        state.node.name
        for state in await read_node_states(session)
        if is_serving(state, policy_for(policies, state.node.spec.labels))
    }
    waiting: dict[KeyId, NodeName] = {}
    fine: set[str] = set()
    stale: set[NodeName] = set()
    for key, reason, name, replaces, live_at in rows:
        waiting.setdefault(KeyId(key), NodeName(name))
        if replaces == node:
            # Delete-first: nothing is created there before it is gone here.
            fine.add(key)
        elif live_at is None or name not in serving:
            continue
        elif (
            seen_at is None
            or reason == _OWED
            or _is_confirmed(seen_at(NodeName(name)), live_at, now)
        ):
            fine.add(key)
        else:
            stale.add(NodeName(name))
    kept = {key: name for key, name in waiting.items() if key not in fine}
    return Kept(kept, frozenset(stale if kept else ()), watches=True)


def keep(keys: tuple[KeyOnNode, ...], kept: Kept) -> tuple[KeyOnNode, ...]:
    """Have these keys stay as they are: nothing is deleted, and nothing created anew."""
    if not kept.by:
        return keys
    return tuple(
        replace(one, placed=True, leaving=None, held_by=kept.by[one.key])
        if one.key in kept.by
        else one
        for one in keys
    )


def _is_confirmed(seen_at: datetime | None, live_at: datetime, now: datetime) -> bool:
    """Whether a recent look came after the record; one of the future was left by a clock that ran ahead."""
    return seen_at is not None and (seen_at >= live_at or live_at > now)
