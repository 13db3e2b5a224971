"""The spine: one reconciliation of one node, top to bottom.

Steps: look, read, plan, guards, slices (deletes, proof, finalise; updates, intent, creates, proof), status.
Callers: runtime.worker, the dry run, the fault explorer.
Sans-I/O: it yields effects and is sent their results; every `perform` is a crash point.
Not here: a clock, I/O, randomness, logging.
"""

from dataclasses import replace
from datetime import datetime

from controller.core.backoff import next_backoff
from controller.core.binding import (
    add_declared,
    awaits_declared,
    choose,
    finds_nothing,
    match_digest,
    needs_binding,
)
from controller.core.chunks import START
from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.declared import find_anew
from controller.core.desired import Desired, NodeRequest
from controller.core.effects import (
    Bind,
    Observe,
    ReadDesired,
    ReadGenerations,
    RecordInbounds,
    Steps,
    WriteStatus,
    perform,
)
from controller.core.health import ended_seen
from controller.core.inbound_report import inbound_conditions, left_over
from controller.core.inbound_steps import ensure_inbounds, remove_inbounds, standings_at_end
from controller.core.observed import NotObserved, Observation
from controller.core.restart import restart_condition, restart_left, restart_xray
from controller.core.result import (
    Result,
    events_of,
    explain_sent,
    status_paused,
    status_seen,
    status_unseen,
)
from controller.core.slices import bury_taken, learn, run_slice
from controller.core.takeover import take_over
from controller.core.turn import Turn
from desired_state.model.node import Mode, NodeTarget
from desired_state.model.request import RequestKind

_MATCHING = frozenset({RequestKind.REMATCH, RequestKind.REBIND})
_BEYOND_A_TURN = frozenset({
    RequestKind.RECONCILE, RequestKind.PROBE, RequestKind.TEST, RequestKind.INVENTORY,
    RequestKind.PREVIEW, RequestKind.REBUILD,
})  # fmt: skip
"""Answered by whoever runs turns: they may take several, or none."""


def reconcile(
    target: NodeTarget, now: datetime, width: int = START, chance: float = 1.0
) -> Steps[Result]:
    """Bring one node to its desired state, as far as one turn allows.

    Args:
        target: the node.
        now: when the turn began.
        width: of the first bulk call.
        chance: random, from 0 up to 1, for the back-off of a panel that does not answer.
    """
    started = yield from begin(target, now, width, chance)
    if isinstance(started, Result):
        return started
    turn = started
    yield from bind(turn)
    yield from ensure_inbounds(turn)
    yield from bind(turn)
    yield from take_over(turn)
    yield from learn(turn)
    yield from bury_taken(turn)
    yield from restart_left(turn)
    while not turn.stopped and (piece := turn.next_slice()):
        # A later look may be the first to show an adopted client: no delete without its row.
        yield from take_over(turn)
        yield from run_slice(turn, piece)
    yield from remove_inbounds(turn)
    yield from restart_xray(turn)
    return (yield from conclude(turn))


def dry_run(target: NodeTarget, now: datetime, *, anew: bool = False) -> Steps[Result]:
    """Look, plan and check, and write nothing anywhere: the same plan that `reconcile` would run.

    `anew`: as if somebody had asked to accept the panel that answers now.
    """
    if target.mode is Mode.PAUSED:
        desired = yield from perform(ReadDesired(target.node))
        return Result(target.node, status_paused(desired, now), Mode.PAUSED)
    look = yield from perform(Observe(target))
    desired = yield from perform(ReadDesired(target.node))
    if isinstance(look, NotObserved):
        status = status_unseen(desired, target, look, now)
        return Result(target.node, status, desired.mode, not_observed=look)
    if anew:
        asked = (*desired.requests, NodeRequest("", RequestKind.REBIND))
        desired = replace(desired, requests=asked)
    turn = Turn(target, desired, look, now, START)
    if _may_match(turn):
        turn.desired = _bound(_recalled(desired, look), look)
        turn.draw()
    yield from ask_generations(turn)
    if turn.checked.is_trusted:
        turn.put_rows(taken.row for taken in turn.plan.taken_over)
    turn.put_rows(turn.plan.learned if turn.checked.is_trusted else ())
    turn.draw()
    return _result(turn, _status(turn))


