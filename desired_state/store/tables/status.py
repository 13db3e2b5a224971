"""Tables of status: what the controller decided, did and saw.

Callers: the controller writes, `queries` and a few commands read. No row points at a table of
desired state by a foreign key: the journal must outlive whatever a restored backup has forgotten.
Not here: rules; names of nodes and keys are plain text.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import STATUS, Sealed, Serial, StatusRow


class NodeStatusRow(StatusRow):
    """What is known of a node after its last turn that changed anything.

    JSON columns, in the field names of the controller's values:
    `conditions`: [{type, reason, message, status, since}], `since` as ISO 8601.
    `counts`: {desired, live, pending, deleting, foreign, quarantined, drift}.
    `blocked_sets`: [{kind, digest, emails: [...]}], what a person may approve.

    `bound_guid`, `match_digest`, `bound_at`: the binding; `bound_at` None before the first one.
    The back-off: `failures` looks in a row, `next_look_at`; `connected_at` since when it answers again
    without being recovered, `recovered_at` the last time it was, `flaps` how often it fell soon after,
    `tried_revision` of desired state at the last look that failed, `watched_s` seconds for which a controller
    saw it fail.
    `certificate_until`: when the certificate of its panel's TLS ends.
    Its load, smoothed: `traffic_rate_bps` bytes a second up and down; `cpu_share`, `memory_share` of its
    host as parts of 1, None where the panel never said; `sampled_at` when one of them last changed.
    `restart_owed`: clients were edited that the panel's Xray serves only once it is restarted.
    """

    __tablename__ = "node_status"

    node: Mapped[str] = mapped_column(primary_key=True)
    conditions: Mapped[list[Any]] = mapped_column(default=list)
    version: Mapped[str] = mapped_column(default="")
    family: Mapped[str] = mapped_column(default="")
    guid: Mapped[str | None]
    xray: Mapped[str] = mapped_column(default="")
    observed_revision: Mapped[int] = mapped_column(default=0)
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    owned_seen: Mapped[int] = mapped_column(default=0)
    placed_seen: Mapped[int] = mapped_column(default=0)
    blocked_sets: Mapped[list[Any]] = mapped_column(default=list)
    plan_digest: Mapped[str] = mapped_column(default="")
    refused_fingerprint: Mapped[str] = mapped_column(default="")
    bound_guid: Mapped[str | None]
    match_digest: Mapped[str] = mapped_column(default="")
    bound_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    next_look_at: Mapped[datetime | None]
    connected_at: Mapped[datetime | None]
    recovered_at: Mapped[datetime | None]
    flaps: Mapped[int] = mapped_column(default=0)
    tried_revision: Mapped[int] = mapped_column(default=0)
    watched_s: Mapped[float] = mapped_column(default=0.0)
    certificate_until: Mapped[datetime | None]
    traffic_rate_bps: Mapped[int] = mapped_column(default=0)
    cpu_share: Mapped[float | None]
    memory_share: Mapped[float | None]
    sampled_at: Mapped[datetime | None]
    restart_owed: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[datetime]


class InboundRow(StatusRow):
    """A listener on a panel, as far as links need it. `bound`: our keys live on it.

    `settings`, `stream`: the panel's JSON without its clients; sealed, since they hold server keys.
    `facts_digest`: of both, to see a change without opening them.
    """

    __tablename__ = "inbound"

    node: Mapped[str] = mapped_column(primary_key=True)
    inbound_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bound: Mapped[bool] = mapped_column(default=False)
    protocol: Mapped[str]
    port: Mapped[int]
    tag: Mapped[str] = mapped_column(default="")
    remark: Mapped[str] = mapped_column(default="")
    enable: Mapped[bool] = mapped_column(default=True)
    listen: Mapped[str] = mapped_column(default="")
    network: Mapped[str] = mapped_column(default="")
    security: Mapped[str] = mapped_column(default="")
    flow: Mapped[str] = mapped_column(default="")
    carries_flow: Mapped[bool] = mapped_column(default=False)
    method: Mapped[str] = mapped_column(default="")
    password_bytes: Mapped[int | None]
    settings: Mapped[Sealed | None]
    stream: Mapped[Sealed | None]
    facts_digest: Mapped[str] = mapped_column(default="")


class PlacementRow(StatusRow):
    """The decision that a key lives on a node; `leaving`: it ends, until all is finalised.

    `leaving_at`: since when.
    """

    __tablename__ = "placement"
    __table_args__ = (Index(None, "node"), {"schema": STATUS})

    key: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    replaces: Mapped[str | None]
    leaving: Mapped[str | None]
    leaving_at: Mapped[datetime | None]
    at: Mapped[datetime]


class RebalanceStepRow(StatusRow):
    """How far a wish to rebalance (`rebalance.id`) has come.

    `made`: moves that were begun for it; `waiting`: those that may not begin yet. `done_at`: since when
    every node holds its share.
    """

    __tablename__ = "rebalance_step"

    rebalance_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    made: Mapped[int] = mapped_column(default=0)
    waiting: Mapped[int] = mapped_column(default=0)
    begun_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class RemoteGenerationRow(StatusRow):
    """The intent journal: one row a remote email; `key` None for a placeholder.

    `gone_at`: since when it is a tombstone, proved gone or written off.
    """

    __tablename__ = "remote_generation"
    __table_args__ = (Index(None, "key"), {"schema": STATUS})

    node: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str | None]
    generation: Mapped[int]
    inbound_ids: Mapped[list[Any]]
    sub_id: Mapped[str]
    password_bytes: Mapped[int]
    state: Mapped[str]
    create_unknown_at: Mapped[datetime | None]
    delete_attempts: Mapped[int] = mapped_column(default=0)
    delete_reason: Mapped[str | None]
    secrets_digest: Mapped[str] = mapped_column(default="")
    projection: Mapped[str] = mapped_column(default="")
    gone_at: Mapped[datetime | None]
    changed_at: Mapped[datetime]


class KeyUsageRow(StatusRow):
    """Bytes that one key used on one node in the paid period `period`.

    Used = `booked_bytes` (generations that were finalised) + `counter_bytes` (the panel's counter
    as last seen) - `base_bytes` (that counter when the period began). `up_bytes`, `down_bytes`: the same
    by direction, as far as it was sampled.
    `marks`: as JSON, {email: [up, down, row]}: how far each client's counter was counted; three more
    numbers where it fell and that is not believed yet.
    """

    __tablename__ = "key_usage"
    __table_args__ = (Index(None, "node"), {"schema": STATUS})

    key: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[int] = mapped_column(default=1)
    base_bytes: Mapped[int] = mapped_column(default=0)
    counter_bytes: Mapped[int] = mapped_column(default=0)
    booked_bytes: Mapped[int] = mapped_column(default=0)
    up_bytes: Mapped[int] = mapped_column(default=0)
    down_bytes: Mapped[int] = mapped_column(default=0)
    marks: Mapped[str] = mapped_column(default="")
    changed_at: Mapped[datetime]


class DeleteBudgetRow(StatusRow):
    """Deletes, by `emails`, that a turn took from the fleet's share; beyond the window they count no more."""

    __tablename__ = "delete_budget"
    __table_args__ = (Index(None, "at"), {"schema": STATUS})

    id: Mapped[Serial]
    node: Mapped[str]
    deletes: Mapped[int]
    emails: Mapped[list[Any]] = mapped_column(default=list)
    owned: Mapped[int]
    at: Mapped[datetime]


