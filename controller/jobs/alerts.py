"""Tells people what is wrong: conditions, blocked plans and failing sources become notifications.

Level-triggered: every pass compares what is stored of the fleet with the alerts that stand, so a missed
pass or a restart loses nothing. `decide` is pure. Callers: service, on one replica of an installation.
Not here: delivering (`webhooks`, the bot), metrics and their rules.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import select

from controller.jobs.snapshot import read_fleet
from controller.settings import AlertSettings
from controller.telemetry import events
from controller.telemetry.snapshot import FleetSnapshot, SeenCondition, SeenNode
from desired_state.model.node import Mode
from desired_state.queries.backups import BackupsView
from desired_state.scheduling.capacity import Signal, find_signals
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.tables.status import AlertRow, NotificationRow

log = structlog.get_logger(__name__)

FLEET = "fleet/Unreachable"
"""The one alert for all nodes when most of them cannot be reached."""
FEWEST = 3
"""Nodes that must be unreachable before one message stands for them."""
CAPACITY = "Capacity"
"""The condition of every signal to grow or shrink."""
MOVE = "Move"
"""The condition of keys that do not get off a node."""
DAY_S = 86_400.0
_DIGITS = 12
_SILENT = frozenset({"Mode", "TornList"})
"""Reasons that nobody needs to be told of: wanted, or gone with the next look."""


class Severity(StrEnum):
    """Whether somebody has to act now."""

    CRITICAL = "critical"
    WARNING = "warning"


class State(StrEnum):
    """What a notification says."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now, or that should be done. `key`: what it is about.

    `since`: if that is known. `hold_s`: its own time before people are told; None: that of the settings.
    """

    key: str
    condition: str
    reason: str
    severity: Severity
    message: str = ""
    node: str = ""
    since: datetime | None = None
    hold_s: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A trouble that people were told of, or may have to be. See the table for the moments."""

    key: str
    condition: str
    reason: str
    came_at: datetime
    message: str = ""
    node: str = ""
    cleared_at: datetime | None = None
    notification: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pass changes. `fire`: alerts with their trouble, new ones too; `resolve`: told and over."""

    keep: tuple[Alert, ...] = ()
    fire: tuple[tuple[Alert, Trouble], ...] = ()
    resolve: tuple[Alert, ...] = ()
    forget: tuple[Alert, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.keep or self.fire or self.resolve or self.forget)


# -- what is wrong ---------------------------------------------------------------------------------


def find_troubles(
    fleet: FleetSnapshot,
    share: float,
    told: Mapping[str, str] | None = None,
    *,
    move_s: float = DAY_S,
) -> tuple[Trouble, ...]:
    """Name everything that is wrong or should be done, sorted by key.

    Args:
        fleet: as stored.
        share: when more than this share of the visited nodes is unreachable, one trouble is added for
            all of them.
        told: node by key of the alerts that people know of.
        move_s: how long a key may be on its way off a node.
    """
    found = [trouble for node in fleet.nodes for trouble in _of_node(node)]
    visited = sum(node.mode is not Mode.PAUSED for node in fleet.nodes)
    lost = [trouble for trouble in found if trouble.condition == "Unreachable"]
    if len(lost) >= FEWEST and len(lost) > share * visited:
        message = f"{len(lost)} of {visited} nodes cannot be reached; the fault may be on our side"
        found.append(Trouble(FLEET, "Unreachable", "MostNodes", Severity.CRITICAL, message))
    found += [
        Trouble(
            f"source/{source.name}",
            "Source",
            source.fault,
            Severity.WARNING,
            f"manifests of {source.name} are not applied; revision {source.revision[:_DIGITS]} stays",
            since=source.failing_since,
        )
        for source in fleet.sources
        if source.fault
    ]
    rooms = fleet.capacity
    found += [_asked(signal) for signal in find_signals(rooms.nodes, rooms.groups, told or {})]
    found += [
        Trouble(
            f"source/{source.name}/silent",
            "Source",
            "Silent",
            Severity.WARNING,
            f"nobody looks at {source.name} any more: is x3fleet sync at work?",
            since=source.silent_since,
        )
        for source in fleet.sources
        if source.silent_since is not None
    ]
    found += _of_backups(fleet.backups)
    late = fleet.at - timedelta(seconds=move_s)
    found += [_late_move(node) for node in fleet.nodes if (node.leaving_since or fleet.at) < late]
    return tuple(sorted(found, key=lambda trouble: trouble.key))


def _of_backups(backups: BackupsView) -> Iterable[Trouble]:
    """The last attempt failed: told at once and for as long as none succeeds."""
    if backups.error:
        message = f"the last backup failed: {backups.error}"
        yield Trouble(
            "backup/database", "Backup", "Failed", Severity.WARNING, message, since=backups.tried_at
        )


def _late_move(node: SeenNode) -> Trouble:
    """Keys that should have left a node long ago: nobody serves them elsewhere, or they are owed there."""
    message = f"{node.leaving} keys are on their way off {node.name}; x3fleet moves list says what holds them"
    key, since = f"node/{node.name}/{MOVE}", node.leaving_since
    return Trouble(key, MOVE, "Late", Severity.WARNING, message, node.name, since, hold_s=0.0)


def _asked(signal: Signal) -> Trouble:
    """A wish for one node more or less: nothing is wrong, and somebody should act."""
    return Trouble(
        signal.key,
        CAPACITY,
        signal.direction.value,
        Severity.WARNING,
        signal.message,
        signal.node,
        hold_s=signal.hold_s,
    )


def _of_node(node: SeenNode) -> Iterable[Trouble]:
    for condition in node.holding("Unreachable"):
        # Whatever the reason: one that changes from look to look is one trouble.
        yield _trouble(node, condition, f"node/{node.name}/Unreachable", Severity.WARNING)
        break
    for condition in node.holding("Stalled", "Blocked", "Drifted"):
        if condition.reason in _SILENT:
            continue
        severity = Severity.WARNING if condition.type == "Drifted" else Severity.CRITICAL
        key = f"node/{node.name}/{condition.type}/{condition.reason}"
        yield _trouble(node, condition, key, severity)


def _trouble(node: SeenNode, condition: SeenCondition, key: str, severity: Severity) -> Trouble:
    message = condition.message
    if condition.type == "Blocked" and node.withheld:
        asked = ", ".join(f"x3fleet approve {one.digest[:_DIGITS]}" for one in node.withheld)
        message = f"{message}; to let it pass: {asked}"
    return Trouble(
        key, condition.type, condition.reason, severity, message, node.name, condition.since
    )


# -- what to say -----------------------------------------------------------------------------------


def decide(
    troubles: Iterable[Trouble], alerts: Iterable[Alert], now: datetime, settings: AlertSettings
) -> Decision:
    """Compare what is wrong with the alerts that stand.

    | trouble | alert          | then                                                              |
    | ------- | -------------- | ----------------------------------------------------------------- |
    | yes     | none           | it begins, as of the trouble's own since                          |
    | yes     | not told       | told once it has held for `hold_s`, its own or the settings'      |
    | yes     | told           | nothing; a gap that began is forgotten                            |
    | no      | any            | a gap begins; after `recover_s` it is over, told if people know   |

    A gap shorter than `recover_s` interrupts nothing: whoever flaps is told of once. While most nodes
    cannot be reached, single ones are not told of.
    """
    wrong = {trouble.key: trouble for trouble in troubles}
    standing = {alert.key: alert for alert in alerts}
    is_us = FLEET in wrong or FLEET in standing
    recover = timedelta(seconds=settings.recover_s)
    keep: list[Alert] = []
    fire: list[tuple[Alert, Trouble]] = []
    resolve: list[Alert] = []
    forget: list[Alert] = []
    for key, trouble in wrong.items():
        known = standing.get(key)
        alert = _begin(trouble, now) if known is None else replace(known, cleared_at=None)
        is_hidden = is_us and key != FLEET and trouble.condition == "Unreachable"
        own = settings.hold_s if trouble.hold_s is None else trouble.hold_s
        hold = timedelta(seconds=own)
        if alert.notification is None and not is_hidden and now - alert.came_at >= hold:
            fire.append((alert, trouble))
        elif alert != known:
            keep.append(alert)
    for key, known in standing.items():
        if key in wrong:
            continue
        alert = known if known.cleared_at is not None else replace(known, cleared_at=now)
        if alert.cleared_at is not None and now - alert.cleared_at >= recover:
            (forget if alert.notification is None else resolve).append(alert)
        elif alert != known:
            keep.append(alert)
    return Decision(tuple(keep), tuple(fire), tuple(resolve), tuple(forget))


def _begin(trouble: Trouble, now: datetime) -> Alert:
    since = now if trouble.since is None else min(trouble.since, now)
    return Alert(
        trouble.key, trouble.condition, trouble.reason, since, trouble.message, trouble.node
    )


# -- the job ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Alerts:
    """The job.

    `read`: how the fleet is read. `told`: called when there is something to deliver.
    """

    store: Store
    settings: AlertSettings
    clock: Clock
    told: Callable[[], None] = lambda: None
    read: Callable[[Store, datetime], Awaitable[FleetSnapshot]] = field(default=read_fleet)

    async def run(self) -> Decision:
        """Look once, and store what changed; a pass that finds nothing new writes nothing.

        Raises:
            StoreError: the database failed; the next pass decides again.
        """
        now = self.clock.now()
        fleet = await self.read(self.store, now)
        async with self.store.reading() as session:
            alerts = [_alert_from(row) for row in await session.scalars(select(AlertRow))]
        told = {alert.key: alert.node for alert in alerts if alert.notification is not None}
        settings = self.settings
        troubles = find_troubles(fleet, settings.fleet_share, told, move_s=settings.move_s)
        decision = decide(troubles, alerts, now, settings)
        if decision.is_empty:
            return decision
        await self._store(decision, now)
        self._log(decision)
        if decision.fire or decision.resolve:
            self.told()
        return decision

    async def _store(self, decision: Decision, now: datetime) -> None:
        async with self.store.recording() as session:
            for alert, trouble in decision.fire:
                row = _notification(alert, State.FIRING, trouble.severity, trouble.message, now)
                session.add(row)
                await session.flush()
                await session.merge(_row(replace(alert, notification=row.id)))
            for alert in decision.resolve:
                told = await session.get(NotificationRow, alert.notification)
                severity = Severity.WARNING if told is None else Severity(told.severity)
                session.add(_notification(alert, State.RESOLVED, severity, alert.message, now))
            for alert in decision.keep:
                await session.merge(_row(alert))
            for alert in (*decision.resolve, *decision.forget):
                await session.delete(await session.get_one(AlertRow, alert.key))

    def _log(self, decision: Decision) -> None:
        for alert, trouble in decision.fire:
            log.warning(
                events.ALERT_FIRED,
                alert=alert.key,
                node=alert.node,
                severity=trouble.severity.value,
                reason=trouble.reason,
            )
        for alert in decision.resolve:
            log.info(events.ALERT_RESOLVED, alert=alert.key, node=alert.node)


def _notification(
    alert: Alert, state: State, severity: Severity, message: str, now: datetime
) -> NotificationRow:
    return NotificationRow(
        at=now,
        alert=alert.key,
        state=state.value,
        severity=severity.value,
        node=alert.node,
        condition=alert.condition,
        reason=alert.reason,
        message=message,
        resolves=alert.notification if state is State.RESOLVED else None,
    )


def _row(alert: Alert) -> AlertRow:
    return AlertRow(
        key=alert.key,
        node=alert.node,
        condition=alert.condition,
        reason=alert.reason,
        message=alert.message,
        came_at=alert.came_at,
        cleared_at=alert.cleared_at,
        notification_id=alert.notification,
    )


def _alert_from(row: AlertRow) -> Alert:
    return Alert(
        key=row.key,
        condition=row.condition,
        reason=row.reason,
        came_at=row.came_at,
        message=row.message,
        node=row.node,
        cleared_at=row.cleared_at,
        notification=row.notification_id,
    )