def begin(target: NodeTarget, now: datetime, width: int, chance: float) -> Steps[Turn | Result]:
    """Look and read; end at once when the node is paused or did not show itself."""
    if target.mode is Mode.PAUSED:
        desired = yield from perform(ReadDesired(target.node))
        paused = status_paused(desired, now)
        yield from write_status(desired, paused, worked=False)
        return Result(target.node, paused, Mode.PAUSED)
    # Panel before database: a pause between the two reads can then only make desired newer.
    # The other order plans on an old row and deletes live keys.
    look = yield from perform(Observe(target))
    desired = yield from perform(ReadDesired(target.node))
    if isinstance(look, NotObserved):
        unseen = status_unseen(desired, target, look, now, chance)
        yield from write_status(desired, unseen, worked=False)
        return Result(target.node, unseen, desired.mode, not_observed=look)
    turn = Turn(target, desired, look, now, width, chance)
    yield from ask_generations(turn)
    return turn


def ask_generations(turn: Turn) -> Steps[None]:
    """Ask for keys that the look showed and the first reading did not hold."""
    if turn.plan.unknown_keys:
        found = yield from perform(ReadGenerations(turn.target.node, turn.plan.unknown_keys))
        if found:
            known = {**turn.desired.generations, **found}
            turn.desired = replace(turn.desired, generations=known)
            turn.draw()
    turn.first = turn.plan


# -- identity and inbounds -------------------------------------------------------------------------


def bind(turn: Turn) -> Steps[None]:
    """Bind the panel's GUID and the matched inbounds: at the first look, when declared anew, or asked."""
    if turn.desired.mode is Mode.PAUSED or not _may_match(turn):
        return
    desired = _recalled(turn.desired, turn.look)
    # What could not be answered is asked again at every look.
    turn.matched = not finds_nothing(desired, turn.look.inbounds)
    if turn.matched and desired is not turn.desired:
        yield from perform(RecordInbounds(desired.node, desired.managed, desired.epoch))
        turn.desired = desired
    after = _bound(turn.desired, turn.look)
    if after is turn.desired:
        return
    guid = after.guid if after.guid != turn.desired.guid else None
    yield from perform(Bind(after.node, after.bound or (), after.match_digest, guid, after.epoch))
    turn.desired = after
    turn.draw()
    turn.first = turn.plan


def _recalled(desired: Desired, look: Observation) -> Desired:
    """Where another panel may answer, ids of the one before are nothing to go by."""
    if not _asks_anew(desired, look):
        return desired
    managed = find_anew(desired, look.inbounds)
    return desired if managed == desired.managed else replace(desired, managed=managed)


def _may_match(turn: Turn) -> bool:
    """Whether the look may teach us a panel and its inbounds: not another machine's, not an old one."""
    if _is_stranger(turn.desired, turn.look):
        return False
    first = turn.desired.bound is None
    return first or turn.checked.is_trusted or _asks_anew(turn.desired, turn.look)


def _bound(desired: Desired, look: Observation) -> Desired:
    """Return desired as it is once bound; the same object where nothing is to be bound."""
    asked = _asks_anew(desired, look)
    if _is_stranger(desired, look) or finds_nothing(desired, look.inbounds):
        return desired
    after = desired
    if look.guid is not None and (desired.guid is None or asked) and desired.guid != look.guid:
        after = replace(after, guid=look.guid)
    if needs_binding(desired) or asked:
        found = choose(desired, look.inbounds)
        digest = match_digest(desired.matches)
        # A panel that shows no fitting inbound yet is asked again at every look; one that is to get its
        # inbounds from us is bound first, by what it is.
        awaited = awaits_declared(desired) or (desired.bound is None and bool(desired.inbounds))
        if (found or awaited) and (found, digest) != (desired.bound, desired.match_digest):
            after = replace(after, bound=found, match_digest=digest)
    if after.bound is None:
        return desired
    declared = add_declared(after, after.bound, look.inbounds)
    return after if declared == after.bound else replace(after, bound=declared)