class RequestAnswerRow(StatusRow):
    """A node's answer to a request; one that asks every node is answered by each."""

    __tablename__ = "request_answer"

    token: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(default="")
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime]


class RequestProgressRow(StatusRow):
    """How far a node is with a request: {stage}, and for a run {turns, created, deleted, updated, left}."""

    __tablename__ = "request_progress"

    token: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime]


class CycleRow(StatusRow):
    """One turn in which something happened. `counts`: created, deleted, updated, verified ..."""

    __tablename__ = "cycle"
    __table_args__ = (Index(None, "node", "started_at"), {"schema": STATUS})

    id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    result: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    observed_revision: Mapped[int]
    plan_digest: Mapped[str] = mapped_column(default="")
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)


def _same_as_at(context: Any) -> datetime:  # noqa: ANN401 - SQLAlchemy's own context of a default
    at: datetime = context.get_current_parameters()["at"]
    return at


class EventRow(StatusRow):
    """One line of a node's history; "" (`epoch`: 0) where a field does not apply.

    `before`, `after`: what changed, in the words of its kind: a state of the journal, a condition.
    `outcome`: of the call that it tells of. `plan_digest`: of the turn that it belongs to.
    A line that says the same again within the hour is folded into the first: `times`, `last_at`.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(None, "node", "at"),
        Index(None, "key"),
        Index(None, "last_at"),
        {"schema": STATUS},
    )

    id: Mapped[Serial]
    at: Mapped[datetime]
    node: Mapped[str]
    name: Mapped[str]
    key: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = mapped_column(default="")
    detail: Mapped[str] = mapped_column(default="")
    cycle_id: Mapped[str] = mapped_column(default="")
    before: Mapped[str] = mapped_column(default="")
    after: Mapped[str] = mapped_column(default="")
    outcome: Mapped[str] = mapped_column(default="")
    plan_digest: Mapped[str] = mapped_column(default="")
    epoch: Mapped[int] = mapped_column(default=0)
    times: Mapped[int] = mapped_column(default=1)
    last_at: Mapped[datetime] = mapped_column(default=_same_as_at)


class HealRow(StatusRow):
    """When an email was healed in the last hour. `times`: ISO 8601, ascending."""

    __tablename__ = "heal"

    node: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(primary_key=True)
    times: Mapped[list[Any]]


class ApprovalStartedRow(StatusRow):
    """When the controller began to act on an approval (`plan_approval.id`)."""

    __tablename__ = "approval_started"

    approval_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    node: Mapped[str]
    at: Mapped[datetime]


class AlertRow(StatusRow):
    """A trouble that holds now, or has gone so lately that it may come back.

    `key`: what it is about; at most one row each. `came_at`: since when, short gaps included.
    `cleared_at`: since when it is not seen. `notification_id`: the message that told of it, if any.
    """

    __tablename__ = "alert"

    key: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(default="")
    condition: Mapped[str]
    reason: Mapped[str]
    message: Mapped[str] = mapped_column(default="")
    came_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]
    notification_id: Mapped[int | None]


class NotificationRow(StatusRow):
    """What the controller tells people, once. Delivered by the bot and by webhooks.

    `state`: firing or resolved; a resolved one names the firing one in `resolves`.
    `node` "": about the fleet. `severity`: critical or warning.
    """

    __tablename__ = "notification"
    __table_args__ = (Index(None, "at"), {"schema": STATUS})

    id: Mapped[Serial]
    at: Mapped[datetime]
    alert: Mapped[str]
    state: Mapped[str]
    severity: Mapped[str]
    node: Mapped[str] = mapped_column(default="")
    condition: Mapped[str]
    reason: Mapped[str]
    message: Mapped[str] = mapped_column(default="")
    resolves: Mapped[int | None]


class WebhookDeliveryRow(StatusRow):
    """How far one notification is on its way to one webhook.

    `hook`: digest of the hook's address, which may hold a secret. `state`: waiting, delivered or
    parked. `replay_id`: the newest wish for a replay that was followed.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (Index(None, "state", "next_at"), {"schema": STATUS})

    notification_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hook: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    last_error: Mapped[str] = mapped_column(default="")
    delivered_at: Mapped[datetime | None]
    replay_id: Mapped[int] = mapped_column(default=0)


class ReplicaRow(StatusRow):
    """One controller process; its last row stays for a day after its end.

    `kind`: `replica` (one of several, on PostgreSQL), `daemon` or `one-shot` (alone, under a lock).
    `state`: `live`, `left` (ended by itself), `dead` (declared so by another one). `expires_at`: by the
    database's clock; None for one whose lock tells whether it lives.
    """

    __tablename__ = "replica"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    state: Mapped[str]
    started_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class NodeLeaseRow(StatusRow):
    """Who may write to a node, and the fencing token that all records of it carry.

    `node` is `*` for what runs once an installation. `epoch` only grows. `removes_at`: after a takeover
    from a dead holder, when clients may be removed again. `touched_at`: of the last record.
    """

    __tablename__ = "node_lease"
    __table_args__ = (Index(None, "holder"), {"schema": STATUS})

    node: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    epoch: Mapped[int]
    taken_at: Mapped[datetime | None]
    removes_at: Mapped[datetime | None]
    touched_at: Mapped[datetime | None]


class NodeWakeRow(StatusRow):
    """How often another replica made work for a node: whoever holds it compares, and looks again."""

    __tablename__ = "node_wake"

    node: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
