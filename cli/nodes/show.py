"""`x3fleet nodes list|show`: what the last turns found; nothing is contacted.

Not here: looking at a panel (`probe`), SQL (`desired_state.queries`).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli.advice import advise, full_name
from cli.exits import Exit
from cli.inbounds import node_grid, on_node_document
from cli.moves import duration, progress_document
from cli.nodes.change import NodeArgument
from cli.opening import opened_store
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, ago, count, show
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from desired_state.queries.fleet import NodeSummary
    from desired_state.queries.moves import Debt, NodeProgress
    from desired_state.queries.node import NodeDetail
    from desired_state.queries.views import ConditionView

_TONES = {
    "Ready": Tone.GOOD,
    "Reconciling": Tone.WARN,
    "Drifted": Tone.WARN,
    "Paused": Tone.DIM,
    "Blocked": Tone.BAD,
    "Stalled": Tone.BAD,
    "Unreachable": Tone.BAD,
}


async def list_nodes(*, output: OutputOption = Output.TABLE) -> Exit:
    """List nodes with state and counts, as the last run found them."""
    from desired_state.queries.fleet import list_nodes as read_nodes

    async with opened_store() as store, store.reading() as session:
        nodes = await read_nodes(session)
    now = store.clock.now()
    grid = Grid(
        ("NODE", "STATE", "SINCE", "VERSION", "MODE", "KEYS", "LIVE", "FOREIGN", "WHY"),
        tuple(_row(node, now) for node in nodes),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )
    blocks: list[Block] = [grid]
    if any(node.visited and not node.ready for node in nodes):
        blocks.append("x3fleet nodes show NODE tells more, and what to do")
    show(Page({"nodes": [_document(node) for node in nodes]}, tuple(blocks)), output)
    return Exit.DONE


async def show_node(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Show one node: conditions, inbounds, what is blocked, history."""
    from desired_state.commands.errors import NotFound
    from desired_state.queries.moves import node_debt, node_progress
    from desired_state.queries.node import show_node as read_node

    async with opened_store() as store, store.reading() as session:
        now = store.clock.now()
        detail = await read_node(session, NodeName(node))
        progress = await node_progress(session, NodeName(node), now)
        debt = await node_debt(session, NodeName(node))
    if detail is None:
        raise NotFound("node", node, hint="x3fleet nodes list shows those that are declared")
    document = {
        **_detail_document(detail),
        "progress": [progress_document(one) for one in progress],
        "debt": {"keys": debt.keys, "since": debt.since},
    }
    on_the_way = tuple(_on_the_way(progress, debt, now))
    show(Page(document, (*_told(detail, now), *on_the_way)), output)
    return Exit.DONE


# -- JSON ------------------------------------------------------------------------------------------


def _document(node: "NodeSummary") -> dict[str, Any]:
    return {
        "node": node.name,
        "state": node.worst.type if node.worst else None,
        "reason": node.worst.reason if node.worst else None,
        "since": node.worst.since if node.worst else None,
        "version": node.version or None,
        "family": node.family or None,
        "xray": node.xray or None,
        "mode": node.mode.value,
        "recovery": node.recovery.value or None,
        "labels": dict(node.labels),
        "schedulable": node.schedulable,
        "paused": node.paused,
        "cordoned": node.cordoned,
        "draining": node.draining,
        "orphaned": node.orphaned,
        "capacity": node.capacity,
        "keys": node.placed,
        "leaving": node.leaving,
        "live": node.counts.live,
        "pending": node.counts.pending,
        "deleting": node.counts.deleting,
        "drift": node.counts.drift,
        "foreign": node.counts.foreign,
        "quarantined": node.counts.quarantined,
        "failures": node.failures,
        "next_try_at": node.next_look_at,
        "certificate_until": node.certificate_until,
        "conditions": [_condition(one) for one in node.conditions],
    }


def _condition(one: "ConditionView") -> dict[str, Any]:
    return {
        "type": one.type,
        "reason": one.reason,
        "message": one.message,
        "status": one.status,
        "since": one.since,
    }


def _detail_document(detail: "NodeDetail") -> dict[str, Any]:
    return {
        **_document(detail.summary),
        "url": detail.url,
        "address": detail.address,
        "tls": detail.tls,
        "auth": dict(detail.auth),
        "source": detail.source,
        "bound_at": detail.bound_at,
        "guid": detail.guid,
        "inbounds": [
            {
                "id": one.id,
                "bound": one.bound,
                "protocol": one.protocol,
                "port": one.port,
                "tag": one.tag,
                "remark": one.remark,
                "enable": one.enable,
                "flow": one.flow,
            }
            for one in detail.inbounds
        ],
        "declared_inbounds": [on_node_document(one) for one in detail.declared_inbounds],
        "blocked": [
            {
                "kind": one.kind,
                "digest": one.digest,
                "emails": list(one.emails),
                "message": one.message,
                "approved_at": one.approved_at,
            }
            for one in detail.blocked
        ],
        "requests": [
            {"token": one.token, "kind": one.kind.value, "at": one.at} for one in detail.requests
        ],
        "events": [
            {"at": one.at, "last_at": one.last_at, "times": one.times, "name": one.name,
             "key": one.key or None, "email": one.email or None, "detail": one.detail}
            for one in detail.events
        ],
    }  # fmt: skip


# -- text ------------------------------------------------------------------------------------------


