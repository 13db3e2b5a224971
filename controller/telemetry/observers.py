"""What other parts are handed to be measured: queues, exchanges with panels, writes, the database.

Callers: service builds them; runtime and panels call them by the shape that each asks for, so that none
of them needs to know of metrics. Not here: the metrics (`metrics`), deciding anything.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol

from controller.core.effects import MemberVerdict, Outcome, Verb, Verdict
from controller.telemetry import metrics
from controller.telemetry.labels import (
    PRIORITIES,
    READS,
    UNSCHEDULABLE,
    Action,
    Answer,
    Controller,
    DbFault,
)
from controller.telemetry.labels import Unschedulable as Why
from desired_state.model.ids import NodeName
from desired_state.scheduling.result import Unschedulable
from desired_state.store.errors import (
    ConcurrentUpdate,
    SecretUnreadable,
    StoreBusy,
    StoreError,
    StoreNewer,
    StoreOutdated,
)

_ACTIONS = {
    Verb.CREATE: Action.CREATE,
    Verb.DELETE: Action.DELETE,
    Verb.UPDATE: Action.UPDATE,
    Verb.ENABLE: Action.UPDATE,
    Verb.DISABLE: Action.UPDATE,
    Verb.ATTACH: Action.UPDATE,
    Verb.DETACH: Action.UPDATE,
}
_ANSWERS = {
    Verdict.APPLIED: Answer.APPLIED,
    Verdict.REJECTED: Answer.REJECTED,
    Verdict.UNKNOWN: Answer.UNKNOWN,
    Verdict.NOT_SENT: Answer.NOT_SENT,
}
_DB_FAULTS = (
    (StoreBusy, DbFault.BUSY),
    (ConcurrentUpdate, DbFault.CONCURRENT),
    (SecretUnreadable, DbFault.SECRET),
    (StoreOutdated, DbFault.VERSION),
    (StoreNewer, DbFault.VERSION),
)
_WHYS = (
    (("no node carries", "does not carry"), Why.NO_MATCH),
    (("Unreachable", "Stalled", "Blocked", "Xray"), Why.UNHEALTHY),
    ((" full",), Why.FULL),
    (("orphaned", "in no manifest", "drain", "unschedulable", "cordoned", "paused"), Why.CLOSED),
)
"""Which words of the scheduler's sentence mean what; the first that occur, since a sentence may name
several nodes: what may pass by itself comes before what a person has to change."""
_NOT_LOGGED_IN = frozenset({302, 307, 401, 403, 404})
"""How panels of all versions say that they do not know us; 404 is 3.x's way of hiding."""


class WatchedQueue(Protocol):
    """What is read of a queue when somebody asks for metrics."""

    def depth(self) -> Mapping[int, int]:
        """Ready items by priority."""
        ...

    def running(self) -> Mapping[Hashable, float]:
        """For how many seconds each item has been worked on."""
        ...


class QueueMeter:
    """Measures one queue. `sample` is called in the queue's own loop, before each exposition."""

    def __init__(self, queue: Controller) -> None:
        self._labels = (queue.value, queue.value)

    def added(self, priority: int) -> None:
        """An item was added, or added again."""
        del priority
        metrics.QUEUE_ADDS.labels(*self._labels).inc()

    def retried(self) -> None:
        """An item was added since its turn failed."""
        metrics.QUEUE_RETRIES.labels(*self._labels).inc()

    def taken(self, waited_s: float) -> None:
        """An item was taken that had been ready for so long."""
        metrics.QUEUE_WAIT.labels(*self._labels).observe(max(0.0, waited_s))

    def finished(self, worked_s: float) -> None:
        """An item was given back."""
        metrics.QUEUE_WORK.labels(*self._labels).observe(worked_s)

    def sample(self, queue: WatchedQueue) -> None:
        """Take what only the queue knows: its depth, and what runs."""
        depth, running = queue.depth(), queue.running().values()
        for priority in PRIORITIES:
            metrics.QUEUE_DEPTH.labels(*self._labels, str(priority)).set(depth.get(priority, 0))
        metrics.QUEUE_UNFINISHED.labels(*self._labels).set(sum(running))
        metrics.QUEUE_LONGEST.labels(*self._labels).set(max(running, default=0.0))


