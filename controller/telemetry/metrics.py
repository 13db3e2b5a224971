"""Every metric of the controller that its parts count themselves, with the reason of each label.

Made once, at import, in a registry of our own. Callers: runtime and jobs count directly; panels by way
of `PanelExchanges`, which the service hands in. What belongs to a node and is stored comes from
`collector`. Labels are bounded: never a key, a person, an email, an address. Not here: exposing them
(`endpoints`), alert rules.
"""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from controller.telemetry.labels import (
    ACTIONS,
    ANSWERS,
    CONTROLLERS,
    DB_FAULTS,
    LEASES,
    PRIORITIES,
    READS,
    RESULTS,
    SKIPPING_JOBS,
    SOURCE_FAULTS,
    UNSCHEDULABLE,
    VERBS,
    Answer,
)
from controller.telemetry.node_series import NodeSeries

# A second series beside each counter, which says when it was made: nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no annotation here

REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_TURN_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0)
_CALL_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
_QUEUE_S = (0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1000.0)
_CUSTOMER_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)
_LAG_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

_BY_CONTROLLER = ("controller",)
_BY_QUEUE = ("name", "controller")
"""`name`: of the queue. `controller`: who works it off; dashboards for other controllers group by it."""


def _counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
    return Counter(name, text, tuple(labels), registry=REGISTRY)


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
    return Gauge(name, text, tuple(labels), registry=REGISTRY)


def _node_counter(name: str, text: str, labels: Iterable[str]) -> NodeSeries:
    return NodeSeries(CounterMetricFamily, name, text, labels, REGISTRY)


def _node_gauge(name: str, text: str, labels: Iterable[str]) -> NodeSeries:
    return NodeSeries(GaugeMetricFamily, name, text, labels, REGISTRY)


def _histogram(
    name: str, text: str, buckets: tuple[float, ...], labels: Iterable[str] = ()
) -> Histogram:
    return Histogram(name, text, tuple(labels), buckets=buckets, registry=REGISTRY)


# -- turns: `controller` tells work on nodes from jobs, whose durations have nothing in common --------

RECONCILES = _counter(
    "x3fleet_reconcile_total", "Ended turns by result.", (*_BY_CONTROLLER, "result")
)
RECONCILE_ERRORS = _counter(
    "x3fleet_reconcile_errors_total", "Turns that ended with an error.", _BY_CONTROLLER
)
TERMINAL_ERRORS = _counter(
    "x3fleet_terminal_reconcile_errors_total",
    "Turns that ended with an error that repeating cannot help.",
    _BY_CONTROLLER,
)
PANICS = _counter(
    "x3fleet_reconcile_panics_total", "Turns that ended with a bug of ours.", _BY_CONTROLLER
)
TIMEOUTS = _counter(
    "x3fleet_reconcile_timeouts_total", "Turns that were cut off by their time.", _BY_CONTROLLER
)
RECONCILE_TIME = _histogram(
    "x3fleet_reconcile_time_seconds", "Duration of a turn.", _TURN_S, _BY_CONTROLLER
)
ACTIVE_WORKERS = _gauge("x3fleet_active_workers", "Turns that run now.", _BY_CONTROLLER)
MAX_WORKERS = _gauge(
    "x3fleet_max_concurrent_reconciles", "Turns that may run at the same time.", _BY_CONTROLLER
)

# -- queues: names and labels as everywhere, so that existing dashboards work ------------------------

QUEUE_DEPTH = _gauge("workqueue_depth", "Items that are ready now.", (*_BY_QUEUE, "priority"))
QUEUE_ADDS = _counter("workqueue_adds_total", "Items that were added.", _BY_QUEUE)
QUEUE_RETRIES = _counter("workqueue_retries_total", "Items added again after a failure.", _BY_QUEUE)
QUEUE_WAIT = _histogram(
    "workqueue_queue_duration_seconds", "How long a ready item waited.", _QUEUE_S, _BY_QUEUE
)
QUEUE_WORK = _histogram(
    "workqueue_work_duration_seconds", "How long an item was worked on.", _QUEUE_S, _BY_QUEUE
)
QUEUE_UNFINISHED = _gauge(
    "workqueue_unfinished_work_seconds", "Seconds of work that is not done yet.", _BY_QUEUE
)
QUEUE_LONGEST = _gauge(
    "workqueue_longest_running_processor_seconds",
    "Seconds that the longest item is worked on.",
    _BY_QUEUE,
)

