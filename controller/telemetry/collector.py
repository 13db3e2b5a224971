"""Per-node series over the last snapshot: a node that is not in it has none.

prometheus-client asks at each exposition, in a thread of its own; a snapshot is replaced as a whole and
never changed. Callers: `endpoints`. Not here: reading the database, what the process counts itself.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.core.conditions import ConditionType
from controller.core.observed import XrayState
from controller.telemetry.backups import BACKUP_NAMES, show_backups
from controller.telemetry.capacity import CAPACITY_NAMES, show_capacity
from controller.telemetry.labels import (
    CONDITIONS,
    DRIFT_KINDS,
    KEY_STATES,
    MODES,
    PLAN_BLOCKED,
    DriftKind,
    KeyState,
    SourceFault,
)
from controller.telemetry.marks import NodeMarks
from controller.telemetry.metrics import SOURCE_ERRORS
from controller.telemetry.snapshot import FleetSnapshot, SeenNode, SeenSource
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode

_INBOUND_REASONS = frozenset({
    "NoInbounds", "InboundMissing", "InboundDisabled", "InboundRefused", "InboundPortTaken",
    "InboundTagTaken", "InboundProtocol", "InboundMethod", "InboundHoldsForeign", "InboundUnsupported",
})  # fmt: skip
_SOURCE_FAULTS = (
    ("unavailable", SourceFault.UNAVAILABLE),
    ("manifest", SourceFault.INVALID),
    ("", SourceFault.REFUSED),
)
"""Which faults of a source count as what, by what their code holds; the first that fits."""
_GUARDED = ("Blocked", "Stalled", "Drifted", "Reconciling")
"""Conditions that a guard's refusal may take."""

_XRAY_SAID = frozenset({XrayState.RUNNING, XrayState.STOP, XrayState.ERROR})

Samples = Iterable[tuple[tuple[str, ...], float]]
Describe = Callable[[SeenNode, datetime], Samples]


def _conditions(node: SeenNode, now: datetime) -> Samples:
    del now
    held = {c.type for c in node.conditions if c.status}
    # Before the first look nothing is known, not even that a node is not ready.
    unready = any(c.type == ConditionType.READY and not c.status for c in node.conditions)
    for kind in CONDITIONS:
        is_false = unready if kind is ConditionType.READY else kind not in held
        yield (kind.value, "True"), float(kind in held)
        yield (kind.value, "False"), float(is_false)


def _paused(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.mode is Mode.PAUSED)


def _mode(node: SeenNode, now: datetime) -> Samples:
    del now
    for mode in MODES:
        if mode is node.mode:
            yield (mode.value,), 1.0


def _failures(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.failures)


def _backoff(node: SeenNode, now: datetime) -> Samples:
    left = 0.0
    if node.failures and node.next_look_at is not None:
        left = max(0.0, (node.next_look_at - now).total_seconds())
    yield (), left


def _keys(node: SeenNode, now: datetime) -> Samples:
    del now
    for state in KEY_STATES:
        if state is KeyState.ORPHANED:
            yield (state.value,), float(node.counts.get("live", 0) if node.orphaned else 0)
        else:
            yield (state.value,), float(node.counts.get(state.value, 0))


def _debt(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.debt)


def _debt_age(node: SeenNode, now: datetime) -> Samples:
    yield (), _age(node.debt_since, now)


def _leaving(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.leaving)


def _leaving_age(node: SeenNode, now: datetime) -> Samples:
    yield (), _age(node.leaving_since, now)


def _adopted(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.adopted)


def _drift(node: SeenNode, now: datetime) -> Samples:
    del now
    reasons = {c.reason for c in node.holding("Drifted")}
    for kind in DRIFT_KINDS:
        if kind is DriftKind.CLIENT:
            yield (kind.value,), float(node.counts.get("drift", 0))
        else:
            yield (kind.value,), float(len(reasons & _INBOUND_REASONS))


