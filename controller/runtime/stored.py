"""A node's status as columns and back: the only place that knows both shapes.

Callers: `reads`, `records`. Pure. Not here: SQL; the columns' meaning (`store.tables.status`).
"""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from controller.core.backoff import Backoff
from controller.core.conditions import BlockedSet, Condition, ConditionType, Counts, NodeStatus
from controller.core.desired import BoundInbound
from desired_state.model.ids import Digest, InboundId, Revision

_BACKOFF = tuple(field.name for field in fields(Backoff))
"""Columns of the same names."""


def status_values(status: NodeStatus) -> dict[str, Any]:
    """The columns of a status but the node, its binding and `changed_at`."""
    return {
        "conditions": [_condition_to_json(condition) for condition in status.conditions],
        "version": status.version,
        "family": status.family,
        "guid": status.guid,
        "xray": status.xray,
        "observed_revision": status.observed_revision,
        "counts": asdict(status.counts),
        "owned_seen": status.owned_seen,
        "placed_seen": status.placed_seen,
        "blocked_sets": [
            {"kind": b.kind, "digest": b.digest, "emails": list(b.emails)}
            for b in status.blocked_sets
        ],
        "plan_digest": status.plan_digest,
        "refused_fingerprint": status.refused_fingerprint,
        **asdict(status.backoff),
        "certificate_until": status.certificate_until,
        "restart_owed": status.restart_owed,
    }


def status_from(values: dict[str, Any]) -> NodeStatus:
    """A status from its columns."""
    return NodeStatus(
        conditions=tuple(_condition_from_json(value) for value in values["conditions"]),
        version=values["version"],
        family=values["family"],
        guid=values["guid"],
        xray=values["xray"],
        observed_revision=Revision(values["observed_revision"]),
        counts=Counts(**values["counts"]),
        owned_seen=values["owned_seen"],
        placed_seen=values["placed_seen"],
        blocked_sets=tuple(
            BlockedSet(b["kind"], Digest(b["digest"]), tuple(b["emails"]))
            for b in values["blocked_sets"]
        ),
        plan_digest=Digest(values["plan_digest"]),
        refused_fingerprint=values["refused_fingerprint"],
        backoff=Backoff(**{name: values[name] for name in _BACKOFF}),
        certificate_until=values["certificate_until"],
        restart_owed=values["restart_owed"],
    )


def inbound_values(inbound: BoundInbound) -> dict[str, Any]:
    """The columns of a bound inbound that a binding fixes."""
    return {
        "inbound_id": inbound.id,
        "protocol": inbound.protocol,
        "port": inbound.port,
        "tag": inbound.tag,
        "flow": inbound.flow,
        "carries_flow": inbound.carries_flow,
        "method": inbound.method,
        "password_bytes": inbound.password_bytes,
    }


def inbound_from(values: dict[str, Any]) -> BoundInbound:
    """A bound inbound from its columns."""
    return BoundInbound(
        id=InboundId(values["inbound_id"]),
        protocol=values["protocol"],
        port=values["port"],
        tag=values["tag"],
        flow=values["flow"],
        carries_flow=values["carries_flow"],
        method=values["method"],
        password_bytes=values["password_bytes"],
    )


def _condition_to_json(condition: Condition) -> dict[str, Any]:
    return {
        "type": condition.type.value,
        "reason": condition.reason,
        "message": condition.message,
        "status": condition.status,
        "since": None if condition.since is None else condition.since.isoformat(),
    }


def _condition_from_json(value: dict[str, Any]) -> Condition:
    since = value["since"]
    return Condition(
        type=ConditionType(value["type"]),
        reason=value["reason"],
        message=value["message"],
        status=value["status"],
        since=None if since is None else datetime.fromisoformat(since),
    )
