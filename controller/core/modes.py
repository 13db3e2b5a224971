"""What a node's mode forbids, and what a restored database may not do before a person accepts it.

Pure. Callers: guards. Not here: other guards; asking the mode again before each write (`runtime.worker`).
"""

from controller.core.conditions import Condition, ConditionType
from controller.core.desired import Desired
from controller.core.effects import Verb
from controller.core.placeholder import is_placeholder_action
from controller.core.plan import Action, Plan, deletes
from desired_state.model.node import Mode, Recovery

Forbidden = tuple[Condition, frozenset[Action]]


def forbid_by_mode(desired: Desired, plan: Plan) -> Forbidden | None:
    """Modes: `upsert-only` never deletes, `observe` writes nothing."""
    mode = desired.mode
    if mode is desired.recovery.mode:
        return None  # What a recovery forbids, it says itself; `enforce` forbids nothing.
    withheld = _deleting(plan) if mode is Mode.UPSERT_ONLY else frozenset(plan.actions)
    if not withheld:
        return None
    message = f"mode {mode.value} withholds {len(withheld)} actions"
    return Condition(ConditionType.DRIFTED, "Mode", message), withheld


def forbid_by_recovery(desired: Desired, plan: Plan) -> Forbidden | None:
    """Our database is an older one: first nothing is written, then nothing is taken away.

    An older row ends keys sooner, allows them less, and forgets where they went: whoever was served by
    the lost database is not to be cut off by the restored one.
    """
    if desired.recovery is Recovery.OBSERVE:
        message = (
            f"the database was restored from a backup and {len(plan.actions)} actions wait"
            " (x3fleet backup difference shows them, x3fleet backup accept lets them begin)"
        )
        return Condition(ConditionType.BLOCKED, "Restored", message), frozenset(plan.actions)
    if desired.recovery is not Recovery.CAREFUL:
        return None
    withheld = _deleting(plan) | {action for action in plan.actions if _takes_away(action)}
    if not withheld:
        return None
    message = (
        f"the database was restored from a backup and {len(withheld)} actions would take something"
        " away (x3fleet backup difference shows them, x3fleet backup accept --deletes lets them pass)"
    )
    return Condition(ConditionType.DRIFTED, "Restored", message), withheld


def switches_off(action: Action) -> bool:
    """Tell whether an action turns a client off that is on."""
    return (
        action.verb in (Verb.DISABLE, Verb.UPDATE)
        and action.wanted is not None
        and not action.wanted.enable
        and action.current is not None
        and action.current.enable
    )


def shortens(action: Action) -> bool:
    """Tell whether an action gives a client less time, traffic or devices than the panel would."""
    wanted, current = action.wanted, action.current
    if wanted is None or current is None:
        return False
    # Of each, 0 is no limit.
    pairs = (
        (wanted.expiry_ms, current.expiry_ms),
        (wanted.total_bytes, current.total_bytes),
        (wanted.limit_ip, current.limit_ip),
    )
    return any(new and (not old or new < old) for new, old in pairs)


def _takes_away(action: Action) -> bool:
    return switches_off(action) or shortens(action)


def _deleting(plan: Plan) -> frozenset[Action]:
    """Deletes and detaches, and the placeholders that only deletes need."""
    return frozenset(a for a in plan.actions if deletes(a) or is_placeholder_action(a))
