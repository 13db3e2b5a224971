"""The restart of a panel's Xray that some edits of shadowsocks clients need: when it is owed, when paid.

The panel answers such an edit with success and shows the client enabled, while its Xray serves it no
more (`Features.drops_edited`). Steps: recorded as owed before the first such write, asked for at the end
of the turn, at most once a turn. Callers: `slices`, `reconcile`, `result`. Not here: the call.
"""

from collections.abc import Container, Iterable
from dataclasses import replace

from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import Steps, Verb, Verdict, Write, WriteStatus, perform
from controller.core.observed import Observation, XrayState
from controller.core.plan import Action
from controller.core.turn import Turn
from desired_state.model.node import Mode

NOT_RESTARTED = "XrayNotRestarted"
"""Reason of the condition while a restart that was asked for did not come about."""


def falls_out(action: Action, look: Observation, buried: Container[str] = ()) -> bool:
    """Whether Xray stops serving this client by being told of the change.

    A new client is not meant: it changes what the panel starts Xray with, so that the panel restarts it
    by itself. One that comes back as it was may be what the running Xray was started with.

    Args:
        action: of the plan.
        look: at the panel.
        buried: emails in lower case that were there before.
    """
    dropped = look.features.drops_edited
    if action.wanted is None or not action.wanted.enable or not dropped:
        return False
    is_new = action.reason == "new" and action.email.lower() not in buried
    if action.verb is Verb.CREATE and is_new:
        return False
    if action.verb not in (Verb.UPDATE, Verb.ENABLE, Verb.ATTACH, Verb.CREATE):
        return False
    ids = set(action.inbound_ids)
    return any(
        i.protocol == "shadowsocks" and i.method in dropped and i.id in ids for i in look.inbounds
    )


def owe_restart(turn: Turn, piece: Iterable[Action]) -> Steps[None]:
    """Record before the first call that a restart will be due: a crash in between forgets nothing."""
    desired = turn.desired
    if not _can_restart(turn):
        return
    buried = {row.email.lower() for row in desired.tombstones}
    if not any(falls_out(action, turn.look, buried) for action in piece):
        return
    turn.owes_restart = True
    if desired.status.restart_owed:
        return
    owing = replace(desired.status, restart_owed=True)
    yield from perform(WriteStatus(desired.node, owing, desired.epoch))
    turn.desired = replace(desired, status=owing)


def restart_left(turn: Turn) -> Steps[None]:
    """At the start of a turn: what an earlier one still owes, unless it was refused then.

    A backlog may take every turn to its last second, and must not keep Xray from being restarted. One
    that was refused is tried last: it must not keep changes from being written.
    """
    if _refusal(turn.desired.status) is None:
        yield from restart_xray(turn)


def restart_xray(turn: Turn) -> Steps[None]:
    """Ask for the restart that is owed: once a turn, of our panel, where the mode allows writing."""
    if turn.owes_restart and not _can_restart(turn):
        # Whenever it starts, it reads all clients.
        turn.owes_restart = False
    if not turn.owes_restart or turn.restart_tried or turn.stopped or not turn.checked.is_trusted:
        return
    if turn.desired.mode not in (Mode.ENFORCE, Mode.UPSERT_ONLY):
        return
    write = Write(turn.target, Verb.RESTART, ())
    outcome = yield from perform(write)
    turn.note(write, outcome)
    turn.restart_tried = outcome.verdict is not Verdict.NOT_SENT
    turn.owes_restart = outcome.verdict is not Verdict.APPLIED
    if outcome.verdict in (Verdict.REJECTED, Verdict.UNKNOWN):
        turn.restart_refused = outcome.cause or outcome.verdict.value


def restart_condition(turn: Turn) -> Condition | None:
    """Say that a restart is owed and did not come about; None while nothing is known against it."""
    if not turn.owes_restart:
        return None
    if not turn.restart_refused:
        return _refusal(turn.desired.status)
    message = (
        "shadowsocks clients were edited, and Xray does not serve them until it is restarted: "
        f"{turn.restart_refused}"
    )
    return Condition(ConditionType.DRIFTED, NOT_RESTARTED, message)


def _can_restart(turn: Turn) -> bool:
    """Whether there is an Xray that may be without a client: ours to restart, running or not known."""
    stands = turn.look.xray in (XrayState.RUNNING, XrayState.UNKNOWN)
    return bool(turn.look.features.drops_edited) and turn.desired.policy.require_xray and stands


def _refusal(status: NodeStatus) -> Condition | None:
    return next((c for c in status.conditions if c.reason == NOT_RESTARTED and c.status), None)