def _is_stranger(desired: Desired, look: Observation) -> bool:
    """Another GUID than the bound one, and nobody asked to bind anew."""
    differs = desired.guid is not None and look.guid is not None and desired.guid != look.guid
    return differs and not _asks_anew(desired, look)


def _asks_anew(desired: Desired, look: Observation) -> bool:
    """Whether somebody accepts this panel: whichever answers, or the very one that was shown."""
    return any(
        request.kind is RequestKind.REBIND
        or (request.kind is RequestKind.REBUILD and request.guid == look.guid)
        for request in desired.requests
    )


# -- the end ---------------------------------------------------------------------------------------


def conclude(turn: Turn) -> Steps[Result]:
    """Write status if it changed; a turn that finds nothing to do writes nothing."""
    status = _status(turn)
    worked = bool(turn.sent)
    yield from write_status(turn.desired, status, worked=worked, matched=turn.matched)
    return _result(turn, status)


def write_status(
    desired: Desired, status: NodeStatus, *, worked: bool, matched: bool = False
) -> Steps[None]:
    """Store a status that says something new, and answer the requests that this turn handled.

    A request to match or bind anew waits for a look that could answer it.
    """
    later = _BEYOND_A_TURN if matched else _BEYOND_A_TURN | _MATCHING
    tokens = tuple(r.token for r in desired.requests if r.kind not in later)
    same = status == replace(desired.status, observed_revision=status.observed_revision)
    if same and not worked and not tokens:
        return
    events = events_of(desired.status, status)
    yield from perform(WriteStatus(desired.node, status, desired.epoch, events, tokens))


def _status(turn: Turn) -> NodeStatus:
    if turn.lost is not None:
        return status_unseen(turn.desired, turn.target, turn.lost, turn.now, turn.chance)
    checked = replace(turn.checked, refusals=turn.refusals)
    ended = ended_seen(
        (outcome for _, outcome in turn.sent),
        is_cut=turn.cut,
        # What was given up is a debt, not work: a node is well with a client that its panel keeps.
        is_work_left=any(a.email.lower() not in turn.given_up for a in checked.allowed.actions),
    )
    status = status_seen(
        turn.desired,
        turn.look,
        checked,
        turn.plan,
        troubles=_troubles(turn),
        now=turn.now,
        cut=turn.cut,
        backoff=next_backoff(turn.desired.status.backoff, ended, turn.now, turn.chance),
    )
    return replace(status, restart_owed=turn.owes_restart)


def _troubles(turn: Turn) -> tuple[Condition, ...]:
    given_up = sorted(turn.given_up.items())[:1]
    found = [Condition(ConditionType.DRIFTED, "Refused", f"{e}: {cause}") for e, cause in given_up]
    found += inbound_conditions(standings_at_end(turn))
    not_restarted = restart_condition(turn)
    return tuple(found if not_restarted is None else [*found, not_restarted])


def _result(turn: Turn, status: NodeStatus) -> Result:
    return Result(
        node=turn.target.node,
        status=status,
        mode=turn.desired.mode,
        plan=turn.first,
        remaining=turn.plan,
        refusals=turn.refusals,
        withheld=len({a for refusal in turn.refusals for a in refusal.withheld}),
        sent=explain_sent(tuple(turn.sent)),
        created=turn.created,
        deleted=turn.deleted,
        updated=turn.updated,
        healed=turn.healed,
        refused=tuple(sorted(turn.given_up.items())),
        looks=turn.looks,
        cut=turn.cut,
        width=turn.width,
        not_observed=turn.lost,
        trusted=turn.checked.is_trusted,
        inbounds=left_over(standings_at_end(turn)),
    )
