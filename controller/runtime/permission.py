"""Which writes a node's declaration forbids by now, whatever a turn has planned.

Callers: the worker, before each write. Not here: the right to write at all (`lease`, `brake`), what a plan
may hold (`controller.core.guards`).
"""

from controller.core import effects as fx
from controller.runtime.reads import Approach
from desired_state.model.node import Mode

_REMOVES = frozenset({fx.Verb.DELETE, fx.Verb.DETACH, fx.Verb.DROP_INBOUND})
TAKES_AWAY = _REMOVES | {fx.Verb.DISABLE}
"""What waits while requests of a controller that died may still be on their way."""


def declared_otherwise(now: Approach, then: Approach, verb: fx.Verb) -> str:
    """Say what was declared since a turn began that forbids this write; empty when nothing does."""
    target, before = now.target, then.target
    if now.fault is not None or (target.fingerprint, target.tls) != (
        before.fingerprint,
        before.tls,
    ):
        return "the node is declared otherwise by now"
    if target.mode in (Mode.OBSERVE, Mode.PAUSED) or (
        target.mode is Mode.UPSERT_ONLY and verb in _REMOVES
    ):
        return f"the node's mode is {target.mode.value} by now"
    return ""
