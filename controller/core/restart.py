"""The restart of a panel's Xray that some writes need: when it is owed, when it is paid.

The panel answers such a write with success and shows what was asked for, while its Xray goes on
otherwise: it serves an edited client no more, or one that was switched off all the same. Steps:
recorded as owed before the first such write, asked for at the end of the turn, at most once a turn.
Callers: `slices`, `reconcile`. Not here: the call.
"""

from collections.abc import Container, Iterable
from dataclasses import replace

from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import Steps, Verb, Verdict, Write, WriteStatus, perform
from controller.core.expect import is_on
from controller.core.memo import index_tombstones
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


def lingers(action: Action, look: Observation) -> bool:
    """Whether Xray goes on serving this client after it was switched off or deleted.

    It is seen on, and was not when we saw it last, as far as we know: an upgrade did that.
    """
    # QUIRK(revived-lingers, 3x-ui 3.1.0+): across 3.1.0 the record of a disabled client is enabled, and
    # with its row so does Xray; its entry in the inbound stays disabled, and a client whose entry is
    # disabled already is not taken out of the running Xray.
    if look.features.email_per_inbound or action.verb not in (Verb.DISABLE, Verb.DELETE):
        return False
    seen, row = action.current, action.row
    return seen is not None and seen.enable and row is not None and not is_on(row.projection)


def owe_restart(turn: Turn, piece: Iterable[Action]) -> Steps[None]:
    """Record before the first call that a restart will be due: a crash in between forgets nothing."""
    desired = turn.desired
    if not _can_restart(turn):
        return
    buried = index_tombstones(desired)
    if not any(falls_out(a, turn.look, buried) or lingers(a, turn.look) for a in piece):
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
        "clients were changed, and Xray serves them as before, or not at all, until it is restarted: "
        f"{turn.restart_refused}"
    )
    return Condition(ConditionType.DRIFTED, NOT_RESTARTED, message)


def _can_restart(turn: Turn) -> bool:
    """Whether there is an Xray that may know better: ours to restart, running or not known."""
    stands = turn.look.xray in (XrayState.RUNNING, XrayState.UNKNOWN)
    return turn.desired.policy.require_xray and stands


def _refusal(status: NodeStatus) -> Condition | None:
    return next((c for c in status.conditions if c.reason == NOT_RESTARTED and c.status), None)