def _blocked(node: SeenNode, now: datetime) -> Samples:
    del now
    reasons = {c.reason for c in node.holding(*_GUARDED)}
    for reason in PLAN_BLOCKED:
        yield (reason.value,), float(reason.value in reasons)


def _pending_approval(node: SeenNode, now: datetime) -> Samples:
    moments = [c.since for c in node.holding("Blocked") if c.since is not None]
    yield (), _age(min(moments, default=None) if node.withheld else None, now)


def _foreign(node: SeenNode, now: datetime) -> Samples:
    del now
    yield (), float(node.counts.get("foreign", 0))


def _xray(node: SeenNode, now: datetime) -> Samples:
    del now
    if node.xray in _XRAY_SAID:
        yield (), float(node.xray == XrayState.RUNNING)


def _certificate(node: SeenNode, now: datetime) -> Samples:
    del now
    if node.certificate_until is not None:
        yield (), node.certificate_until.timestamp()


_STORED: tuple[tuple[str, str, tuple[str, ...], Describe], ...] = (
    ("x3fleet_node_condition", "1 where a node's condition has this status.",
     ("condition", "status"), _conditions),
    ("x3fleet_node_paused", "1 for a node that is not visited.", (), _paused),
    ("x3fleet_node_mode_info", "1 for the mode of a node.", ("mode",), _mode),
    ("x3fleet_node_consecutive_failures", "Failed looks in a row.", (), _failures),
    ("x3fleet_node_backoff_seconds", "Seconds until a failing node is tried again.", (), _backoff),
    ("x3fleet_keys", "Clients of a node by state, as last seen.", ("state",), _keys),
    ("x3fleet_delete_debt", "Deletes owed on a node that cannot be reached.", (), _debt),
    ("x3fleet_delete_debt_age_seconds", "Age of the oldest delete owed there.", (), _debt_age),
    ("x3fleet_keys_leaving", "Keys on their way off a node.", (), _leaving),
    ("x3fleet_keys_leaving_age_seconds", "Age of the oldest of them.", (), _leaving_age),
    ("x3fleet_adopted_clients", "Clients of a node that were taken over and serve keys.", (),
     _adopted),
    ("x3fleet_drift_objects", "What differs though nobody asked for it.", ("kind",), _drift),
    ("x3fleet_plan_blocked", "1 where a guard withholds something.", ("reason",), _blocked),
    ("x3fleet_plan_pending_approval_seconds", "How long a set waits for a person.", (),
     _pending_approval),
    ("x3fleet_xray_running", "1 where the panel says that its Xray runs; none if it says nothing.",
     (), _xray),
    ("x3fleet_panel_certificate_end_timestamp_seconds",
     "When the certificate of a panel ends; none where there is none.", (), _certificate),
    ("x3fleet_owner_mismatch_objects", "Clients that look like ours and are not.", (), _foreign),
)  # fmt: skip
SCRAPED_NAMES = (
    *(name for name, *_ in _STORED),
    *CAPACITY_NAMES,
    *BACKUP_NAMES,
    "x3fleet_observed_revision_lag",
    "x3fleet_node_last_attempt_timestamp_seconds",
    "x3fleet_node_last_success_timestamp_seconds",
    "x3fleet_lease_held",
    "x3fleet_snapshot_timestamp_seconds",
    "x3fleet_source_info",
    "x3fleet_source_last_success_timestamp_seconds",
)
"""Every name that this collector exposes, for the document and for the check of alert rules."""


