"""One node: the validated connection to its panel, and what a person wants to see of it.

`node_target` is the one place where an address and credentials become a connection.
Callers: the controller (`node_target`), entrances (the rest). Not here: writing, panels.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.errors import ConfigError
from desired_state.model.ids import InboundId, NodeName
from desired_state.model.node import AuthRefs, Credentials, Node, NodeTarget
from desired_state.model.ownership import Ownership
from desired_state.queries.blocked import list_blocked
from desired_state.queries.events import list_events
from desired_state.queries.fleet import NodeSummary, node_summary
from desired_state.queries.inbounds import InboundOnNode, inbounds_of
from desired_state.queries.requests import RequestView, open_requests
from desired_state.queries.views import BlockedView, EventView
from desired_state.store.convert import node_from
from desired_state.store.errors import SecretUnreadable
from desired_state.store.installation import read_ownership
from desired_state.store.secrets import Vault, resolve_credentials
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import CycleRow, InboundRow, NodeStatusRow

CYCLES_SHOWN = 10
EVENTS_SHOWN = 20


class TargetUnresolved(ConfigError):
    """A secret of a declared node cannot be had, so its panel cannot be reached.

    `target`: everything else that is known, without credentials: fit for a status, not for a panel.
    """

    code = "target_unresolved"

    def __init__(self, message: str, target: NodeTarget, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.target = target


async def node_target(session: AsyncSession, name: NodeName, vault: Vault) -> NodeTarget:
    """Yield what reaches a node's panel, as it is declared now.

    Args:
        session: any transaction.
        name: of the node.
        vault: opens ciphertexts and the installation's secret.

    Returns:
        Credentials resolved, and the stricter of the declared mode and the operator's.

    Raises:
        TargetUnresolved: a secret reference is missing; names the node, the field and the reference.
        ConfigError: no such node is declared.
        StoreUnprepared: the database has no installation.
    """
    row = await session.get(NodeRow, name)
    if row is None:
        raise ConfigError(f"no node {name} is declared", hint="x3fleet nodes list shows them")
    return build_target(node_from(row), vault, await read_ownership(session, vault))


def build_target(node: Node, vault: Vault, ownership: Ownership) -> NodeTarget:
    """Resolve a node's secrets; `node_target` for callers that hold the node already.

    Raises:
        TargetUnresolved: as `node_target`.
    """
    spec = node.spec
    bare = NodeTarget(node.name, spec.url, Credentials(), spec.tls, node.mode)
    try:
        credentials = resolve_credentials(spec.auth, vault)
    except (ConfigError, SecretUnreadable) as error:
        message = f"node {node.name}: {error.message}"
        raise TargetUnresolved(message, bare, hint=error.hint) from error
    fingerprint = _fingerprint(ownership, spec.url, credentials)
    return NodeTarget(node.name, spec.url, credentials, spec.tls, node.mode, fingerprint)


def _fingerprint(ownership: Ownership, url: str, credentials: Credentials) -> str:
    """Digest credentials under the oldest secret that there is, which no rotation changes.

    The address is part of it: what one panel refused, another one may accept.
    """
    parts = (
        url, credentials.token, credentials.username, credentials.password,
        credentials.totp_secret, credentials.login_secret,
    )  # fmt: skip
    text = "\x00".join("-" if part is None else f"+{part}" for part in parts)
    secret = ownership.secrets[-1].value
    return hmac.new(secret, f"x3fleet/credentials/{text}".encode(), hashlib.sha256).hexdigest()


# -- what a person sees ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboundView:
    """A listener that is known of a panel; `bound`: our keys live on it."""

    id: InboundId
    bound: bool
    protocol: str
    port: int
    tag: str
    remark: str
    enable: bool
    flow: str


@dataclass(frozen=True, slots=True)
class CycleView:
    """One turn in which something happened."""

    id: str
    result: str
    started_at: datetime
    finished_at: datetime
    plan_digest: str
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """A node in full. `auth`: where its secrets are, none of them. `guid`: the bound one."""

    summary: NodeSummary
    url: str
    address: str
    tls: str
    auth: tuple[tuple[str, str], ...]
    source: str
    bound_at: datetime | None
    guid: str | None
    inbounds: tuple[InboundView, ...]
    declared_inbounds: tuple[InboundOnNode, ...]
    blocked: tuple[BlockedView, ...]
    requests: tuple[RequestView, ...]
    cycles: tuple[CycleView, ...]
    events: tuple[EventView, ...]


async def show_node(session: AsyncSession, name: NodeName) -> NodeDetail | None:
    """Read one node; None when it is not declared."""
    row, summary = await session.get(NodeRow, name), await node_summary(session, name)
    if row is None or summary is None:
        return None
    spec = node_from(row).spec
    status = await session.get(NodeStatusRow, name)
    return NodeDetail(
        summary=summary,
        url=spec.url,
        address=spec.address,
        tls=spec.tls.kind.value,
        auth=describe_auth(spec.auth),
        source=row.source,
        bound_at=None if status is None else status.bound_at,
        guid=None if status is None else status.bound_guid,
        inbounds=await _inbounds(session, name),
        declared_inbounds=await inbounds_of(session, name),
        blocked=await list_blocked(session, node=name),
        requests=await open_requests(session, node=name),
        cycles=await _cycles(session, name),
        events=await list_events(session, node=name, limit=EVENTS_SHOWN),
    )


def describe_auth(auth: AuthRefs) -> tuple[tuple[str, str], ...]:
    """Name each declared secret by its field and its place."""
    fields = {
        "token": auth.token,
        "username": auth.username,
        "password": auth.password,
        "totpSecret": auth.totp_secret,
        "loginSecret": auth.login_secret,
    }
    return tuple([(name, ref.describe()) for name, ref in fields.items() if ref is not None])


async def _inbounds(session: AsyncSession, name: NodeName) -> tuple[InboundView, ...]:
    query = select(InboundRow).where(InboundRow.node == name).order_by(InboundRow.inbound_id)
    return tuple(
        [
            InboundView(
                id=InboundId(row.inbound_id),
                bound=row.bound,
                protocol=row.protocol,
                port=row.port,
                tag=row.tag,
                remark=row.remark,
                enable=row.enable,
                flow=row.flow,
            )
            for row in await session.scalars(query)
        ]
    )


async def _cycles(session: AsyncSession, name: NodeName) -> tuple[CycleView, ...]:
    query = (
        select(CycleRow)
        .where(CycleRow.node == name)
        .order_by(CycleRow.started_at.desc(), CycleRow.id)
        .limit(CYCLES_SHOWN)
    )
    return tuple(
        [
            CycleView(
                row.id, row.result, row.started_at, row.finished_at, row.plan_digest, row.counts
            )
            for row in await session.scalars(query)
        ]
    )