# -- panels: `node` finds the broken one, `verb` the slow kind of call --------------------------------

PANEL_REQUESTS = _node_counter(
    "x3fleet_panel_requests_total",
    "Calls to panels by what became of them.",
    ("node", "verb", "result"),
)
PANEL_REQUEST_TIME = _histogram(
    "x3fleet_panel_request_duration_seconds",
    "Duration of a call to a panel.",
    _CALL_S,
    # No node: 200 of them would make 28,000 series; each node has a gauge instead.
    ("verb",),
)
PANEL_LATENCY = _node_gauge(
    "x3fleet_panel_latency_seconds",
    "Moving average of the duration of a node's calls.",
    ("node", "verb"),
)
ACTIONS_DONE = _node_counter(
    "x3fleet_actions_total", "Clients acted upon.", ("node", "action", "result")
)
RATE_LIMITER_TIME = _histogram(
    "x3fleet_rate_limiter_duration_seconds", "How long a call waited for its permission.", _CALL_S
)
RETRY_BUDGET = _gauge(
    "x3fleet_retry_budget_tokens", "Retries of reads that this replica may still make."
)
RETRY_BUDGET_EXHAUSTED = _counter(
    "x3fleet_retry_budget_exhausted_total", "Reads that were not retried: the budget was empty."
)

# -- keys: what customers notice; a label would be a key or a node too many ---------------------------

KEY_FIRST_READY = _histogram(
    "x3fleet_key_first_ready_seconds",
    "From a key's wish or placement to its client proved live.",
    _CUSTOMER_S,
)
KEY_DELETION = _histogram(
    "x3fleet_key_deletion_seconds",
    "From the end of a key to its client proved gone.",
    _CUSTOMER_S,
)
ROTATION_GAP = _histogram(
    "x3fleet_rotation_gap_seconds",
    "From the old generation proved gone to the new one proved live.",
    _CUSTOMER_S,
)
UNSCHEDULABLE_KEYS = _gauge(
    "x3fleet_unschedulable_keys", "Keys that no node may carry.", ("reason",)
)
DRIFT_HEALED = _node_counter(
    "x3fleet_drift_healed_total", "Differences nobody asked for, written over.", ("node",)
)
DRIFT_AGE = _histogram(
    "x3fleet_drift_age_seconds",
    "From the last look without a drift to its healing: no drift stood longer.",
    _CUSTOMER_S,
)
RESURRECTED = _counter("x3fleet_resurrected_total", "Clients seen that had been proved gone.")

# -- replicas ---------------------------------------------------------------------------------------

FINALIZE_FENCED = _counter(
    "x3fleet_finalize_fenced_total", "Records refused since the epoch was not current."
)
LEASE_LOST = _counter("x3fleet_lease_lost_total", "Leases that ended against our will.")
LEASE_SECONDS_LEFT = _gauge(
    "x3fleet_lease_seconds_left", "Seconds until the first of our leases ends."
)
LEADER = _gauge("leader_election_master_status", "1 where this replica leads.", ("name",))

# -- what the process itself rests on -----------------------------------------------------------------