def _row(node: "NodeSummary", now: datetime) -> tuple[Cell, ...]:
    worst = node.worst
    return (
        node.name,
        _state(worst),
        ago(worst.since, now) if worst else "",
        node.version,
        node.mode.value,
        node.placed,
        node.counts.live,
        node.counts.foreign,
        ", ".join(_why(node, now)),
    )


def _state(worst: "ConditionView | None") -> Text:
    if worst is None:
        return Text("never visited", Tone.DIM)
    return Text(worst.type, _TONES.get(worst.type, Tone.PLAIN))


def _why(node: "NodeSummary", now: datetime) -> Iterator[str]:
    if node.worst is not None and node.worst.type not in ("Ready", "Paused"):
        yield node.worst.reason
    if node.recovery and (node.worst is None or node.worst.reason != "Restored"):
        # No controller has been there yet: what is shown is of the time of the backup.
        yield "restored, waits for x3fleet backup accept"
    if node.failures and node.next_look_at is not None:
        yield f"next try {node.next_try(now)}"
    if node.orphaned:
        yield "orphaned: no manifest declares it"
    if node.draining:
        yield "draining"
    elif node.cordoned:
        yield "cordoned"
    if node.counts.quarantined:
        yield f"{node.counts.quarantined} quarantined"
    yield from (reason for reason in node.warnings if reason != "Quarantined")


def _told(detail: "NodeDetail", now: datetime) -> Iterator[Block]:
    node = detail.summary
    head = node.worst
    yield Text(f"{node.name}: {'never visited' if head is None else head.type}", Tone.HEAD)
    secrets = ", ".join(f"{name} from {place}" for name, place in detail.auth)
    labels = ", ".join(f"{name}={value}" for name, value in node.labels)
    capacity = "no limit" if node.capacity is None else count(node.capacity, "key")
    yield Grid(
        ("FIELD", "VALUE"),
        (
            ("panel", f"{detail.url} (tls {detail.tls}; {secrets})"),
            ("version", f"{node.version or 'unknown'}, Xray {node.xray or 'unknown'}"),
            ("address", f"{detail.address}, for links"),
            ("labels", labels or "none"),
            ("mode", _mode(node)),
            ("capacity", f"{node.placed} keys placed, {node.leaving} leaving; {capacity}"),
            ("clients", _clients(node)),
            ("declared by", detail.source or "hand"),
        ),
    )  # fmt: skip
    yield from _conditions(detail, now)
    yield from _history(detail)


def _mode(node: "NodeSummary") -> str:
    told = f"{node.mode.value}{', new keys' if node.schedulable else ', no new keys'}"
    if not node.recovery:
        return told
    return f"{told}; the database was restored, x3fleet backup difference"


def _clients(node: "NodeSummary") -> str:
    counts = node.counts
    return (
        f"{counts.live} live, {counts.pending} to create, {counts.deleting} to delete, "
        f"{counts.foreign} foreign, {counts.quarantined} quarantined"
    )


def _conditions(detail: "NodeDetail", now: datetime) -> Iterator[Block]:
    node = detail.summary
    for one in node.conditions:
        if not one.holds:
            continue
        since = ago(one.since, now)
        tone = _TONES.get(one.type, Tone.PLAIN)
        yield Text(f"{full_name(one.type, one.reason)} for {since}: {one.message}", tone)
        if advice := advise(one.reason, node.name, one.message):
            yield f"    {advice}"
    if next_try := node.next_try(now):
        yield f"next try {next_try}"
    for blocked in detail.blocked:
        done = ", approved" if blocked.approved_at else ""
        yield (
            f"    {count(len(blocked.emails), 'client')} ({blocked.kind}{done}): if that is right, "
            f"x3fleet approve {blocked.digest[:12]}"
        )
    for request in detail.requests:
        yield f"asked {ago(request.at, now)} ago and not answered yet: {request.kind.value}"


def _history(detail: "NodeDetail") -> Iterator[Block]:
    if detail.declared_inbounds:
        yield node_grid(detail.declared_inbounds)
    yield Grid(
        ("INBOUND", "PROTOCOL", "PORT", "BOUND", "ENABLED", "TAG", "REMARK"),
        tuple(
            (one.id, one.protocol, one.port, _yes(one.bound), _yes(one.enable), one.tag, one.remark)
            for one in detail.inbounds
        ),
        empty="no inbound was seen yet",
    )
    yield Grid(
        ("AT (UTC)", "EVENT", "WHAT"),
        tuple(
            (
                f"{one.last_at or one.at:%Y-%m-%d %H:%M:%S}",
                one.name if one.times == 1 else f"{one.name} ({one.times} times)",
                " ".join(filter(None, (one.email, one.detail))),
            )
            for one in detail.events
        ),
        empty="nothing has happened yet",
    )  # fmt: skip


def _on_the_way(
    progress: "tuple[NodeProgress, ...]", debt: "Debt", now: datetime
) -> Iterator[Block]:
    for one in progress:
        yield (
            f"{one.what}: {count(one.left, 'key')} left, {one.done} done, "
            f"takes {duration(one.left_s)}"
        )
    if debt.keys:
        since = ago(debt.since, now)
        yield Text(f"owes the deletion of {count(debt.keys, 'key')}, for {since}", Tone.BAD)


def _yes(holds: bool) -> str:  # noqa: FBT001 (a word for a flag)
    return "yes" if holds else "no"
