"""What this process remembers of each node's turns, and how a turn is counted.

A turn that finds nothing to do writes nothing, so when it was is known here alone. Callers: the runtime
at the end of each turn; `collector` reads. Not here: stored state (`snapshot`), deciding anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.core.conditions import ConditionType
from controller.core.observed import PERMANENT
from controller.core.result import Result
from controller.telemetry import metrics
from controller.telemetry.labels import Controller, ReconcileResult
from controller.telemetry.observers import count_write
from desired_state.model.ids import NodeName, Revision

_NODE = Controller.NODE.value
_SUCCESSES = frozenset({ReconcileResult.SUCCESS, ReconcileResult.REQUEUE_AFTER})


@dataclass(slots=True)
class Mark:
    """Moments of one node: first known to this process, last turn, last turn without a fault.

    `clean_at`: the last turn that left nothing to do; None before one.
    `observed_revision`: verified by this process.
    """

    first_seen: datetime
    last_attempt: datetime
    last_success: datetime
    clean_at: datetime | None = None
    observed_revision: Revision = Revision(0)


class NodeMarks:
    """The marks of every node that this process knows.

    Args:
        now: the wall clock.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._marks: dict[NodeName, Mark] = {}

    def keep(self, nodes: Iterable[NodeName]) -> None:
        """Know exactly these nodes: the series of a new one begin, those of a removed one vanish."""
        wanted = set(nodes)
        for gone in self._marks.keys() - wanted:
            del self._marks[gone]
            metrics.forget_node(gone)
        for new in sorted(wanted - self._marks.keys()):
            self.of(new)

    def of(self, node: NodeName) -> Mark:
        """The mark of a node, which begins now if it is new."""
        known = self._marks.get(node)
        if known is None:
            now = self._now()
            known = self._marks[node] = Mark(now, now, now)
            metrics.start_node(node)
        return known

    def turn_ended(
        self, node: NodeName, result: Result | None, duration_s: float, *, timed_out: bool = False
    ) -> ReconcileResult:
        """Count a turn and everything that it sent.

        Args:
            node: whose turn.
            result: None: it broke off, by the database or a lost lease.
            duration_s: of the turn.
            timed_out: its time cut it off.

        Returns:
            How it was counted.
        """
        mark, now = self.of(node), self._now()
        ended = classify(result)
        mark.last_attempt = now
        if ended in _SUCCESSES:
            mark.last_success = now
        if result is not None:
            for sent in result.sent:
                count_write(node, sent.verb, sent.members, sent.outcome)
            self._note_drift(mark, result, now)
            mark.observed_revision = max(mark.observed_revision, result.status.observed_revision)
        count_turn(_NODE, ended, duration_s, timed_out=timed_out)
        return ended

    def _note_drift(self, mark: Mark, result: Result, now: datetime) -> None:
        if result.healed:
            metrics.DRIFT_HEALED.labels(result.node).inc(result.healed)
            since = mark.clean_at or mark.first_seen
            for _ in range(result.healed):
                metrics.DRIFT_AGE.observe((now - since).total_seconds())
        if result.not_observed is None and not result.remaining.actions:
            mark.clean_at = now


def classify(result: Result | None) -> ReconcileResult:
    """Say how a turn ended, in the words of the metric."""
    if result is None:
        return ReconcileResult.ERROR
    if result.not_observed is not None:
        permanent = result.not_observed.reason in PERMANENT
        return ReconcileResult.TERMINAL if permanent else ReconcileResult.ERROR
    if result.status.find(ConditionType.STALLED) is not None:
        return ReconcileResult.STALLED
    if result.status.find(ConditionType.BLOCKED) is not None:
        return ReconcileResult.BLOCKED
    if result.cut or result.status.find(ConditionType.RECONCILING) is not None:
        return ReconcileResult.REQUEUE_AFTER
    return ReconcileResult.SUCCESS


def count_turn(
    controller: str, ended: ReconcileResult, duration_s: float, *, timed_out: bool = False
) -> None:
    """Count one turn of a node or one run of a job."""
    metrics.RECONCILES.labels(controller, ended.value).inc()
    metrics.RECONCILE_TIME.labels(controller).observe(duration_s)
    if ended in (ReconcileResult.ERROR, ReconcileResult.TERMINAL):
        metrics.RECONCILE_ERRORS.labels(controller).inc()
    if ended is ReconcileResult.TERMINAL:
        metrics.TERMINAL_ERRORS.labels(controller).inc()
    if timed_out:
        metrics.TIMEOUTS.labels(controller).inc()
