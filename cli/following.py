"""Asking a controller that is at work for something, and following its answer.

The request is written like any other wish; the controller answers it node by node and tells how far it
is. Ctrl-C ends the following, not the request. Callers: `reconcile`, `nodes.change`. Not here: handling
a request (`controller.runtime.requests`), what is told of it (`told`).
"""

import asyncio
from typing import TYPE_CHECKING, Any

from cli.opening import ACTOR
from cli.progress import watching
from cli.render import Output
from desired_state.model.errors import X3FleetError
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind

if TYPE_CHECKING:
    from controller.runtime.errors import HolderKind
    from controller.service import Controller
    from desired_state.queries.requests import RequestView
    from desired_state.store.engine import Store

GLANCE_S = 0.2
"""How soon an answer is seen."""
ALIVE_S = 3.0
"""How often it is looked whether anybody is there that could answer."""


class NobodyAnswers(X3FleetError):
    """The controller ended before it answered; the request stays."""

    code = "nobody_answers"


async def ask_and_follow(
    store: "Store", kind: RequestKind, nodes: tuple[NodeName, ...], output: Output
) -> tuple["RequestView", ...]:
    """Ask for something at these nodes, none meaning every one, and wait for all answers.

    Raises:
        NotFound: one of them is not declared.
        NobodyAnswers: no controller is at work any more.
    """
    from desired_state.commands.requests import ask
    from desired_state.store.unit_of_work import begin

    async with begin(store, ACTOR) as work:
        asked = [await ask(work, kind, node=node) for node in nodes or (None,)]
    return await follow(store, tuple(one.token for one in asked), output)


async def follow(
    store: "Store", tokens: tuple[str, ...], output: Output
) -> tuple["RequestView", ...]:
    """Wait until requests are answered.

    Raises:
        NobodyAnswers: no controller is at work any more.
    """
    looked_s = 0.0
    with watching(output) as tell:
        while True:
            views = await _read(store, tokens)
            tell(views)
            if all(view.is_done for view in views):
                return views
            await asyncio.sleep(GLANCE_S)
            looked_s += GLANCE_S
            if looked_s >= ALIVE_S:
                looked_s = 0.0
                await _require_controller(store, views)


async def _read(store: "Store", tokens: tuple[str, ...]) -> tuple["RequestView", ...]:
    from desired_state.queries.requests import follow_request

    async with store.reading() as session:
        found = [await follow_request(session, token) for token in tokens]
    return tuple(view for view in found if view is not None)


async def is_served(store: "Store") -> bool:
    """Tell whether a controller that stays is at work on this database, and answers requests."""
    from controller.runtime.errors import HolderKind

    return await _holder(store) in (HolderKind.DAEMON, HolderKind.REPLICA)


async def _holder(store: "Store") -> "HolderKind | None":
    from controller.runtime.errors import AlreadyRunning, HolderKind
    from controller.runtime.single import hold_lock

    try:
        async with hold_lock(store, HolderKind.ONE_SHOT):
            return None
    except AlreadyRunning as refused:
        return refused.holder.kind


async def _require_controller(store: "Store", views: tuple["RequestView", ...]) -> None:
    """Refuse to wait for nobody.

    Raises:
        NobodyAnswers: the lock is free.
    """
    if await _holder(store) is not None:
        return
    run = all(view.kind is not RequestKind.BACKUP for view in views)
    other = ", or x3fleet reconcile now does" if run else ""
    raise NobodyAnswers(
        "the controller ended before it answered",
        hint=f"the request stays: the next controller handles it{other}",
    )


async def run_document(
    controller: "Controller", views: tuple["RequestView", ...]
) -> dict[str, Any]:
    """Make of answers to `reconcile` the document that a run of our own has."""
    unplaced = await controller.unplaced()
    nodes = [answer.detail for view in views for answer in view.answers]
    counted = ("created", "deleted", "updated", "healed", "verified", "withheld", "writes", "looks")
    totals = {name: sum(int(node.get(name, 0)) for node in nodes) for name in counted}
    totals["waiting"] = sum(len(node.get("waiting", ())) for node in nodes)
    placed = not unplaced.unschedulable and not unplaced.refused_moves
    return {
        "in_sync": placed and all(node.get("in_sync", False) for node in nodes),
        "rounds": max((int(node.get("rounds", 0)) for node in nodes), default=0),
        "duration_s": _duration_s(views),
        "totals": totals,
        "nodes": nodes,
        # The controller places keys as they come; what it decided is in its history.
        "placed": [],
        "ended": [],
        "unschedulable": [
            {"key": u.key, "missing": u.missing, "reason": u.reason} for u in unplaced.unschedulable
        ],
        "refused_moves": [
            {"key": r.move.key, "to": r.move.to_node, "reason": r.reason}
            for r in unplaced.refused_moves
        ],
        "tokens": [view.token for view in views],
    }


def _duration_s(views: tuple["RequestView", ...]) -> float:
    ends = [(a.at - view.at).total_seconds() for view in views for a in view.answers]
    return round(max(ends, default=0.0), 3)
