"""What a turn says of declared inbounds: conditions of the node, and what is left to do.

Step: the end of a turn. Callers: reconcile, result. Pure. Not here: what is to be done (`declared`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.core.conditions import Condition, ConditionType
from controller.core.declared import REFUSED, Standing, Step
from controller.core.desired import ManagedInbound
from desired_state.model.ids import InboundName


@dataclass(frozen=True, slots=True)
class InboundLeft:
    """A declared inbound that is not as declared. `changes`: paths of fields that differ."""

    name: InboundName
    step: Step
    changes: tuple[str, ...] = ()
    message: str = ""

    @property
    def is_open(self) -> bool:
        """Whether another turn may bring it further at once."""
        return self.step in (Step.CREATE, Step.UPDATE, Step.DELETE) and not self.message


def left_over(standings: Iterable[Standing]) -> tuple[InboundLeft, ...]:
    """Return what is left to do, and what cannot be done."""
    return tuple(
        InboundLeft(one.spec.name, one.step, one.changes, _message(one))
        for one in standings
        if one.step is not Step.NONE or one.reason
    )


def inbound_conditions(standings: Iterable[Standing]) -> list[Condition]:
    """Name what is in the way of declared inbounds, one condition a reason; work left is no drift."""
    found: dict[str, Condition] = {}
    for one in standings:
        reason, message = _reason(one), _message(one)
        text = f"inbound {one.spec.name}: {message}"
        if reason and reason not in found:
            found[reason] = Condition(ConditionType.DRIFTED, reason, text)
        elif not reason and one.step is not Step.NONE and "InboundPending" not in found:
            text = f"inbound {one.spec.name}: {message or _TODO[one.step]}"
            found["InboundPending"] = Condition(ConditionType.RECONCILING, "InboundPending", text)
    return list(found.values())


_TODO = {
    Step.CREATE: "is to be created",
    Step.UPDATE: "is to be changed",
    Step.DELETE: "is to be deleted",
    Step.WAIT: "was asked for, and the panel does not show it yet",
}


def _reason(one: Standing) -> str:
    return one.reason or ("" if one.row is None or not _is_told(one, one.row) else one.row.reason)


def _message(one: Standing) -> str:
    return one.message or ("" if one.row is None or not _is_told(one, one.row) else one.row.message)


def _is_told(one: Standing, row: ManagedInbound) -> bool:
    """Whether the row says why: of what is to go, and of what the panel did not do when it was asked."""
    return one.leaving or (row.reason == REFUSED and one.step is not Step.NONE)
