"""Tables of desired state: what the operator declared, what was sold, what was asked for.

Callers: `commands` write, `queries` and the controller read, both through `store.convert` where a
row becomes a value of the model. Not here: rules, status. A declared thing keeps its whole
specification as JSON (`spec`) beside the columns that are searched.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from desired_state.store.tables.types import DESIRED, DesiredRow, Sealed, Serial


class InstallationRow(DesiredRow):
    """The one row that says which installation this is.

    `id`: always 1. `name`: random, tells two installations apart. `email_template`: how emails on
    panels are made; changing it orphans every client that exists, so it lives with the data.
    """

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    email_template: Mapped[str]
    created_at: Mapped[datetime]


class InstallationSecretRow(DesiredRow):
    """One version of the secret of ownership marks; the newest makes them, all verify."""

    __tablename__ = "installation_secret"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[Sealed]
    created_at: Mapped[datetime]


class RevisionCounterRow(DesiredRow):
    """The one row (`id` 1) with the last revision that was given out."""

    __tablename__ = "revision_counter"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int]


class WakeRow(DesiredRow):
    """Append-only: look at this node again. `node` None wakes the scheduler. Never a reason."""

    __tablename__ = "wake"
    __table_args__ = (Index(None, "revision"), {"schema": DESIRED})

    id: Mapped[Serial]
    revision: Mapped[int]
    node: Mapped[str | None]
    at: Mapped[datetime]


class ManifestSourceRow(DesiredRow):
    """Where manifests come from: the last revision that was applied, and how the source was found last.

    `applied_revision`: "" and `applied_at` None before the first. `fetched_revision`: the newest that
    could be read, good or not. `error_code`: "" while all is well; `faults`: what is wrong with the
    fetched revision, each {file, line, column, field, message, hint}. `error_since`: since when the
    source has been failing, whatever the errors were. `checked_at`: when what stands here was found
    so; a look that finds nothing new writes nothing. `looked_at`: when whoever follows the source told
    last that he does, and `looks_every_s` how often he looks; None where nobody follows it.
    """

    __tablename__ = "manifest_source"

    name: Mapped[str] = mapped_column(primary_key=True)
    applied_revision: Mapped[str] = mapped_column(default="")
    applied_at: Mapped[datetime | None]
    fetched_revision: Mapped[str] = mapped_column(default="")
    fetched_at: Mapped[datetime | None]
    error_code: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="")
    faults: Mapped[list[Any]] = mapped_column(default=list)
    error_since: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    looked_at: Mapped[datetime | None]
    looks_every_s: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int]


class NodeRow(DesiredRow):
    """A declared node, and beside it the operator's overrides, which no manifest clears.

    `spec`: the whole `NodeSpec`. `source`: the manifest source that declared it last; "" by hand.
    `recovery`: what is not accepted yet since the database was restored from a backup; "" otherwise.
    """

    __tablename__ = "node"

    name: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    source: Mapped[str] = mapped_column(default="")
    orphaned: Mapped[bool] = mapped_column(default=False)
    paused: Mapped[bool] = mapped_column(default=False)
    cordoned: Mapped[bool] = mapped_column(default=False)
    draining: Mapped[bool] = mapped_column(default=False)
    mode: Mapped[str | None]
    recovery: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    revision: Mapped[int]


class TariffRow(DesiredRow):
    """What is sold. `withdrawn`: no manifest declares it any more; kept for its subscriptions."""

    __tablename__ = "tariff"

    name: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    source: Mapped[str] = mapped_column(default="")
    withdrawn: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int]


class PolicyRow(DesiredRow):
    """Limits and choices, fleet-wide or for nodes with labels. Goes with its manifest."""

    __tablename__ = "policy"

    name: Mapped[str] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    source: Mapped[str] = mapped_column(default="")
    revision: Mapped[int]


class PersonRow(DesiredRow):
    """A human. A subscription may have none. `banned_at` None: not banned."""

    __tablename__ = "person"

    id: Mapped[Serial]
    telegram_id: Mapped[int | None] = mapped_column(unique=True)
    language: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    banned_at: Mapped[datetime | None]
    ban_reason: Mapped[str] = mapped_column(default="")
    revision: Mapped[int] = mapped_column(default=0)

    subscriptions: Mapped[list["SubscriptionRow"]] = relationship(
        back_populates="person", lazy="raise", order_by="SubscriptionRow.id"
    )


class SubscriptionRow(DesiredRow):
    """What was bought. None for `valid_until`, quota or devices: without limit.

    `period`: number of the paid period, 1 for the first; traffic is counted from its start.
    `suspended`: switched off by a person; `frozen_at`: since when its time stands still for that.
    `banned`: its person is; it stands here too since whoever serves a subscription may not read people.
    """

    __tablename__ = "subscription"

    id: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int | None] = mapped_column(
        BigInteger(), ForeignKey(f"{DESIRED}.person.id"), index=True
    )
    tariff_name: Mapped[str] = mapped_column(ForeignKey(f"{DESIRED}.tariff.name"), index=True)
    valid_until: Mapped[datetime | None]
    quota_bytes: Mapped[int | None]
    devices: Mapped[int | None]
    suspended: Mapped[bool] = mapped_column(default=False)
    suspended_reason: Mapped[str] = mapped_column(default="")
    frozen_at: Mapped[datetime | None]
    banned: Mapped[bool] = mapped_column(default=False)
    period: Mapped[int] = mapped_column(default=1)
    period_started_at: Mapped[datetime]
    created_at: Mapped[datetime]
    revision: Mapped[int]

    person: Mapped[PersonRow | None] = relationship(back_populates="subscriptions", lazy="raise")
    tariff: Mapped[TariffRow] = relationship(lazy="raise")
    keys: Mapped[list["KeyRow"]] = relationship(
        back_populates="subscription", lazy="raise", order_by="KeyRow.id"
    )


class KeyRow(DesiredRow):
    """What one person holds: wanted, or deleted with a reason.

    `selector_labels`: name to value; `selector_count` None means every node. `pinned_node` wins
    over both. `token`: the caller's idempotence token of the issue.
    """

    __tablename__ = "key"

    id: Mapped[str] = mapped_column(primary_key=True)
    subscription_id: Mapped[str] = mapped_column(
        ForeignKey(f"{DESIRED}.subscription.id"), index=True
    )
    generation: Mapped[int] = mapped_column(default=1)
    selector_labels: Mapped[dict[str, Any]]
    selector_count: Mapped[int | None]
    pinned_node: Mapped[str | None] = mapped_column(ForeignKey(f"{DESIRED}.node.name"), index=True)
    token: Mapped[str | None] = mapped_column(unique=True)
    deleted_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    revision: Mapped[int]

    subscription: Mapped[SubscriptionRow] = relationship(back_populates="keys", lazy="raise")
    generations: Mapped[list["KeyGenerationRow"]] = relationship(
        back_populates="key", lazy="raise", order_by="KeyGenerationRow.generation"
    )
    moves: Mapped[list["MoveRow"]] = relationship(
        back_populates="key", lazy="raise", order_by="MoveRow.id"
    )
    pinned: Mapped[NodeRow | None] = relationship(lazy="raise")


class KeyGenerationRow(DesiredRow):
    """The seed of one generation, from which every protocol's credential is derived."""

    __tablename__ = "key_generation"

    key_id: Mapped[str] = mapped_column(ForeignKey(f"{DESIRED}.key.id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seed: Mapped[Sealed]
    created_at: Mapped[datetime]

    key: Mapped[KeyRow] = relationship(back_populates="generations", lazy="raise")


class MoveRow(DesiredRow):
    """A person's choice that a key leaves a node, or goes to one; what was made stays as history.

    `from_node` None: it lived nowhere yet. `to_node` None: wherever the key's selector now leads.
    `move_order` None: as the policy of the node that it leaves says. `at`: a placement that is
    younger is not meant by it.
    """

    __tablename__ = "move"

    id: Mapped[Serial]
    key_id: Mapped[str] = mapped_column(ForeignKey(f"{DESIRED}.key.id"), index=True)
    from_node: Mapped[str | None]
    to_node: Mapped[str | None]
    move_order: Mapped[str | None]
    at: Mapped[datetime]
    revision: Mapped[int]

    key: Mapped[KeyRow] = relationship(back_populates="moves", lazy="raise")


class RequestRow(DesiredRow):
    """Something that only the controller can do; answered in `status.request_answer`.

    `node` None: every node; "": none of them, the installation answers. `detail`: of a rebuild {guid}, the
    panel that the person was shown; of a backup {nodes}, whose panels are asked, null for every one's.
    """

    __tablename__ = "request"
    __table_args__ = (Index(None, "revision"), {"schema": DESIRED})

    token: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    node: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    actor: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]


class RebalanceRow(DesiredRow):
    """A person's wish that keys be moved until nodes with these labels hold their fair shares.

    `labels`: name to value; empty means every node. Followed in `status.rebalance_step`.
    """

    __tablename__ = "rebalance"

    id: Mapped[Serial]
    token: Mapped[str] = mapped_column(unique=True)
    labels: Mapped[dict[str, Any]]
    actor: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]


class NotificationReplayRow(DesiredRow):
    """A person's wish that a notification be sent to webhooks once more."""

    __tablename__ = "notification_replay"

    id: Mapped[Serial]
    notification_id: Mapped[int]
    actor: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]


class PlanApprovalRow(DesiredRow):
    """A person's approval of exactly one stored set of emails on one node."""

    __tablename__ = "plan_approval"
    __table_args__ = (
        ForeignKeyConstraint(["node"], [f"{DESIRED}.node.name"]),
        Index(None, "node"),
        {"schema": DESIRED},
    )

    id: Mapped[Serial]
    node: Mapped[str]
    kind: Mapped[str]
    digest: Mapped[str]
    emails: Mapped[list[Any]]
    actor: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]


class AuditEventRow(DesiredRow):
    """Who changed what. `detail` holds no secret. `subject` reads `kind/name`."""

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "subject"), {"schema": DESIRED})

    id: Mapped[Serial]
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    revision: Mapped[int | None]