class SeenExchange(Protocol):
    """What is read of one exchange with a panel; the channel's `Exchange` has this shape."""

    @property
    def node(self) -> NodeName:
        """Whose panel."""
        ...

    @property
    def kind(self) -> str:
        """Probe, login, read or write."""
        ...

    @property
    def status(self) -> int | None:
        """The answer's status; None: there was none."""
        ...

    @property
    def failure(self) -> str:
        """The code of what failed, else empty."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the panel may have seen the request."""
        ...

    @property
    def duration_s(self) -> float:
        """Seconds."""
        ...


class PanelExchanges:
    """An observer of channels: counts what reads and logins came to, and how long they took.

    Writes are counted by `count_write`, whose verb and verdict the channel does not know.
    """

    def exchanged(self, exchange: SeenExchange) -> None:
        """Take note of one exchange."""
        verb = str(exchange.kind)
        if verb in READS:
            _count_call(exchange.node, verb, _answer_of(exchange), exchange.duration_s)


class RetryMeter:
    """The meter of a process's budget of repeated reads."""

    def budget_left(self, tokens: int) -> None:
        """So many tokens are left."""
        metrics.RETRY_BUDGET.set(tokens)

    def budget_exhausted(self) -> None:
        """A read was not repeated."""
        metrics.RETRY_BUDGET_EXHAUSTED.inc()


def count_write(node: NodeName, verb: Verb, members: int, outcome: Outcome) -> None:
    """Count one write by its verdict, and its members by theirs; a restart of Xray has none."""
    answer = _ANSWERS[outcome.verdict]
    _count_call(node, verb.value, answer, outcome.duration_s)
    action = _ACTIONS.get(verb)
    if action is None:
        return
    skipped = sum(one.verdict is MemberVerdict.SKIPPED for one in outcome.members)
    metrics.ACTIONS_DONE.labels(node, action.value, answer.value).inc(members - skipped)
    if skipped:
        metrics.ACTIONS_DONE.labels(node, action.value, Answer.REJECTED.value).inc(skipped)


def count_born(waited_s: Iterable[float], gaps_s: Iterable[float], resurrected: int) -> None:
    """Count keys that were proved live: how long they were waited for, and who came back."""
    for seconds in waited_s:
        metrics.KEY_FIRST_READY.observe(seconds)
    for seconds in gaps_s:
        metrics.ROTATION_GAP.observe(seconds)
    metrics.RESURRECTED.inc(resurrected)


def count_deletions(waited_s: Iterable[float]) -> None:
    """Count keys that were proved gone, by how long that took."""
    for seconds in waited_s:
        metrics.KEY_DELETION.observe(seconds)


class StoreMeter:
    """A watcher of the database: how long writers wait, and what fails."""

    def waited(self, seconds: float) -> None:
        """A writing transaction waited so long before it began."""
        metrics.DB_LOCK_WAIT.observe(seconds)

    def failed(self, error: StoreError) -> None:
        """A transaction failed; counted by its kind."""
        kinds = (fault for branch, fault in _DB_FAULTS if isinstance(error, branch))
        metrics.DB_ERRORS.labels(next(kinds, DbFault.OTHER).value).inc()


def show_unschedulable(keys: Iterable[Unschedulable]) -> None:
    """Show how many keys no node may carry now, by the coarse reason."""
    counts = Counter(_coarse(key.reason) for key in keys)
    for reason in UNSCHEDULABLE:
        metrics.UNSCHEDULABLE_KEYS.labels(reason.value).set(counts[reason])


def _coarse(sentence: str) -> Why:
    return next((why for words, why in _WHYS if any(w in sentence for w in words)), Why.OTHER)


def _answer_of(exchange: SeenExchange) -> Answer:
    if exchange.status is None:
        return Answer.UNKNOWN if exchange.sent else Answer.NOT_SENT
    if exchange.status in _NOT_LOGGED_IN:
        return Answer.AUTH
    return Answer.APPLIED if exchange.status < 300 else Answer.REJECTED


def _count_call(node: NodeName, verb: str, answer: Answer, duration_s: float) -> None:
    metrics.PANEL_REQUESTS.labels(node, verb, answer.value).inc()
    if answer is Answer.NOT_SENT:
        return
    metrics.PANEL_REQUEST_TIME.labels(verb).observe(duration_s)
    metrics.note_latency(node, verb, duration_s)