class FleetCollector(Collector):
    """Shows the snapshot that it was given last.

    Args:
        marks: what this process remembers of turns.
        held: nodes that this process may write to; None: all of them.
        now: the wall clock, for ages.
    """

    def __init__(
        self,
        marks: NodeMarks,
        held: Callable[[], frozenset[NodeName] | None],
        now: Callable[[], datetime],
    ) -> None:
        self._marks = marks
        self._held = held
        self._now = now
        self._snapshot: FleetSnapshot | None = None

    def show(self, snapshot: FleetSnapshot) -> None:
        """Show this snapshot from now on."""
        self._marks.keep(node.name for node in snapshot.nodes)
        _count_source_faults(self._snapshot, snapshot)
        self._snapshot = snapshot

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name what `collect` gives, so that a name cannot be registered twice."""
        for name in SCRAPED_NAMES:
            yield GaugeMetricFamily(name, "")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Make the series of the snapshot; none before the first one."""
        snapshot, now = self._snapshot, self._now()
        if snapshot is None:
            return
        for name, text, labels, describe in _STORED:
            family = GaugeMetricFamily(name, text, labels=("node", *labels))
            for node in snapshot.nodes:
                for values, number in describe(node, now):
                    family.add_metric((node.name, *values), number)
            yield family
        yield from self._moments(snapshot)
        yield from _about_all(snapshot, now)
        yield from show_capacity(snapshot.capacity)
        yield from show_backups(snapshot.backups)

    def _moments(self, snapshot: FleetSnapshot) -> Iterator[GaugeMetricFamily]:
        """Turns of this process, for the nodes that it holds: another one's are its own affair."""
        held = self._held()
        attempt = GaugeMetricFamily(
            "x3fleet_node_last_attempt_timestamp_seconds", "The last turn.", labels=("node",)
        )
        success = GaugeMetricFamily(
            "x3fleet_node_last_success_timestamp_seconds",
            "The last turn without a fault; at first the moment when the node was first seen.",
            labels=("node",),
        )
        lag = GaugeMetricFamily(
            "x3fleet_observed_revision_lag",
            "Revisions of desired state that a node was not yet verified against.",
            labels=("node",),
        )
        leases = GaugeMetricFamily(
            "x3fleet_lease_held", "1 for a node that this replica may write to.", labels=("node",)
        )
        for node in snapshot.nodes:
            is_held = held is None or node.name in held
            leases.add_metric((node.name,), float(is_held))
            if is_held:
                mark = self._marks.of(node.name)
                attempt.add_metric((node.name,), mark.last_attempt.timestamp())
                success.add_metric((node.name,), mark.last_success.timestamp())
                seen = max(node.observed_revision, mark.observed_revision)
                lag.add_metric((node.name,), max(0, node.wanted_revision - seen))
        yield from (attempt, success, lag, leases)


def _about_all(snapshot: FleetSnapshot, now: datetime) -> Iterator[GaugeMetricFamily]:
    """Series without a node: the snapshot itself, and where manifests come from."""
    yield GaugeMetricFamily(
        "x3fleet_snapshot_timestamp_seconds",
        "When the stored series were read from the database.",
        value=snapshot.at.timestamp(),
    )
    info = GaugeMetricFamily(
        "x3fleet_source_info", "The revision of manifests in use.", labels=("source", "revision")
    )
    well = GaugeMetricFamily(
        "x3fleet_source_last_success_timestamp_seconds",
        # A look that finds nothing new writes nothing: without a fault the source is well now.
        "Until when a source of manifests was well: now, or since when it fails or nobody looks at it.",
        labels=("source",),
    )
    for source in snapshot.sources:
        info.add_metric((source.name, source.revision), 1.0)
        well.add_metric(
            (source.name,), (source.failing_since or source.silent_since or now).timestamp()
        )
    yield from (info, well)


def _count_source_faults(before: FleetSnapshot | None, after: FleetSnapshot) -> None:
    """Count faults that the snapshot before did not show."""
    known = set() if before is None else {_fault_of(source) for source in before.sources}
    for source in after.sources:
        if source.fault and _fault_of(source) not in known:
            kinds = (kind for mark, kind in _SOURCE_FAULTS if mark in source.fault)
            SOURCE_ERRORS.labels(next(kinds, SourceFault.OTHER).value).inc()


def _fault_of(source: SeenSource) -> tuple[object, ...]:
    return source.name, source.fault, source.fetched, source.failing_since


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