SOURCE_ERRORS = _counter(
    "x3fleet_source_errors_total", "Revisions of manifests that were not applied.", ("reason",)
)
SCHEDULER_MISSED = _counter("x3fleet_scheduler_missed_total", "Ticks that came too late.")
SCHEDULER_SKIPPED = _counter(
    "x3fleet_scheduler_skipped_total", "Ticks while the job still ran.", ("job",)
)
CLOCK_STEPS = _counter(
    # By direction: a step forward ends what has not ended, one back holds up what should go on.
    "x3fleet_clock_steps_total",
    "How often the wall clock was set by 2 s or more.",
    ("direction",),
)
EVENT_LOOP_LAG = _histogram(
    "x3fleet_event_loop_lag_seconds", "How late the event loop ran a timer.", _LAG_S
)
DB_LOCK_WAIT = _histogram(
    "x3fleet_db_lock_wait_seconds", "How long a writing transaction waited to begin.", _CALL_S
)
DB_ERRORS = _counter("x3fleet_db_errors_total", "Failures of the database.", ("kind",))
WEBHOOKS = _counter(
    "x3fleet_webhook_deliveries_total", "Attempts to deliver a notification.", ("result",)
)
WEBHOOKS_WAITING = _gauge("x3fleet_webhook_waiting", "Notifications that are still to be sent.")
WEBHOOKS_PARKED = _gauge(
    "x3fleet_webhook_parked", "Notifications given up; `x3fleet notifications replay` sends them."
)
BACKUP_FAILURES = _counter(
    "x3fleet_backup_failures_total",
    "Backups, or panels' databases in one, that could not be had.",
    # Two different troubles: our database at risk, or one panel that does not answer.
    ("kind",),
)
_FRESH = 0.2
"""Weight of the newest duration in a moving average: about the last ten calls count."""
_latencies: dict[tuple[str, str], float] = {}

CLOCK_DIRECTIONS = ("forward", "backward")
BACKUP_KINDS = ("database", "panel")
WEBHOOK_RESULTS = ("delivered", "refused", "failed", "parked")


def start_node(node: str) -> None:
    """Let every series of a node that is counted here begin at 0."""
    for verb in VERBS:
        for answer in ANSWERS:
            if answer is not Answer.AUTH or verb in READS:
                PANEL_REQUESTS.labels(node, verb, answer)
        PANEL_LATENCY.labels(node, verb)
    for action in ACTIONS:
        for answer in ANSWERS:
            if answer is not Answer.AUTH:
                ACTIONS_DONE.labels(node, action, answer)
    DRIFT_HEALED.labels(node)


def forget_node(node: str) -> None:
    """Let every series of a removed node vanish."""
    for metric in (PANEL_REQUESTS, PANEL_LATENCY, ACTIONS_DONE, DRIFT_HEALED):
        metric.forget(node)
    for known in [pair for pair in _latencies if pair[0] == node]:
        del _latencies[known]


def note_latency(node: str, verb: str, duration_s: float) -> None:
    """Let one call count in its node's moving average."""
    before = _latencies.get((node, verb), duration_s)
    _latencies[node, verb] = before + _FRESH * (duration_s - before)
    PANEL_LATENCY.labels(node, verb).set(_latencies[node, verb])


def start_job(job: str) -> None:
    """Let the series of a scheduled job begin at 0."""
    SCHEDULER_SKIPPED.labels(job)


def _start() -> None:
    for controller in CONTROLLERS:
        for result in RESULTS:
            RECONCILES.labels(controller, result)
        for metric in (
            RECONCILE_ERRORS, TERMINAL_ERRORS, PANICS, TIMEOUTS, RECONCILE_TIME, ACTIVE_WORKERS,
            MAX_WORKERS,
        ):  # fmt: skip
            metric.labels(controller)
        for priority in PRIORITIES:
            QUEUE_DEPTH.labels(controller, controller, str(priority))
        for queue in (
            QUEUE_ADDS, QUEUE_RETRIES, QUEUE_WAIT, QUEUE_WORK, QUEUE_UNFINISHED, QUEUE_LONGEST,
        ):  # fmt: skip
            queue.labels(controller, controller)
    for verb in VERBS:
        PANEL_REQUEST_TIME.labels(verb)
    for labels, counter in (
        (UNSCHEDULABLE, UNSCHEDULABLE_KEYS), (SOURCE_FAULTS, SOURCE_ERRORS), (LEASES, LEADER),
        (DB_FAULTS, DB_ERRORS), (SKIPPING_JOBS, SCHEDULER_SKIPPED), (WEBHOOK_RESULTS, WEBHOOKS),
        (CLOCK_DIRECTIONS, CLOCK_STEPS),
        (BACKUP_KINDS, BACKUP_FAILURES),
    ):  # fmt: skip
        for label in labels:
            counter.labels(label)


_start()
